"""The kernel kills workers for lack of memory: really, in a control group that the test makes smaller than they are."""

import contextlib
import os
import uuid
from pathlib import Path

import pytest
from elastic_lab import wait_until
from fault_checks import check, go_on

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
REQUIRED = os.environ.get("PLIANT_REQUIRE_CGROUP") == "1"


class TightGroup:
    """A memory control group that processes are put into and then grow out of."""

    def __init__(self):
        v1 = (V1 / "memory.limit_in_bytes").exists()
        self.path = (V1 if v1 else V2) / f"pliant-test-{uuid.uuid4().hex[:8]}"
        self.limit = "memory.limit_in_bytes" if v1 else "memory.max"
        self.path.mkdir()
        (self.path / self.limit).write_text(str(64 << 20))

    def take(self, pid):
        """From here on whatever the process touches counts, and at 64 MiB of that the kernel kills it."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def close(self):
        def remove():
            with contextlib.suppress(OSError):
                self.path.rmdir()
            return not self.path.exists()

        wait_until(remove, "the control group is empty", deadline_s=20)


@pytest.fixture
def tight():
    try:
        group = TightGroup()
    except OSError as error:
        if REQUIRED:
            raise
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield group
    group.close()


def starve(job, tight, worker):
    """The worker grows beyond its control group, and the kernel kills it."""
    tight.take(job.worker(worker).pid)
    job.hold("eat", worker)
    job.wait(lambda status: worker not in {each.worker for each in status.workers}, f"{worker} is killed")


def test_a_kill_for_lack_of_memory_is_a_crash_and_three_in_a_row_are_enough(start, reference, tight):
    job = start(3, eats=1)
    for victim in ("w2", "w4"):
        starve(job, tight, victim)
        go_on(job, 3)  # replaced, as after any crash
    assert not job.events("out_of_memory")
    starve(job, tight, "w5")
    (said,) = job.wait_event("out_of_memory")
    assert "w2, w4, w5" in said.message
    go_on(job, 2)  # and not replaced any more
    assert job.status().target_workers == 2
    ended = job.stop()
    check(ended, reference, lost=["w2", "w4", "w5"], how="for lack of memory")


def test_a_job_that_gets_nowhere_for_lack_of_memory_ends_with_that_explanation(start, tight):
    job = start(4, eats=1)
    job.pass_steps(2)
    job.hold("shard", "w1")  # so that nothing is committed from here on
    job.wait_held("shard", "w1")
    for victim in ("w2", "w3", "w4"):
        starve(job, tight, victim)
    job.release("shard", "w1")
    ended = job.end(4)
    assert ended.report["state"] == "failed"
    assert "the kernel has killed w2, w3, w4 in a row for lack of memory, all at step" in ended.error
