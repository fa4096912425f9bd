"""Numbers and events as short texts, the same ones in every view."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.dashboard.staleness_text import measured
from pliant.wire.api import Event, JobStatus, ServerStatus, WorkerStatus

TERMINAL_STATES = frozenset({"finished", "stopped", "failed"})


def is_over(status: JobStatus) -> bool:
    """Whether the job has ended, in whatever way."""
    return status.state in TERMINAL_STATES


def seconds(value_s: float) -> str:
    """``36 ms``, ``1.24 s``, ``3 min 05 s``, ``2 h 03 min``."""
    if value_s < 0.9995:
        return f"{value_s * 1000:.0f} ms"
    if value_s < 60:
        return f"{value_s:.2f} s" if value_s < 10 else f"{value_s:.1f} s"
    whole = round(value_s)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(value_bytes: int) -> str:
    """``812 B``, ``1.4 MB`` (powers of 1000)."""
    if value_bytes < 1000:
        return f"{value_bytes} B"
    power = min(4, (len(str(value_bytes)) - 1) // 3)
    return f"{value_bytes / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def count(number: int, noun: str, many: str = "") -> str:
    """``1 worker``, ``1,234 workers``. ``many``: of nouns that take something else than an s."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def ranges(numbers: Sequence[int]) -> str:
    """``0-3, 6``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def cost(event: Event) -> str:
    """What an event cost, as far as is known: ``stalled 31 ms, 4 shards recomputed, 1.4 MB moved``."""
    parts = []
    if event.stall_s is not None:
        parts.append("no stall" if event.stall_s < 0.0005 else f"stalled {seconds(event.stall_s)}")
    if event.shards_recomputed:
        parts.append(f"{count(event.shards_recomputed, 'shard')} recomputed")
    if event.bytes_moved:
        parts.append(f"{size(event.bytes_moved)} moved")
    return ", ".join(parts)


def workers_change(event: Event) -> str:
    """``3 → 2``, or nothing for events that change no worker."""
    if event.workers_before is None or event.workers_after is None:
        return ""
    return f"{event.workers_before} → {event.workers_after}"


def progress(status: JobStatus) -> str:
    """``step 120/500 · epoch 2/10 · 14.2 steps/s · loss 1.8312 · 3 workers``."""
    total = "" if status.total_steps is None else f"/{status.total_steps:,}"
    parts = [f"step {status.step:,}{total}"]
    if status.epochs is not None:
        parts.append(f"epoch {min(status.epoch + 1, status.epochs)}/{status.epochs}")
    if status.steps_per_s is not None:
        parts.append(rate(status.steps_per_s))
    if status.loss is not None:
        parts.append(f"loss {status.loss:.4f}")
    parts.append(count(len(training_workers(status)), "worker"))
    if status.target_servers:
        parts.append(count(len(serving(status)), "server"))
    if status.staleness is not None:
        parts.append(measured(status))
    return " · ".join(parts)


def rate(steps_per_s: float) -> str:
    """``14.2 steps/s``; below one a second ``3.1 s/step``."""
    if steps_per_s >= 1 or steps_per_s <= 0:
        return f"{steps_per_s:.1f} steps/s"
    return f"{1 / steps_per_s:.1f} s/step"


def remaining_s(status: JobStatus) -> float | None:
    """Time left at the present speed, if that is known."""
    if not status.steps_per_s or status.total_steps is None:
        return None
    return max(0, status.total_steps - status.step) / status.steps_per_s


def training_workers(status: JobStatus) -> list[WorkerStatus]:
    """Members of the current generation, by rank."""
    members = [(worker.rank, worker) for worker in status.workers if worker.rank is not None]
    return [worker for _, worker in sorted(members, key=lambda pair: pair[0])]


def serving(status: JobStatus) -> list[ServerStatus]:
    """Parameter servers that hold slots."""
    return [server for server in status.servers if server.primary or server.copy]


def server_held(server: ServerStatus) -> str:
    """``1.2 MB``, or ``1.2 MB of 64 MB`` if there is a limit."""
    held = size(server.size_bytes)
    return held if server.limit_bytes is None else f"{held} of {size(server.limit_bytes)}"


def server_state(server: ServerStatus) -> str:
    """``serving``, ``filling 12 slots``."""
    return f"filling {count(server.filling, 'slot')}" if server.state == "filling" else server.state


def main_worker(status: JobStatus) -> str | None:
    """The worker at rank 0."""
    members = training_workers(status)
    return members[0].worker if members else None
