"""The first exchange of a new group: where do its members stand, and how does the pass in flight go on?

Every member sends one :class:`SyncReport` to all others and computes the same :class:`SyncDecision` from the same
reports. Nothing else needs to be agreed on.

Theory
------
A member commits pass p only when it has every member's acknowledgement "I hold the full gradient of pass p".
So when one has committed it, all hold it, and those that are one behind can commit it too, with the same bits.
If nobody has committed it, and all hold it, all commit it now. Otherwise the pass is finished again: the shards'
gradients that are still held count, and those of the dead are dealt out. More than one pass apart is impossible.

A member that loses its group during this exchange may have committed already when others have not: that is the
case above, and the next exchange brings them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pliant.errors import ProtocolError
from pliant.ids import WorkerId
from pliant.membership.deal_plan import deal_shards, quotas
from pliant.membership.pace_plan import filled, worth_it


@dataclass(frozen=True)
class SyncReport:
    """Where one member stands."""

    worker: WorkerId
    rank: int
    stateful: bool
    """It holds the job's state. Of the rest of the report nothing counts if it does not."""
    passes_done: int
    """Committed passes in the job's whole life."""
    full: bool
    """It holds the full gradient of the pass in flight, whose number is ``passes_done``."""
    held: tuple[int, ...] = ()
    """Shards of the pass in flight whose gradients it keeps."""
    pace: float = 0.0
    """Seconds that it needs for a shard; 0: unknown. Counts for newcomers too."""


@dataclass(frozen=True)
class SyncDecision:
    """What all members do next. Tuples ``deal`` and ``keep`` have one entry for each rank."""

    commit: tuple[int, ...]
    """Ranks that commit their pass in flight now, before anything else."""
    in_flight: int
    """Number of the pass that all compute then."""
    deal: tuple[tuple[int, ...], ...]
    """Shards to compute in it, beyond those kept."""
    keep: tuple[tuple[int, ...], ...]
    """Shards of it that are held already and count; others that a rank holds are thrown away."""
    sources: tuple[int, ...]
    """Ranks that hold the state (after ``commit``) and send it to the newcomers, each a part."""
    newcomers: tuple[int, ...]
    """Ranks that need the state."""
    paces: tuple[float, ...] = ()
    """As reported, for the deals that follow."""


def plan_sync(
    reports: Sequence[SyncReport],
    *,
    shards: int,
    founding: bool = False,
    at_boundary: bool = False,
    newcomers_share: bool = True,
) -> SyncDecision:
    """Decide how a new group goes on. Pure, and the same on every member.

    Args:
        reports: one of each member, in any order.
        shards: the script's V.
        founding: nobody holds the state yet: what rank 0 has (its own, or a checkpoint's) becomes the job's.
        at_boundary: a planned generation: its old members switched at a boundary, all at the same pass.
        newcomers_share: newcomers get shards of the very first pass too, although they wait for the state.

    Raises:
        ProtocolError: the reports contradict the acknowledgement rule. Nothing may be committed then.
    """
    ranked = sorted(reports, key=lambda report: report.rank)
    if not ranked or [report.rank for report in ranked] != list(range(len(ranked))):
        raise ProtocolError(f"a group of {len(ranked)} members reports the ranks {[r.rank for r in ranked]}")
    sources = (0,) if founding else tuple(report.rank for report in ranked if report.stateful)
    if not sources:
        raise ProtocolError("no member of the group holds the job's state")
    if founding:
        at = _Positions(commit=(), in_flight=ranked[0].passes_done)
    else:
        at = _positions([ranked[rank] for rank in sources])
    if at_boundary and (at.commit or any(ranked[rank].held or ranked[rank].full for rank in sources)):
        raise ProtocolError(f"members switched generations inside a pass: {_table(ranked)}")
    keep = _kept(ranked, sources=() if founding else sources, in_flight=at.in_flight, shards=shards)
    holders = set(sources)
    newcomers = tuple(rank for rank in range(len(ranked)) if rank not in holders)
    missing = sorted(set(range(shards)).difference(*keep))
    dealt_to = range(len(ranked)) if newcomers_share else sources
    takes = [0] * len(ranked)
    paces = worth_it(filled([ranked[rank].pace for rank in dealt_to]), shards)
    shares = quotas([len(keep[rank]) for rank in dealt_to], missing=len(missing), paces=paces)
    for rank, take in zip(dealt_to, shares, strict=True):
        takes[rank] = take
    return SyncDecision(
        commit=at.commit,
        in_flight=at.in_flight,
        deal=deal_shards(missing, takes=takes),
        keep=keep,
        sources=sources,
        newcomers=newcomers,
        paces=tuple(report.pace for report in ranked),
    )


@dataclass(frozen=True)
class _Positions:
    commit: tuple[int, ...]
    in_flight: int


def _positions(stateful: Sequence[SyncReport]) -> _Positions:
    top = max(report.passes_done for report in stateful)
    behind = [report for report in stateful if report.passes_done < top]
    impossible = [report for report in behind if report.passes_done < top - 1 or not report.full]
    if impossible:
        raise ProtocolError(
            f"{impossible[0].worker} cannot catch up: pass {top - 1} was committed by others, which they may only do "
            f"once everybody holds its full gradient. Reports: {_table(stateful)}"
        )
    if behind:
        return _Positions(tuple(report.rank for report in behind), top)
    if all(report.full for report in stateful):
        return _Positions(tuple(report.rank for report in stateful), top + 1)
    return _Positions((), top)


def _kept(
    ranked: Sequence[SyncReport], *, sources: Sequence[int], in_flight: int, shards: int
) -> tuple[tuple[int, ...], ...]:
    keep: list[tuple[int, ...]] = [() for _ in ranked]
    taken: set[int] = set()
    for rank in sources:
        report = ranked[rank]
        if report.passes_done != in_flight:
            continue  # what it holds belongs to the pass that it commits now
        wrong = [shard for shard in report.held if not 0 <= shard < shards]
        if wrong:
            raise ProtocolError(f"{report.worker} holds the shards {wrong}, but there are {shards}")
        keep[rank] = tuple(sorted(set(report.held) - taken))
        taken.update(report.held)
    return tuple(keep)


def _table(reports: Sequence[SyncReport]) -> str:
    return ", ".join(
        f"{r.worker}: {r.passes_done} passes{', full' if r.full else ''}, holds {list(r.held)}" for r in reports
    )
