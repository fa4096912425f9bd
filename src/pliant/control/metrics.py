"""Prometheus metrics, in its text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from pliant.control.registry import Registry
from pliant.wire.api import JobStatus

_HELP = {
    "pliant_job_info": ("gauge", "1 for the state that the job is in."),
    "pliant_job_step": ("gauge", "Committed steps."),
    "pliant_job_samples": ("gauge", "Samples in committed steps."),
    "pliant_job_epoch": ("gauge", "Epoch of the last commit."),
    "pliant_job_loss": ("gauge", "Loss of the last commit."),
    "pliant_job_steps_per_second": ("gauge", "Speed over the latest commits."),
    "pliant_job_mean_staleness": ("gauge", "Updates between a pull and its push, where workers do not wait."),
    "pliant_job_generation": ("gauge", "Number of the generation that trains."),
    "pliant_job_workers": ("gauge", "Worker processes by state."),
    "pliant_job_target_workers": ("gauge", "Wanted workers."),
    "pliant_job_servers": ("gauge", "Parameter server processes by state."),
    "pliant_job_target_servers": ("gauge", "Wanted parameter servers."),
    "pliant_job_server_bytes": ("gauge", "Held by a parameter server."),
    "pliant_job_events_total": ("counter", "Events by kind."),
    "pliant_refused_messages_total": ("counter", "Messages that were malformed, too large or out of order."),
    "pliant_open_sockets": ("gauge", "WebSockets of workers, servers, agents and followers."),
}
_Sample = tuple[str, dict[str, str], float]


def render(registry: Registry) -> str:
    """All metrics of a coordinator."""
    samples: list[_Sample] = []
    for job in registry.jobs.values():
        samples += _of_job(job.status())
    for (job_name, kind), count in sorted(registry.event_counts.items()):
        samples.append(("pliant_job_events_total", {"job": job_name, "kind": kind}, count))
    samples.append(("pliant_refused_messages_total", {}, registry.refused_messages))
    samples.append(("pliant_open_sockets", {}, registry.open_sockets))
    return "".join(f"{line}\n" for line in _lines(samples))


def _of_job(status: JobStatus) -> Iterator[_Sample]:
    job = {"job": status.name}
    yield "pliant_job_info", {**job, "state": status.state}, 1
    values = {
        "step": status.step,
        "samples": status.samples,
        "epoch": status.epoch,
        "loss": status.loss,
        "steps_per_second": status.steps_per_s,
        "mean_staleness": status.mean_staleness,
        "generation": status.generation,
        "target_workers": status.target_workers,
        "target_servers": status.target_servers or None,
    }
    for name, value in values.items():
        if value is not None:
            yield f"pliant_job_{name}", job, value
    states = sorted(worker.state for worker in status.workers)
    for state, workers in groupby(states):
        yield "pliant_job_workers", {**job, "state": state}, len(list(workers))
    for state, servers in groupby(sorted(server.state for server in status.servers)):
        yield "pliant_job_servers", {**job, "state": state}, len(list(servers))
    for server in status.servers:
        yield "pliant_job_server_bytes", {**job, "server": server.server}, server.size_bytes


def _lines(samples: Iterable[_Sample]) -> Iterator[str]:
    by_name: dict[str, list[_Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample[0], []).append(sample)
    for name, group in by_name.items():
        kind, text = _HELP[name]
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} {kind}"
        for _, labels, value in group:
            inside = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
            yield f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
