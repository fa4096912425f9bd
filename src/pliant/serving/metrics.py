"""A service's numbers in the text format of Prometheus."""

from __future__ import annotations

from pliant.serving.router import Router


def metrics_text(router: Router) -> str:
    """All of them, now."""
    sight, meter, name = router.sight(), router.meter, router.spec.name
    rows = [
        ("requests", "gauge", "at the front door: running and waiting", len(router.state)),
        ("waiting_rows", "gauge", "rows that wait for a replica", router.state.queue.rows),
        ("replicas", "gauge", "that answer", sight.ready),
        ("replicas_starting", "gauge", "that do not answer yet", sight.starting),
        ("answered_total", "counter", "requests", meter.answered),
        ("failed_total", "counter", "requests that were taken and got no answer", meter.failed),
        ("refused_total", "counter", "requests that were not taken", meter.refused),
        ("batch_seconds", "gauge", "that a batch takes, lately", round(meter.batch_s, 6)),
        ("replica_start_seconds", "gauge", "that a replica takes to start, lately", round(meter.start_s, 6)),
    ]
    lines = []
    for key, kind, text, value in rows:
        full = f"pliant_service_{key}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f'{full}{{service="{name}"}} {value}']
    return "\n".join(lines) + "\n"
