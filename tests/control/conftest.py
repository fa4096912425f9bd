import contextlib
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from control_fakes import DEADLINE_S, Play, wait_for

from pliant.config import Home
from pliant.control.journal import Journal
from pliant.control.replay import replay
from pliant.wire.http import Client, find_coordinator


@pytest.fixture(name="wait_for")
def wait_for_fixture():
    return wait_for


class RememberingJournal(Journal):
    """Knows the inputs of jobs that are over, too."""

    def __init__(self, path):
        self.inputs = {}
        super().__init__(path)

    def record(self, job, entry):
        self.inputs.setdefault(job, []).append(entry)
        super().record(job, entry)


@pytest.fixture
def journal(tmp_path):
    journal = RememberingJournal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def play(journal):
    """Makes a job; the arguments are those of its spec. At the end of the test its inputs are replayed."""
    scenes = []

    def make(**spec):
        scenes.append(Play(journal, **spec))
        return scenes[-1]

    yield make
    for scene in scenes:
        assert_replay_is_the_same(scene.job, journal)


def knowledge(job):
    """All that membership knows."""
    facts = dict(vars(job.membership))
    slots = {} if job.servers.slots is None else vars(job.servers.slots)
    return facts | {"_roster": list(facts["_roster"]), "slots": slots}


def assert_replay_is_the_same(job, journal):
    """Whoever handles a job's inputs again knows exactly what it knew."""
    again = replay(job.id, job.spec, journal.inputs[job.id])
    assert again.events() == job.events()
    assert knowledge(again) == knowledge(job)
    for record in (*job.processes(), *again.processes()):
        record.progress = None  # only for the status, and not journaled
    assert again.report() == job.report()
    if not job.over:
        assert again.status() == job.status()


@dataclass
class Running:
    """A coordinator process."""

    home: Home
    process: subprocess.Popen
    log: Path

    def client(self):
        return Client.of(self.home)

    @property
    def port(self):
        return find_coordinator(self.home).port

    def end(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def coordinators(directory):
    """Starts coordinators (of one home unless told otherwise) and ends what is left of them."""
    started = []

    def start(*options, home=None, wait=True):
        home = Home(home or directory / "home")
        log = directory / f"coordinator{len(started)}.log"
        command = [sys.executable, "-m", "pliant.control.coordinator", "--home", str(home.path), *options]
        with log.open("w") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        running = Running(home, process, log)
        started.append(running)
        if wait:
            wait_for(
                lambda: (found := find_coordinator(home)) is not None and found.pid == process.pid,
                f"the coordinator answers: {log.read_text()}",
            )
        return running

    try:
        yield start
    finally:
        for running in started:
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGTERM)
                try:
                    running.process.wait(DEADLINE_S)
                except subprocess.TimeoutExpired:
                    running.process.kill()
                    running.process.wait()
                    raise
    for running in started:
        assert "Traceback" not in running.log.read_text()


@pytest.fixture
def start_coordinator(tmp_path):
    with coordinators(tmp_path) as start:
        yield start


@pytest.fixture
def coordinator(start_coordinator):
    """One of the test's own."""
    return start_coordinator()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One for all tests of a file, which therefore use names of their own."""
    with coordinators(tmp_path_factory.mktemp("shared")) as start:
        yield start("--stay")
