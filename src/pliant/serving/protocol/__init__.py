"""From HTTP bodies to tensors and back. Pure: no sockets, no torch."""
