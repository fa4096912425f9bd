"""For all tests."""

from hypothesis import settings

# Machines are shared and slow at times: examples have no deadline of their own, tests have.
settings.register_profile("pliant", deadline=None)
settings.load_profile("pliant")
