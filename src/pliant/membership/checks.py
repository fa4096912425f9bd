"""What must hold between two events, whatever happened: the decider's invariants."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from pliant.ids import WorkerId
from pliant.membership.roster import Formation, Roster


def check_invariants(
    roster: Roster,
    *,
    current: Formation | None,
    planned: Formation | None,
    awaited: AbstractSet[WorkerId] | None,
    over: bool,
) -> None:
    """Check a job's membership.

    Args:
        roster: all workers.
        current: the current generation.
        planned: the announced one after it.
        awaited: workers whose answer to an interrupt is missing; None if none was sent.
        over: the job, or the script on some worker, has ended.

    Raises:
        AssertionError: naming the invariant.
    """
    for formation in filter(None, (current, planned)):
        _check_formation(formation)
    if planned is not None:
        _require(current is not None, "a planned generation follows a current one")
    if current is not None and planned is not None:
        _require(planned.generation > current.generation, "generation numbers rise")
        _require(current.complete, "one generation at a time is announced and not entered")
        _require(any(worker in current for worker in planned.members), "somebody carries the state over")
    if awaited is not None:
        _require(over or bool(awaited), "an interruption without awaited answers is reformed at once")
        _require(all(roster[worker].live for worker in awaited), "only live workers are awaited")
        return
    if over or current is None:
        return
    entered = planned is not None and any(roster[worker].live for worker in planned.entered)
    needed = planned if entered and planned is not None else current
    for worker in needed.members:
        _require(roster[worker].live, f"{worker} is needed in generation {needed.generation}")
    if current.kind != "founding" or current.complete:
        _require(any(roster[worker].stateful for worker in needed.members), "somebody holds the state")


def _check_formation(formation: Formation) -> None:
    _require(len(formation.members) > 0, "a generation has members")
    _require(len(set(formation.members)) == len(formation.members), "nobody is a member twice")
    _require([place.rank for place in formation.places] == list(range(len(formation.places))), "ranks are 0..n-1")
    _require(formation.entered <= set(formation.members), "only members enter")
    _require(set(formation.members) <= set(formation.to), "every member is told")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(f"membership invariant broken: {what}")
