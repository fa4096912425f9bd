"""A service takes the weights of a running job, whatever happens to that, and no answer mixes two versions."""

import os
import signal
import threading
from pathlib import Path

import pytest
from service_lab import wait_until

from pliant.testing.processes import is_alive

EVERY = 5
STEPS = 1000
"""A minute and a half, unless it is told to hurry."""
LONG = 100_000
"""Steps of a job that is over when its test is."""


@pytest.fixture
def hurry(tmp_path):
    """The job is slow until this is there."""
    return tmp_path / "hurry"


@pytest.fixture
def train(elastic, hurry):
    """Start the job; its weight is the step."""
    return lambda steps, **options: elastic.run("follow_train.py", "--steps", steps, "--slow-until", hurry, **options)


def step_of(answer):
    """Whose weights gave it."""
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()
    assert row[0] == row[1] == int(row[0])
    return int(row[0])


def follow(begin, elastic, job, *options):
    words = ("--from-job", job.name, "--every", str(EVERY), *options)
    return begin("Scaled", *words, home=elastic.home).wait_ready()


class Asking:
    """Clients that ask until they are told to stop; every answer is kept as (version, step)."""

    def __init__(self, service, clients=3):
        self.found, self._stop = [], threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(service,)) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, service):
        while not self._stop.is_set():
            answer = service.predict([[1, 1]])
            self.found.append((int(answer.headers["x-pliant-version"]), step_of(answer)))

    def end(self):
        """All of them, by version."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        steps = {}
        for version, step in self.found:
            assert steps.setdefault(version, step) == step, f"version {version} answered with two weights"
        return dict(sorted(steps.items()))


def weights_directories(service):
    found = Path("/dev/shm").glob(f"pliant-{os.getuid()}-*-model@*")
    ours = service.status()["checkpoint"] if service.process.poll() is None else ""
    return [path for path in found if ours.startswith(f"{path}/")]


def test_the_newest_weights_answer_while_workers_and_coordinator_die(elastic, train, hurry, begin):
    job = train(STEPS, workers="1:3", start=2)
    job.wait_step(5)
    service = follow(begin, elastic, job, "--replicas", "1:2")
    asking = Asking(service)
    first = service.status()
    assert (first["following"]["job"], first["following"]["every"]) == (job.name, EVERY)
    wait_until(lambda: service.status()["version"] >= 3, "weights have come twice")
    (directory,) = weights_directories(service)
    job.kill(rank=0)
    seen = service.status()["version"]
    wait_until(lambda: service.status()["version"] > seen + 1, "another main worker's come")
    job.kill_coordinator()
    seen = service.status()["version"]
    wait_until(lambda: service.status()["version"] > seen + 1, "another coordinator passes them on")
    hurry.touch()
    result = job.end()
    assert len(result.events_of("worker_lost")) == 1
    wait_until(lambda: step_of(service.predict([[1, 1]])) == STEPS, "the last weights answer")
    wait_until(lambda: service.status()["following"] is None, "it knows that no more will come")
    steps = asking.end()
    assert len(steps) > 5
    assert list(steps.values()) == sorted(steps.values())
    assert all(step % EVERY == 0 for step in list(steps.values())[1:])
    assert (service.status()["failed"], service.status()["refused"]) == (0, 0)
    assert "is finished: no more weights will come" in service.pliant("events", "model").stdout
    assert len(list(directory.iterdir())) <= 3  # those that answer, those before, and one that came meanwhile
    assert service.end() == 0
    assert not directory.exists()


def test_a_new_router_goes_on_following(elastic, train, begin):
    job = train(LONG)
    job.wait_step(2)
    service = follow(begin, elastic, job, "--replicas", "1")
    killed = service.router
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed), "the router is gone")
    at = step_of(service.predict_anew([[1, 1]]))
    wait_until(lambda: step_of(service.predict_anew([[1, 1]])) > at, "newer weights answer")
    assert service.router != killed


def test_a_roll_back_ends_following_and_push_begins_it_again_with_a_canary(elastic, train, begin):
    job = train(LONG)
    job.wait_step(2)
    service = follow(begin, elastic, job, "--replicas", "1")
    wait_until(lambda: service.status()["version"] >= 3, "weights have come twice")
    done = service.pliant("push", "model", "--rollback")
    assert done.returncode == 0, done.stderr
    status = service.status()
    assert status["following"] is None
    at = step_of(service.predict([[1, 1]]))
    done = service.pliant("push", "model", "--from-job", job.name, "--every", EVERY, "--canary", "50%")
    assert "answers 50% of the requests" in done.stderr, done.stderr
    trial = service.status()["canary"]["version"]
    wait_until(lambda: service.status()["canary"]["version"] > trial, "newer weights are on trial")
    wait_until(lambda: max(step_of(service.predict([[1, 1]])) for _ in range(4)) > at, "and answer")
    assert min(step_of(service.predict([[1, 1]])) for _ in range(4)) == at
    assert service.pliant("push", "model", "--promote").returncode == 0
    promoted = min(step_of(service.predict([[1, 1]])) for _ in range(4))
    assert promoted > at
    wait_until(lambda: service.status()["canary"] is not None, "following goes on")
    assert service.pliant("push", "model", "--rollback").returncode == 0
    assert {step_of(service.predict([[1, 1]])) for _ in range(4)} == {promoted}
    assert service.status()["following"] is None


def test_newer_weights_that_are_loaded_before_the_first_ones_make_the_service_ready(elastic, train, begin):
    """As happens on a busy machine."""
    job = train(LONG)
    job.wait_step(2)
    words = ("--from-job", job.name, "--every", str(EVERY))
    service = begin("SlowFirst", *words, home=elastic.home).wait_first_held()
    early = service.later([[1, 1]])
    service.wait_ready()
    assert step_of(early.result()) % EVERY == 0
    assert int(early.result().headers["x-pliant-version"]) > 1
    assert step_of(service.predict([[1, 1]])) % EVERY == 0
    assert service.end() == 0
    assert "model_failed" not in {event["kind"] for event in service.events}


def test_what_is_said_of_jobs_that_have_no_weights(elastic, train, begin):
    job = train(3)
    job.end()
    service = begin("Scaled", "--from-job", job.name, home=elastic.home)
    assert service.process.wait(60) != 0
    assert f"job {job.name} is finished: no more weights will come" in service.stderr
    service = begin("Scaled", "--from-job", "nobody", home=elastic.home)
    assert service.process.wait(60) != 0
    assert "there is no job named 'nobody'" in service.stderr
    done = service.pliant("serve", "x.py", "--every", "3", "--canary", "10%")
    assert done.returncode == 2
    assert "--every without a job to follow" in done.stderr
    assert "--canary without new weights" in done.stderr
