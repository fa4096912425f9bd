"""A status, events and reports like those of a real job."""

import msgspec

from pliant.wire.api import Event, JobStatus, Report, ServerStatus, WorkerStatus
from pliant.wire.messages import UNBOUNDED


def event(seq=1, kind="worker_lost", step=35, message="w2, rank 1 of 3, is lost in step 35", **fields) -> Event:
    return Event(seq=seq, time_s=1000.0 + seq, job="gpt", kind=kind, step=step, message=message, **fields)


EVENTS = [
    event(1, "job_started", 0, "job gpt created for gpt.py"),
    event(2, "generation_founded", 0, "training begins with 1 worker: w1", workers_before=0, workers_after=1),
    event(
        3,
        "workers_joined",
        20,
        "w2, w3 joined",
        workers_before=1,
        workers_after=3,
        stall_s=0.0214,
        shards_recomputed=0,
        bytes_moved=14_200_000,
    ),
    event(4, workers_before=3, workers_after=2, stall_s=0.187, shards_recomputed=3, bytes_moved=0),
    event(5, "workers_shrunk", 50, "w3 went <&>", workers_before=2, workers_after=1, stall_s=0.0),
    event(6, "job_finished", 60, "job finished after 60 steps"),
]

STATUS = JobStatus(
    name="gpt",
    state="running",
    script="/home/me/gpt.py",
    step=1234,
    total_steps=5000,
    epoch=1,
    epochs=10,
    loss=1.83124,
    steps_per_s=14.23,
    samples=78976,
    shards=8,
    generation=4,
    target_workers=3,
    min_workers=1,
    max_workers=4,
    started_s=1000.0,
    workers=[
        WorkerStatus(worker="w4", pid=44, rank=None, state="rehearsing", shards=[], step=0),
        WorkerStatus(worker="w3", pid=43, rank=1, state="training", shards=[4, 5, 6, 7], step=1233),
        WorkerStatus(worker="w1", pid=41, rank=0, state="training", shards=[0, 1, 2, 3], step=1234),
    ],
)

TIMES = [0.1 * (step + 1) for step in range(60)]
REPORT = Report(
    name="gpt",
    state="finished",
    script="/home/me/gpt.py",
    steps=60,
    samples=3840,
    wall_s=6.0,
    median_step_s=0.1,
    goodput=0.97,
    final_loss=1.2345,
    weights_sha256="ab" * 32,
    events=EVENTS,
    commit_times_s=TIMES,
    losses=[3.0 / (step + 1) if step != 7 else None for step in range(60)],
    workers_over_time=[(0.0, 1), (2.0, 3), (3.5, 2), (5.0, 1)],
)
UNDISTURBED = msgspec.structs.replace(REPORT, events=[], workers_over_time=[(0.0, 1)])
EMPTY = Report(
    name="gpt",
    state="failed",
    script="gpt.py",
    steps=0,
    samples=0,
    wall_s=0.0,
    median_step_s=0.0,
    goodput=0.0,
    final_loss=None,
    weights_sha256=None,
    events=[],
    commit_times_s=[],
    losses=[],
    workers_over_time=[],
)


SERVED = msgspec.structs.replace(
    STATUS,
    strategy="parameter-server",
    target_servers=3,
    min_servers=2,
    max_servers=4,
    servers=[
        ServerStatus("s1", 51, "serving", 0, 32, 32, size_bytes=12_300_000, updates=1234),
        ServerStatus("s2", 52, "filling", 12, 32, 20, size_bytes=8_000_000, updates=1233),
        ServerStatus("s3", None, "starting", 0, 0, 0),
    ],
)
SERVED_REPORT = msgspec.structs.replace(
    REPORT,
    strategy="parameter-server",
    servers_over_time=[(0.0, 2), (3.0, 1), (3.4, 2)],
    events=[
        *EVENTS,
        event(7, "server_lost", 30, "s2 is lost in step 30", stall_s=0.052),
        event(8, "slots_restored", 31, "each slot has 2 holders again", bytes_moved=4_000_000),
    ],
)
STALE = msgspec.structs.replace(SERVED, staleness=4, mean_staleness=1.84)
STALE_REPORT = msgspec.structs.replace(
    SERVED_REPORT,
    name="gpt-stale",
    staleness=UNBOUNDED,
    mean_staleness=1.4,
    pushes_by_staleness={0: 200, 1: 100, 2: 100, 3: 50, 9: 50},
    weights_sha256="cd" * 32,
)
