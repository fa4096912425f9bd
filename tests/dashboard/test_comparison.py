"""What is said of a run beside another one."""

import msgspec
from dashboard_samples import REPORT, STALE_REPORT, UNDISTURBED

from pliant.dashboard.comparison import with_earlier, with_undisturbed


def test_the_same_recipe_twice_has_to_be_equal():
    found = with_undisturbed(REPORT, UNDISTURBED)
    assert (found.equal.style, found.different.style, found.over_time) == ("same", "differ", False)


def test_without_waiting_the_weights_should_differ():
    earlier = msgspec.structs.replace(REPORT, name="gpt-sync")
    for found in (with_earlier(STALE_REPORT, earlier), with_earlier(earlier, STALE_REPORT)):
        assert found.different.text.startswith("Different, as they should be")
        assert "the losses differ, and should" in found.caption
        assert "promised" in found.equal.text
        assert found.over_time
    assert with_earlier(STALE_REPORT, earlier).names == (
        "this run, asynchronous",
        "compared with gpt-sync, synchronous",
    )


def test_two_synchronous_runs_may_differ_by_what_the_user_changed():
    found = with_earlier(REPORT, UNDISTURBED)
    assert found.equal.style == "same"
    assert found.different.text.startswith("Different weights. Both runs are synchronous: their scripts, arguments")
    assert found.different.style == "open", "it is no fault of the runtime"
