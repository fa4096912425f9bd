"""Carries out what a plan does to workers: signals through the agent, faults that a worker commits by itself."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from pliant.control.links import AgentRecord, WorkerRecord
from pliant.control.schedule_plan import describe, victims
from pliant.wire.api import PlanEvent
from pliant.wire.messages import Misbehave


def strike(event: PlanEvent, *, training: Sequence[WorkerRecord], agent: AgentRecord) -> str:
    """Do it to as many workers as the event says, or to all there are; returns what to say about it.

    Args:
        event: with ``kill``, ``leave``, ``stop``, ``slow`` or ``partition``.
        training: members of the current generation, by rank.
        agent: of the job.
    """
    able = {record.worker: record for record in training if not (record.leaving or record.doomed or record.stricken)}
    verb, count = _verb_and_count(event)
    chosen = victims(list(able), count)
    for worker in chosen:
        _strike_one(event, able[worker], agent)
    text = f"the plan ({describe(event)}) {verb} {', '.join(chosen) or 'nobody'}"
    return text if len(chosen) == count else f"{text}; only {len(able)} were there"


def _verb_and_count(event: PlanEvent) -> tuple[str, int]:
    if event.slow is not None:
        return "slows down", event.slow.workers
    counts = {
        "kills": event.kill,
        "asks to leave:": event.leave,
        "stops": event.stop,
        "cuts off from the network": event.partition,
    }
    return next((verb, count) for verb, count in counts.items() if count is not None)


def _strike_one(event: PlanEvent, record: WorkerRecord, agent: AgentRecord) -> None:
    """Each is marked at once: the plan does not go on before it has had its effect on all of them."""
    if event.kill is not None:
        record.doomed = True
        agent.signal(record.worker, signal.SIGKILL)
    elif event.leave is not None:
        record.leaving = True
        agent.signal(record.worker, signal.SIGTERM)
    elif event.stop is not None:
        record.stricken = True
        agent.signal(record.worker, signal.SIGSTOP)
    elif event.partition is not None:
        record.stricken = True
        record.send(Misbehave(isolated=True))
    elif event.slow is not None:
        record.slow = event.slow.factor
        record.send(Misbehave(slow=record.slow))
