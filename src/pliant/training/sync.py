"""The first exchange of a new group, and the state's way to those who need it. Main thread; blocking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from pliant.comm.mesh import MeshGroup
from pliant.errors import ProtocolError
from pliant.ids import WorkerId
from pliant.membership.sync_plan import SyncDecision, SyncReport, plan_sync
from pliant.transfer.move import receive_state, send_state
from pliant.transfer.spec import Encoded
from pliant.wire.messages import GenerationKind

_REPORT = msgspec.msgpack.Decoder(tuple[SyncReport, int])


@dataclass(frozen=True)
class Standing:
    """Where this worker stands when it enters a group (see :class:`pliant.membership.sync_plan.SyncReport`)."""

    worker: str
    stateful: bool
    passes_done: int
    full: bool
    held: tuple[int, ...]
    shards: int
    """V of the pass in flight; 0 at a boundary, where it is not known yet."""
    pace: float = 0.0


@dataclass(frozen=True)
class Synced:
    """Outcome of :func:`synchronize`."""

    decision: SyncDecision
    state: Encoded | None
    """What a newcomer received."""
    shards: int
    """V of the pass in flight, 0 if no member is inside one: then the deal of the decision means nothing."""
    bytes_sent: int = 0
    bytes_received: int = 0


def synchronize(
    group: MeshGroup, *, kind: GenerationKind, standing: Standing, capture: Callable[[], Encoded]
) -> Synced:
    """Compare where all members stand, decide, and move the state to newcomers.

    Args:
        group: the new group; nothing has been sent in it.
        kind: of the generation.
        standing: of this worker.
        capture: gives this worker's state; called only if it is a source.

    Raises:
        ConnectionLostError: a member is gone; this worker is what it was before.
        ProtocolError: the members contradict each other.
    """
    report = SyncReport(
        worker=WorkerId(standing.worker),
        rank=group.rank,
        stateful=standing.stateful,
        passes_done=standing.passes_done,
        full=standing.full,
        held=standing.held,
        pace=standing.pace,
    )
    payloads = group.exchange(msgspec.msgpack.encode((report, standing.shards)))
    try:
        received = [_REPORT.decode(payload) for payload in payloads]
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"malformed report in generation {group.generation}: {error}") from error
    reports = [report for report, _ in received]
    top = max((report.passes_done for report in reports if report.stateful), default=0)
    shards = max((count for report, count in received if report.stateful and report.passes_done == top), default=0)
    decision = plan_sync(reports, shards=max(1, shards), founding=kind == "founding", at_boundary=kind == "planned")
    if decision.commit and len(decision.commit) == len(decision.sources):
        shards = 0  # the next pass is a new one, and may be of another loader
    if not decision.newcomers:
        return Synced(decision, None, shards)
    if group.rank in decision.newcomers:
        state, size_bytes = receive_state(group, sources=decision.sources)
        return Synced(decision, state, shards, bytes_received=size_bytes)
    sent = 0
    if group.rank in decision.sources:
        sent = send_state(group, capture(), sources=decision.sources, newcomers=decision.newcomers)
    return Synced(decision, None, shards, bytes_sent=sent)
