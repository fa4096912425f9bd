"""Services as plain text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pliant.dashboard.status_text import table
from pliant.wire.service_api import ServiceEvent, ServiceStatus


def services_text(services: Sequence[ServiceStatus]) -> str:
    """A row for each."""
    rows = [("SERVICE", "STATE", "REPLICAS", "REQUESTS", "VERSION", "URL")]
    rows += [
        (each.name, each.state, _replicas(each), str(each.requests), str(each.version), each.url) for each in services
    ]
    return table(rows)


def service_text(status: ServiceStatus) -> str:
    """One, with a row for each replica."""
    lines = [
        f"{status.name} · {status.state} · {_replicas(status)} replicas · version {status.version} · {status.url}",
        "requests: " + "; ".join(part for part in (now_text(status), _counts(status), latency_text(status)) if part),
    ]
    if status.checkpoint:
        lines.append(f"weights of {status.checkpoint}")
    if (job := status.following) is not None:
        lines.append(f"follows job {job.job}, each {job.every} steps; so far step {job.step}")
    if status.canary is not None:
        lines.append(f"canary: {canary_text(status)}")
    if status.problem:
        lines.append(f"error: {status.problem}")
    if status.replicas:
        rows = [("REPLICA", "STATE", "VERSION", "PID", "REQUESTS", "BATCHES")]
        rows += [
            (
                f"r{each.number}", each.state, str(each.version), str(each.pid or "-"), str(each.requests),
                str(each.batches),
            )
            for each in status.replicas
        ]  # fmt: skip
        lines += ["", table(rows)]
    return "\n".join(lines)


def service_line(status: ServiceStatus) -> str:
    """One, in a line that is short enough to be written again and again."""
    parts = [status.name, status.state, replicas_text(status), now_text(status), _counts(status)]
    parts += [latency_text(status), f"version {status.version}"]
    parts += [f"canary: {canary_text(status)}"] if status.canary is not None else []
    return " · ".join(part for part in parts if part)


def replicas_text(status: ServiceStatus) -> str:
    """``2 of 0:4 replicas (+1 starting, 1 leaving)``."""
    states = [replica.state for replica in status.replicas]
    more = [f"{states.count(state)} {state}" for state in ("starting", "leaving") if state in states]
    return f"{_replicas(status)} replicas" + (f" (+{', '.join(more)})" if more else "")


def now_text(status: ServiceStatus) -> str:
    """``5 running, 3 waiting``."""
    return f"{status.requests - status.waiting} running, {status.waiting} waiting"


def latency_text(status: ServiceStatus) -> str:
    """``p50 4.2 ms, p99 12 ms``; nothing if nobody was answered lately."""
    if status.p50_s is None or status.p99_s is None:
        return ""
    return f"p50 {milliseconds(status.p50_s)}, p99 {milliseconds(status.p99_s)}"


def canary_text(status: ServiceStatus) -> str:
    """``version 4 answers 10% of the requests``; nothing without a canary."""
    canary = status.canary
    return "" if canary is None else f"version {canary.version} answers {canary.share:.0%} of the requests"


def milliseconds(value_s: float) -> str:
    """``0.42 ms``, ``4.2 ms``, ``42 ms``, ``1,234 ms``."""
    value = value_s * 1000
    digits = 2 if value < 0.995 else 1 if value < 9.95 else 0
    return f"{value:,.{digits}f} ms"


def service_event_line(event: ServiceEvent) -> str:
    """One event."""
    return f"[{datetime.fromtimestamp(event.unix_s):%H:%M:%S}] {event.kind.replace('_', ' ')}: {event.message}"


def _counts(status: ServiceStatus) -> str:
    return f"{status.answered} answered, {status.failed} failed, {status.refused} refused"


def _replicas(status: ServiceStatus) -> str:
    ready = sum(replica.state == "ready" for replica in status.replicas)
    return f"{ready} of {status.least}:{status.most}"
