"""The plan of a job: what is to happen at which step, each thing once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pliant.wire.api import PlanEvent

ACTIONS = tuple(field.name for field in msgspec.structs.fields(PlanEvent) if field.name != "at_step")


class Schedule:
    """A plan and what of it has happened."""

    def __init__(self, plan: Sequence[PlanEvent]) -> None:
        """Events of one step keep their order."""
        self._waiting = sorted(plan, key=lambda event: event.at_step)
        self.reached = -1

    def milestones(self) -> list[int]:
        """Steps at which the main worker has to ask before it goes on."""
        return sorted({event.at_step for event in self._waiting})

    def reach(self, step: int) -> None:
        """The main worker is about to begin ``step``."""
        self.reached = max(self.reached, step)

    @property
    def waits(self) -> bool:
        """Something is to be done as soon as what came before has taken effect."""
        return bool(self._waiting) and self._waiting[0].at_step <= self.reached

    def due(self) -> list[PlanEvent]:
        """The next thing to do: all events of the earliest step, if it has been reached. They count as happened.

        Ask only when what came before has taken effect, so that a plan means the same on a fast and on a slow
        machine: a worker that the plan kills is then one that the plan has started. Events of one step happen at once.
        """
        if not self.waits:
            return []
        first = self._waiting[0].at_step
        due = [event for event in self._waiting if event.at_step == first]
        self._waiting = self._waiting[len(due) :]
        return due

    def unreached(self) -> list[PlanEvent]:
        """What has not happened."""
        return list(self._waiting)


def victims(ranks: Sequence[str], count: int) -> list[str]:
    """Whom an event takes: the highest ranks first, so that a plan means the same every time.

    Args:
        ranks: Live members, by rank; or servers, oldest first.
        count: How many; more than there are takes all.
    """
    return list(reversed(ranks))[:count]


def describe(event: PlanEvent) -> str:
    """As in the plan file: ``scale = 3 at step 20``."""
    name, value = next(iter(actions(event).items()))
    if event.slow is not None:
        value = f"{{ workers = {event.slow.workers}, factor = {event.slow.factor:g} }}"
    elif value is True:
        value = "true"
    return f"{name} = {value} at step {event.at_step}"


def actions(event: PlanEvent) -> dict[str, Any]:
    """What is set of the event; exactly one, if it is a good one."""
    return {name: value for name in ACTIONS if (value := getattr(event, name)) is not None}
