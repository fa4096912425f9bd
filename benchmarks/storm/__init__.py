"""One run under hundreds of faults: no sample lost or repeated, the same bits, and how much goodput. ``make storm``."""
