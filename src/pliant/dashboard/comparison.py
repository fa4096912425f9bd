"""What is said of a run beside another one: how the two are called, and what it means if they differ. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pliant.dashboard.staleness_text import mode
from pliant.wire.api import Report

_EQUAL = "✓ Equal: the same weights, bit for bit."


@dataclass(frozen=True)
class Verdict:
    """On two hashes; ``style`` is a class of the page's style sheet."""

    style: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """A run, and the other one that is drawn beside it."""

    report: Report
    other: Report
    names: tuple[str, str]
    """Of the two, in this order."""
    caption: str
    """Of their losses."""
    equal: Verdict
    different: Verdict
    over_time: bool
    """Whether their speeds are to be compared, too."""


def with_undisturbed(report: Report, undisturbed: Report) -> Comparison:
    """The same recipe, once with events and once without: not a bit may differ."""
    return Comparison(
        report,
        undisturbed,
        names=("elastic", "undisturbed, 1 worker"),
        caption="Both runs. The thin line lies on the broad one wherever the losses agree.",
        equal=Verdict("same", _EQUAL),
        different=Verdict("differ", "✗ Different: these runs ended with different weights."),
        over_time=False,
    )


def with_earlier(report: Report, earlier: Report) -> Comparison:
    """Two runs of the user's choice. If one of them has a staleness, there are no bits to be the same."""
    if report.staleness is None and earlier.staleness is None:
        caption = "Both runs. With the same script and arguments, the thin line lies on the broad one."
        equal = Verdict("same", _EQUAL)
        different = "Different weights. Both runs are synchronous: their scripts, arguments or threads differ as well."
    else:
        caption = (
            "Both runs. Where workers do not wait for each other, each shard is an update of its own, from parameters "
            "that others have changed since. So the losses differ, and should: what counts is where they get to, and "
            "when."
        )
        equal = Verdict("open", "Equal, which is not promised: without waiting, the bits depend on who is faster.")
        different = "Different, as they should be: without waiting, the bits depend on who is faster."
    return Comparison(
        report,
        earlier,
        names=(f"this run, {mode(report.staleness)}", f"compared with {earlier.name}, {mode(earlier.staleness)}"),
        caption=caption,
        equal=equal,
        different=Verdict("open", different),
        over_time=True,
    )
