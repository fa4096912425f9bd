"""Measurements against plain DistributedDataParallel, of membership changes, and of the reduction. ``make bench``."""
