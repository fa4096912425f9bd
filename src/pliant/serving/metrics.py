"""A service's numbers in the text format of Prometheus."""

from __future__ import annotations

from pliant.serving.service import Service


def metrics_text(service: Service) -> str:
    """All of them, now."""
    status, line = service.status(), service.line
    states = [replica.state for replica in status.replicas]
    rows: list[tuple[str, str, str, float]] = [
        ("requests", "gauge", "at the front door: running and waiting", status.requests),
        ("waiting_rows", "gauge", "rows that wait for a replica", sum(each.state.queue.rows for each in service.lines)),
        ("replicas", "gauge", "that answer", states.count("ready")),
        ("replicas_starting", "gauge", "that do not answer yet", states.count("starting")),
        ("answered_total", "counter", "requests", status.answered),
        ("failed_total", "counter", "requests that were taken and got no answer", status.failed),
        ("refused_total", "counter", "requests that were not taken", status.refused),
        ("batch_seconds", "gauge", "that a batch takes, lately", round(line.meter.batch_s, 6)),
        ("replica_start_seconds", "gauge", "that a replica takes to start, lately", round(line.meter.start_s, 6)),
        ("version", "gauge", "of the weights", status.version),
    ]
    if status.p50_s is not None and status.p99_s is not None:
        rows.append(("latency_p50_seconds", "gauge", "from coming to answer, in the last 10 s", round(status.p50_s, 6)))
        rows.append(("latency_p99_seconds", "gauge", "the same, 99th percentile", round(status.p99_s, 6)))
    lines = []
    for key, kind, text, value in rows:
        full = f"pliant_service_{key}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f'{full}{{service="{status.name}"}} {value:g}']
    return "\n".join(lines) + "\n"
