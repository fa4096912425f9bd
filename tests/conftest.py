"""For all tests."""

import os
import signal

import pytest
from hypothesis import settings

THOROUGH = "PLIANT_TEST_THOROUGH"
"""Set it, as continuous integration does, to test with all parameters where ``make test`` takes a few."""

# Machines are shared and slow at times: examples have no deadline of their own, tests have.
settings.register_profile("pliant", deadline=None)
settings.load_profile("pliant")

# Whoever starts the tests in the background may have Ctrl-C ignored, and all that they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of tests marked ``few(n)`` keep those with the first n of their parameters; none of those marked ``few(0)``."""
    if os.environ.get(THOROUGH):
        return
    counts: dict[str, int] = {}
    kept, left_out = [], []
    for item in items:
        mark = item.get_closest_marker("few")
        name = item.nodeid.partition("[")[0]
        counts[name] = counts.get(name, 0) + 1
        (kept if mark is None or counts[name] <= mark.args[0] else left_out).append(item)
    named = any("::" in word or word.endswith(".py") for word in config.args)  # who names one gets it
    if left_out and not named:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
