"""Who should be in the next generation. Pure functions.

Ranks: members keep their relative order, newcomers are appended (oldest first), so that a survivor's rank only
ever falls and the state's senders come before its receivers.
"""

from __future__ import annotations

from collections.abc import Sequence

from pliant.ids import WorkerId
from pliant.membership.roster import Formation, Roster


def founders(roster: Roster, *, size: int, departing: Sequence[WorkerId]) -> list[WorkerId] | None:
    """Members of the first generation, oldest first; None while fewer than ``size`` are ready."""
    going = set(departing)
    ready = [record.worker for record in roster.live() if record.ready and record.worker not in going]
    return ready[:size] if len(ready) >= size else None


def planned_members(
    roster: Roster, *, current: Formation, departing: Sequence[WorkerId], floor: int
) -> list[WorkerId] | None:
    """Members of a planned generation, or None if that is what there is already.

    Newcomers that are ready now come in; later ones get a generation of their own, and nobody who wants to leave
    waits for them. Exception: a leaver stays while fewer than ``floor`` members that hold the state would be
    left without it (newcomers do not count before they have entered). Of several, those last in ``departing`` stay.
    """
    going = set(departing)
    staying = roster.only_live(worker for worker in current.members if worker not in going)
    leavers = [worker for worker in departing if worker in current and roster[worker].live]
    needed = max(0, floor - len(staying))
    kept = leavers[-needed:] if needed else []
    stay = {*staying, *kept}
    newcomers = [
        record.worker
        for record in roster.live()
        if record.ready and record.worker not in current and record.worker not in going
    ]
    members = [worker for worker in current.members if worker in stay] + newcomers
    return None if members == list(current.members) or not stay else members


def survivors(roster: Roster, *, current: Formation, planned: Formation | None) -> list[WorkerId]:
    """Members of a recovery: the live ones that hold the job's state, in their relative order.

    Between an announced generation and the one before it: once a live worker has entered the new one, everybody
    in it has committed the last pass of the old one and may have gone further, so those it left out are
    behind and stay out. Before that nobody has gone further, and leavers are as good as others.
    """
    order = list(current.members)
    if planned is not None:
        if any(roster[worker].live for worker in planned.entered):
            order = list(planned.members)
        else:
            order += [worker for worker in planned.members if worker not in current]
    return [worker for worker in roster.only_live(order) if roster[worker].stateful]
