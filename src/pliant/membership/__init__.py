"""Who is in which generation. Pure deciders: events in, decisions out; no clock, sockets or torch."""
