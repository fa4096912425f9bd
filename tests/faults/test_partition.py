"""A real network that is torn apart: the side with the coordinator goes on, and never both.

Workers live in network namespaces, each with a cable of its own to a bridge. Nothing tells anybody of the cut: packets
are lost, that is all.
"""

import os
from pathlib import Path

import pytest
from elastic_books import assert_same_bits
from elastic_lab import LONGEST, BookLab, is_alive, wait_until
from net_lab import Net, require

STEPS = LONGEST
PATIENCE_S = 3.0
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def net():
    require()
    net = Net(7)
    try:
        net.up()
        yield net
    finally:
        net.down()


@pytest.fixture(scope="module")
def wide_lab(net, tmp_path_factory):
    """As ``lab``, with a coordinator that the namespaces can reach."""
    lab = BookLab(tmp_path_factory.mktemp("wide") / "home")
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    lab.environment |= {**net.environment, "PYTHONPATH": path}
    done = lab("up", "--host", net.address)
    assert done.returncode == 0, done.stderr
    yield lab
    lab.close()


@pytest.fixture
def start(wide_lab, tmp_path):
    def begin(count, **options):
        job = wide_lab.run(
            tmp_path,
            "train.py",
            *("--steps", STEPS, "--delay", 0.05),
            workers="1:4",
            start=count,
            patience=PATIENCE_S,
            entry="netns_entry:run",
            preload="pliant.training.preload,netns_entry",
            **options,
        )
        job.wait_workers(count)
        return job

    return begin


@pytest.fixture
def reference(undisturbed):
    return undisturbed("train.py", "--steps", STEPS)


def log_of(job, worker):
    return (job.lab.home / "jobs" / job.name / f"{worker}.log").read_text()


def test_one_worker_alone_and_then_two_halves(start, net, reference):
    job = start(4)
    pids = {worker.worker: worker.pid for worker in job.wait_workers(4)}

    # One worker reaches nobody. It is given up, the others go on.
    assert net.reaches(4, 1)
    net.move_apart(4)
    assert not net.reaches(4, 1)
    assert not net.reaches(4, 0)
    assert "w4" in job.wait_event("worker_silent")[0].message
    # The cable is back before it is killed: it finds that it is not wanted, and leaves.
    net.move_back(4)
    job.wait_event("expelled_ended")
    assert not is_alive(pids["w4"])
    assert "exit code 0" in job.events("expelled_ended")[0].message
    assert "expelled" in log_of(job, "w4")
    here = job.wait_workers(4)
    assert [worker.worker for worker in here[:3]] == ["w1", "w2", "w3"], job.events()
    newcomer = here[3].worker  # w5, unless a busy machine made that one late for its first generation
    silent = len(job.events("worker_silent"))

    # Two halves, each of which is whole in itself; the coordinator is with w1 and w2.
    others = {worker.pid for worker in here if worker.worker in ("w3", newcomer)}

    def booked():
        digests = job.books().digests
        return {pid: max(digests[pid]) for pid in others}

    other_half = 3, int(newcomer.removeprefix("w"))
    net.move_apart(*other_half)
    assert net.reaches(*other_half)
    assert not net.reaches(3, 1)
    job.wait_event("worker_silent", count=silent + 2)
    before = booked()
    job.wait(lambda s: s.step > max(before.values()) + 3, "the half with the coordinator goes on")
    assert booked() == before, "the other half went on as well"
    wait_until(lambda: not any(is_alive(pid) for pid in others), "what is left of the other half ends")
    net.move_back(*other_half)
    ended = job.stop()
    assert_same_bits(ended.trace, reference)
    assert booked() == before
    assert ended.report["weights_sha256"] == reference.at(ended.report["steps"] - 1)[0]


def test_two_that_cannot_reach_each_other_but_both_the_coordinator(start, net, reference):
    job = start(3)
    assert net.reaches(2, 3)
    net.wall(2, 3)
    assert not net.reaches(2, 3)
    assert net.reaches(2, 1)
    assert net.reaches(3, 0)
    cut_off = job.wait_event("worker_cut_off")[0].message.partition(" ")[0]
    assert cut_off in ("w2", "w3")
    job.wait_event("expelled_ended")
    others = job.wait_workers(3)
    assert [worker.worker for worker in others] == [w for w in ("w1", "w2", "w3", "w4") if w != cut_off]
    job.wait_step(job.status().step + 3)
    ended = job.stop()
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.at(ended.report["steps"] - 1)[0]
    assert "worker_silent" not in ended.kinds
    assert "expelled" in log_of(job, cut_off)
