"""Many members: each says the same, and the whole of the job is not looked at for each of them."""

from __future__ import annotations

import pytest

from pliant.ids import Generation
from pliant.membership import events as ev
from pliant.membership.state import JobMembership

MEMBERS = 200


@pytest.fixture
def looked(monkeypatch):
    """How often everything was looked at."""
    looks = []
    decide = JobMembership._decide
    monkeypatch.setattr(JobMembership, "_decide", lambda self: looks.append(1) or decide(self))
    return looks


def hear(job, events):
    return [decision for event in events for decision in job.handle(event)]


def test_a_founding_and_a_death_look_at_everything_only_a_few_times(looked):
    job = JobMembership(start=MEMBERS, minimum=1)
    workers = [decision.worker for decision in job.begin()]
    hear(job, [ev.WorkerConnected(worker, "127.0.0.1", 1) for worker in workers])
    (form,) = hear(job, [ev.WorkerReadied(worker, MEMBERS) for worker in workers])
    assert form.to == tuple(workers)
    hear(job, [ev.WorkerEntered(worker, Generation(1)) for worker in workers])
    assert len(looked) <= 4

    looked.clear()
    others = workers[1:]
    (stop,) = hear(job, [ev.GenerationBroke(worker, Generation(1)) for worker in others])
    assert isinstance(stop, ev.InterruptGeneration)
    said = job.handle(ev.WorkerGone(workers[0]))
    said += hear(job, [ev.WorkerInterrupted(worker, Generation(1), True, Generation(1)) for worker in others])
    assert [type(each) for each in said] == [ev.StartWorkerProcess, ev.AnnounceGeneration]
    hear(job, [ev.WorkerEntered(worker, Generation(2)) for worker in others])
    assert job.members == tuple(others)
    assert len(looked) <= 5
