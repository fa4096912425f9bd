"""``pliant status`` as plain text: starts fast because it needs no library."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.dashboard.words import count, progress, ranges, server_held, server_state, training_workers
from pliant.wire.api import JobStatus, ServerStatus, WorkerStatus


def jobs_text(jobs: Sequence[JobStatus]) -> str:
    """A row for each job. Pure."""
    rows = [("NAME", "STATE", "WORKERS", "STEP", "LOSS", "SCRIPT")]
    for job in jobs:
        total = "" if job.total_steps is None else f"/{job.total_steps}"
        loss = "-" if job.loss is None else f"{job.loss:.4f}"
        workers = f"{len(training_workers(job))} of {job.min_workers}:{job.max_workers}"
        rows.append((job.name, job.state, workers, f"{job.step}{total}", loss, job.script))
    return table(rows)


def job_text(status: JobStatus) -> str:
    """One job: its progress, then a row for each worker. Pure."""
    lines = [f"{status.name} · {status.state} · {progress(status)}"]
    wanted = f"{count(status.target_workers, 'worker')} wanted ({status.min_workers} to {status.max_workers})"
    lines.append(f"{wanted} · generation {status.generation} · {status.script}")
    if status.weights_sha256 is not None:
        lines.append(f"weights sha256 {status.weights_sha256}")
    if status.error is not None:
        lines += ["error:", *(f"  {line}" for line in status.error.strip().splitlines())]
    if status.workers:
        rows = [("WORKER", "STATE", "RANK", "STEP", "PID", "SHARDS")]
        others = [worker for worker in status.workers if worker.rank is None]
        rows += [_row(worker) for worker in [*training_workers(status), *others]]
        lines += ["", table(rows)]
    if status.target_servers:
        wanted = f"{count(status.target_servers, 'server')} wanted ({status.min_servers} to {status.max_servers})"
        lines += ["", wanted, table([_SERVER_HEAD, *map(_server_row, status.servers)])]
    return "\n".join(lines)


_SERVER_HEAD = ("SERVER", "STATE", "PRIMARY", "COPY", "HELD", "UPDATES", "PID")


def _server_row(server: ServerStatus) -> tuple[str, ...]:
    pid = "-" if server.pid is None else str(server.pid)
    held = server_held(server)
    return server.server, server_state(server), str(server.primary), str(server.copy), held, str(server.updates), pid


def _row(worker: WorkerStatus) -> tuple[str, str, str, str, str, str]:
    rank = "-" if worker.rank is None else str(worker.rank)
    pid = "-" if worker.pid is None else str(worker.pid)
    return worker.worker, worker.state, rank, str(worker.step), pid, ranges(worker.shards) or "-"


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as they must be."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
