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
        f"requests: {status.requests} now, {_counts(status)}",
    ]
    if status.checkpoint:
        lines.append(f"weights of {status.checkpoint}")
    if (job := status.following) is not None:
        lines.append(f"follows job {job.job}, each {job.every} steps; so far step {job.step}")
    if status.canary is not None:
        lines.append(f"canary: version {status.canary.version} answers {status.canary.share:.0%} of the requests")
    if status.problem:
        lines.append(f"error: {status.problem}")
    if status.replicas:
        rows = [("REPLICA", "STATE", "VERSION", "PID", "REQUESTS")]
        rows += [
            (f"r{each.number}", each.state, str(each.version), str(each.pid or "-"), str(each.requests))
            for each in status.replicas
        ]
        lines += ["", table(rows)]
    return "\n".join(lines)


def service_line(status: ServiceStatus) -> str:
    """One, in a line that is short enough to be written again and again."""
    ready = sum(replica.state == "ready" for replica in status.replicas)
    starting = sum(replica.state == "starting" for replica in status.replicas)
    return (
        f"{status.name} · {status.state} · {ready} replicas (+{starting}) · {status.requests} requests · "
        f"{_counts(status)} · version {status.version}"
    )


def service_event_line(event: ServiceEvent) -> str:
    """One event."""
    return f"[{datetime.fromtimestamp(event.unix_s):%H:%M:%S}] {event.kind.replace('_', ' ')}: {event.message}"


def _counts(status: ServiceStatus) -> str:
    return f"{status.answered} answered, {status.failed} failed, {status.refused} refused"


def _replicas(status: ServiceStatus) -> str:
    ready = sum(replica.state == "ready" for replica in status.replicas)
    return f"{ready} of {status.least}:{status.most}"
