"""A worker that cannot go on without the coordinator's word waits for it, and not for ever."""

from types import SimpleNamespace

import pytest

from pliant.timeouts import Timeouts
from pliant.training import elastic
from pliant.training.session import JobStopped


class Waiting:
    """The part of a crew that asks, with a clock and a connection that the test sets."""

    def __init__(self, monkeypatch, patience_s):
        self.now_s = 1000.0
        monkeypatch.setattr(elastic.time, "monotonic", lambda: self.now_s)
        self.crew = elastic.ElasticCrew.__new__(elastic.ElasticCrew)
        self.crew._looked_s = self.crew._alone_since_s = self.now_s
        self.crew._socket = SimpleNamespace(connected=True)
        self.crew.groups = SimpleNamespace(timeouts=Timeouts(patience_s))

    def wait(self, seconds):
        """As ``Groups`` does: a look every second."""
        for _ in range(seconds):
            self.now_s += 1.0
            self.crew._check_alive()


def test_it_gives_up_after_six_times_the_patience_without_the_coordinator(monkeypatch):
    waiting = Waiting(monkeypatch, 10.0)
    waiting.wait(5)
    waiting.crew._socket.connected = False
    waiting.wait(59)
    with pytest.raises(JobStopped) as stopped:
        waiting.wait(2)
    assert stopped.value.reason.startswith("no coordinator for 61 s")


def test_it_waits_as_long_as_the_coordinator_is_there(monkeypatch):
    Waiting(monkeypatch, 1.0).wait(1000)


def test_how_long_it_trained_without_looking_does_not_count(monkeypatch):
    """An hour of training, then a death while the coordinator is away for some seconds: no reason to give up."""
    waiting = Waiting(monkeypatch, 10.0)
    waiting.now_s += 3600.0
    waiting.crew._socket.connected = False
    waiting.wait(50)
    waiting.crew._socket.connected = True
    waiting.wait(5)
    waiting.crew._socket.connected = False
    waiting.wait(50)
