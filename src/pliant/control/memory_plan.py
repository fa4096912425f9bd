"""What follows when the kernel kills workers for lack of memory. Pure.

One such death is a crash like any other. But if the workers do not fit, their replacements are killed the same way,
each at the price of a recovery. So after three in a row the job asks for no more workers than it has just then; and if
it did not get one step further between the three, or would have too few workers, it ends and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_IN_A_ROW = 3
CALM_STEPS = 200
"""After so many committed steps without such a death, the next one is a first one again."""


@dataclass(frozen=True)
class Fewer:
    """Go on with so many workers."""

    workers: int
    why: str


@dataclass(frozen=True)
class GiveUp:
    """End the job."""

    why: str


@dataclass
class MemoryPlan:
    """The deaths of one job for lack of memory, as far as they are in a row."""

    _deaths: list[tuple[str, int]] = field(default_factory=list)

    def died(self, worker: str, *, step: int, left: Sequence[str], minimum: int) -> Fewer | GiveUp | None:
        """The kernel has killed ``worker``.

        Args:
            worker: Its id.
            step: Committed steps at that time.
            left: Workers that still train.
            minimum: The job's MIN.
        """
        if self._deaths and step - self._deaths[-1][1] > CALM_STEPS:
            self._deaths.clear()
        self._deaths.append((worker, step))
        if len(self._deaths) < MOST_IN_A_ROW:
            return None
        names = ", ".join(name for name, _ in self._deaths)
        first = self._deaths[0][1]
        self._deaths.clear()
        killed = f"the kernel has killed {names} in a row for lack of memory"
        if step == first:
            return GiveUp(
                f"{killed}, all at step {step}: it would do so again and again. Give the machine or the control group "
                "more memory, ask for fewer workers (--workers), or make shards smaller (more of them)"
            )
        if len(left) < max(1, minimum):
            return GiveUp(
                f"{killed}, between the steps {first} and {step}, and {len(left)} are left of at least {minimum} that "
                "the job needs. Give it more memory, or allow fewer workers (--workers MIN:MAX)"
            )
        return Fewer(
            len(left),
            f"{killed}, between the steps {first} and {step}: the job goes on with {len(left)} and asks for no others; "
            "`pliant scale` asks for more again",
        )

    def asked_for_more(self) -> None:
        """A user has chosen another number: the count begins anew."""
        self._deaths.clear()
