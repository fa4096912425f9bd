"""For all tests."""

import signal

from hypothesis import settings

# Machines are shared and slow at times: examples have no deadline of their own, tests have.
settings.register_profile("pliant", deadline=None)
settings.load_profile("pliant")

# Whoever starts the tests in the background may have Ctrl-C ignored, and all that they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
