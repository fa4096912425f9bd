"""Pliant beside plain DDP, torchrun, torchft and Ray Train, on the same work, in one run. ``make bench-peers``."""
