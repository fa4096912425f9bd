"""The plan of a job: what is to happen at which step, each thing once. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.ids import WorkerId
from pliant.wire.api import PlanEvent


class Schedule:
    """A plan and what of it has happened."""

    def __init__(self, plan: Sequence[PlanEvent]) -> None:
        """Events of one step keep their order."""
        self._waiting = sorted(plan, key=lambda event: event.at_step)

    def milestones(self) -> list[int]:
        """Steps at which the main worker has to ask before it goes on."""
        return sorted({event.at_step for event in self._waiting})

    def due(self, step: int) -> list[PlanEvent]:
        """Everything up to ``step`` that has not happened yet; it counts as happened from now on."""
        due = [event for event in self._waiting if event.at_step <= step]
        self._waiting = [event for event in self._waiting if event.at_step > step]
        return due

    def unreached(self) -> list[PlanEvent]:
        """What has not happened."""
        return list(self._waiting)


def victims(ranks: Sequence[WorkerId], count: int) -> list[WorkerId]:
    """Whom ``kill`` and ``leave`` take: the highest ranks first, so that a plan means the same every time.

    Args:
        ranks: Live members, by rank.
        count: How many; more than there are takes all.
    """
    return list(reversed(ranks))[:count]


def describe(event: PlanEvent) -> str:
    """As in the plan file: ``scale = 3 at step 20``."""
    what = next(
        f"{name} = {value}"
        for name, value in (("scale", event.scale), ("kill", event.kill), ("leave", event.leave))
        if value is not None
    )
    return f"{what} at step {event.at_step}"
