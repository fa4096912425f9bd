"""A deterministic simulation of the membership protocol: production deciders, simulated workers and network.

Everything random comes from one seed, time is virtual, and no thread or socket exists, so that a failure found
once is found again by its seed. Run many with ``python -m pliant.sim --seeds 1000``.
"""
