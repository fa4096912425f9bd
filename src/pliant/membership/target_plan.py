"""Which worker processes there should be: how many to start, which to let go. Pure functions.

*Staying* workers are the live ones that neither asked to leave nor are left out by an announced generation.
There should be as many of them as wanted: missing ones are started, and when there are too many, the newest
are *surplus*. A surplus worker outside every generation is retired at once; a member leaves at a boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pliant.ids import WorkerId
from pliant.membership.roster import Formation, WorkerRecord

MAX_EARLY_DEATHS = 3
"""So many workers in a row that die before they are ready are no accident: more would die as well."""


@dataclass(frozen=True)
class TargetPlan:
    """What :func:`plan_target` found."""

    missing: int
    """How many processes to start."""
    departing: tuple[WorkerId, ...]
    """Who is to go: surplus first (newest first), then those that asked, in the order they asked."""


def plan_target(
    live: Sequence[WorkerRecord],
    *,
    wanted: int,
    current: Formation | None,
    planned: Formation | None,
) -> TargetPlan:
    """Compare the processes there are with the number wanted.

    Args:
        live: live workers, oldest first.
        wanted: how many workers should stay.
        current: the generation that trains now.
        planned: the announced one that will follow it.
    """
    staying = [record for record in live if not _is_going(record, current=current, planned=planned)]
    surplus = staying[wanted:][::-1]
    asked = sorted((record for record in live if record.asked_to_leave), key=lambda r: r.asked_to_leave)
    return TargetPlan(
        missing=max(0, wanted - len(staying)),
        departing=tuple(record.worker for record in (*surplus, *asked)),
    )


def retirable(
    live: Sequence[WorkerRecord], departing: Sequence[WorkerId], formations: Sequence[Formation]
) -> list[WorkerId]:
    """Those of ``departing`` that are in no generation: nothing is lost when they exit now."""
    known = {record.worker for record in live}
    return [
        worker for worker in departing if worker in known and not any(worker in formation for formation in formations)
    ]


def _is_going(record: WorkerRecord, *, current: Formation | None, planned: Formation | None) -> bool:
    left_out = planned is not None and current is not None and record.worker in current and record.worker not in planned
    return bool(record.asked_to_leave) or left_out
