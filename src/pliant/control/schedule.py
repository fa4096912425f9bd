"""Carries out what a plan does to workers and servers: signals through the agent, faults that one commits by itself."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from pliant.control.links import AgentRecord, ProcessRecord, ServerRecord, WorkerRecord
from pliant.control.schedule_plan import describe, victims
from pliant.wire.api import PlanEvent
from pliant.wire.messages import Misbehave


def strike(
    event: PlanEvent,
    *,
    training: Sequence[WorkerRecord],
    serving: Sequence[ServerRecord] = (),
    agent: AgentRecord,
) -> str:
    """Do it to as many workers or servers as the event says, or to all there are; returns what to say about it.

    Args:
        event: with ``kill``, ``leave``, ``stop``, ``slow``, ``partition``, ``kill_server`` or ``stop_server``.
        training: members of the current generation, by rank.
        serving: servers that hold slots, oldest first.
        agent: of the job.
    """
    aimed: Sequence[ProcessRecord] = training
    if event.kill_server is not None or event.stop_server is not None:
        aimed = serving
    able = {record.name: record for record in aimed if not (record.leaving or record.doomed or record.stricken)}
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
        "kills": event.kill if event.kill is not None else event.kill_server,
        "asks to leave:": event.leave,
        "stops": event.stop if event.stop is not None else event.stop_server,
        "cuts off from the network": event.partition,
    }
    return next((verb, count) for verb, count in counts.items() if count is not None)


def _strike_one(event: PlanEvent, record: ProcessRecord, agent: AgentRecord) -> None:
    """Each is marked at once: the plan does not go on before it has had its effect on all of them."""
    if event.kill is not None or event.kill_server is not None:
        record.doomed = True
        agent.signal(record.name, signal.SIGKILL)
    elif event.leave is not None:
        record.leaving = True
        agent.signal(record.name, signal.SIGTERM)
    elif event.stop is not None or event.stop_server is not None:
        record.stricken = True
        agent.signal(record.name, signal.SIGSTOP)
    elif event.partition is not None:
        record.stricken = True
        record.send(Misbehave(isolated=True))
    elif event.slow is not None:
        record.slow = event.slow.factor
        record.send(Misbehave(slow=record.slow))
