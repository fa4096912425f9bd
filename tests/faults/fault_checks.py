"""The measure of all fault tests: the bits of the undisturbed run after every step, every sample used once."""

from elastic_books import Trace, assert_exactly_once, assert_same_bits
from elastic_lab import LONGEST, BookedJob, Ended

STEPS = LONGEST


def check(ended: Ended, reference: Trace, *, lost: list[str], ahead: int = 0, how: str = "SIGKILL") -> dict[str, dict]:
    """Same bits, exactly once, and every death has its event with plausible numbers; returns these by worker.

    ``ahead``: shards that a worker may have begun in a step which no survivor had begun when it died.
    ``how``: what the events say of the deaths.
    """
    steps = ended.report["steps"]
    assert_same_bits(ended.trace, reference)
    assert steps == ended.trace.steps
    assert ended.report["weights_sha256"] == reference.at(steps - 1)[0]
    events = {event["message"].partition(",")[0]: event for event in ended.events("worker_lost")}
    assert sorted(events) == sorted(lost)
    assert len(ended.events("worker_lost")) == len(lost)
    for event in events.values():
        assert how in event["message"]
        assert event["workers_after"] < event["workers_before"] or event["workers_before"] == 1
        assert 0 <= event["stall_s"] < ended.report["wall_s"]
        assert 0 <= event["shards_recomputed"] <= 8
    recomputed = sum(event["shards_recomputed"] for event in events.values())
    # A shard that the dead had begun, and its survivors' recomputation of it, are both in the books.
    assert_exactly_once(ended.trace, reference, steps=steps, recomputed=recomputed + ahead)
    return events


def go_on(job: BookedJob, workers: int) -> None:
    """The job recovers: so many workers train, and train on."""
    job.wait_workers(workers)
    job.pass_steps(3)


def last_steps(job: BookedJob, *workers: str) -> list[int]:
    """The newest step that each of these has committed and booked; -1 if none."""
    digests = job.books().digests
    return [max(digests.get(job.worker(worker).pid, {}), default=-1) for worker in workers]
