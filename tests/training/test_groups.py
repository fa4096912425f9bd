"""The worker's side of generations, with real listeners: two workers, and whoever the test plays."""

import threading
from concurrent.futures import Future

import pytest

from pliant.comm.link import LinkWatch
from pliant.comm.listener import MeshListener
from pliant.errors import ConnectionLostError, GenerationOverError
from pliant.testing.waiting import wait_until
from pliant.training.groups import Groups
from pliant.training.session import JobStopped
from pliant.wire.messages import FormGeneration, GenerationFailed, Interrupted, Member

DEADLINE_S = 20.0


class Worker:
    def __init__(self, name, *, patience_s=DEADLINE_S):
        self.listener = MeshListener(job="demo", worker=name, key=b"key")
        self.sent = []
        self.heard = threading.Condition()
        self.groups = Groups(self.listener, patience_s=patience_s, send=self.send)

    @property
    def place(self):
        return self.listener.worker, self.listener.port

    def send(self, message):
        with self.heard:
            self.sent.append(message)
            self.heard.notify_all()

    def wait_sent(self, count):
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.sent) >= count, DEADLINE_S)
        return self.sent

    def close(self):
        self.groups.close()
        self.listener.close()


@pytest.fixture
def workers():
    made = [Worker("w1"), Worker("w2")]
    yield made
    for each in made:
        each.close()


def command(generation, kind, *workers):
    members = [
        Member(worker=name, rank=rank, host="127.0.0.1", port=port)
        for rank, (name, port) in enumerate(each.place if isinstance(each, Worker) else each for each in workers)
    ]
    return FormGeneration(generation=generation, kind=kind, members=members)


def start(function):
    future = Future()

    def run():
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def found_together(workers, generation=1, kind="founding"):
    """Both enter a generation; their groups."""
    for worker in workers:
        worker.groups.on_form(command(generation, kind, *workers))
    moved = [start(worker.groups.await_next) for worker in workers]
    groups = [future.result(DEADLINE_S)[0] for future in moved]
    for worker, group in zip(workers, groups, strict=True):
        worker.groups.enter(group)
    return groups


def wait_prepared(worker, generation):
    groups = worker.groups
    with groups._changed:
        assert groups._changed.wait_for(
            lambda: groups._planned is not None and groups._planned.group is not None, DEADLINE_S
        )
    assert groups.prepared() == generation


ABSENT = ("w9", 1)


def test_a_founding_generation_makes_its_members_stateful(workers):
    assert [worker.groups.stateful for worker in workers] == [False, False]
    assert workers[0].groups.usable() is None
    groups = found_together(workers)
    assert [worker.groups.usable() for worker in workers] == groups
    assert [(w.groups.stateful, w.groups.generation, w.groups.entered) for w in workers] == [(True, 1, 1)] * 2
    assert [member.worker for member in workers[0].groups.members] == ["w1", "w2"]


def test_a_planned_generation_stands_in_the_background_until_the_switch(workers):
    first, second = workers
    found_together(workers)
    old = first.groups.usable()
    assert first.groups.prepared() == 0
    for worker in workers:
        worker.groups.on_form(command(2, "planned", second, first))
    for worker in workers:
        wait_prepared(worker, 2)
    assert first.groups.usable() is old
    new = first.groups.switch(2)
    assert (new.rank, new.generation) == (1, 2)
    assert first.groups.usable() is new
    assert first.groups.prepared() == 0
    assert first.sent == []


def test_a_member_that_is_left_out_is_prepared_at_once_and_switches_to_nothing(workers):
    found_together(workers)
    leaving = workers[0]
    leaving.groups.on_form(command(2, "planned", workers[1]))
    assert leaving.groups.prepared() == 2
    assert leaving.groups.switch(2) is None
    assert leaving.groups.usable() is None
    assert leaving.groups.stateful


def test_an_interrupt_ends_the_group_and_is_answered_at_once(workers):
    groups = found_together(workers)
    driving = start(lambda: groups[0].exchange(b""))
    workers[0].groups.on_interrupt(1)
    assert isinstance(driving.exception(DEADLINE_S), GenerationOverError)
    assert workers[0].sent == [Interrupted(generation=1, stateful=True, entered=1)]
    assert workers[0].groups.usable() is None
    with pytest.raises(GenerationOverError):
        workers[0].groups.enter(groups[0])


def test_an_interrupt_before_the_first_exchange_leaves_a_worker_without_state(workers):
    for worker in workers:
        worker.groups.on_form(command(1, "founding", *workers))
    group, kind = start(workers[0].groups.await_next).result(DEADLINE_S)
    assert kind == "founding"
    workers[0].groups.on_interrupt(1)
    with pytest.raises(GenerationOverError, match="generation 1 was interrupted"):
        workers[0].groups.enter(group)
    assert workers[0].sent == [Interrupted(generation=1, stateful=False, entered=0)]
    assert not workers[0].groups.stateful


def test_an_interrupt_that_overtakes_its_generation_wins(workers):
    workers[0].groups.on_interrupt(4)
    workers[0].groups.on_form(command(4, "founding", *workers))
    workers[0].groups.on_form(command(3, "founding", *workers))
    assert workers[0].groups._next is None, "a generation that was interrupted is being formed"
    waiting = start(workers[0].groups.await_next)
    for worker in workers:
        worker.groups.on_form(command(5, "recovery", *workers))
    group, kind = waiting.result(DEADLINE_S)
    assert (group.generation, kind) == (5, "recovery")


def test_an_interrupt_ends_a_planned_group_that_stands(workers):
    found_together(workers)
    for worker in workers:
        worker.groups.on_form(command(2, "planned", *workers))
    wait_prepared(workers[0], 2)
    standing = workers[0].groups._planned.group
    workers[0].groups.on_interrupt(2)
    assert standing.aborted
    assert workers[0].groups.prepared() == 0
    with pytest.raises(GenerationOverError, match="generation 2 was interrupted before the switch"):
        workers[0].groups.switch(2)


def test_an_interrupt_of_an_older_generation_leaves_the_newer_one(workers):
    found_together(workers, generation=3)
    group = workers[0].groups.usable()
    workers[0].groups.on_interrupt(2)
    assert workers[0].groups.usable() is group
    assert workers[0].sent == [Interrupted(generation=2, stateful=True, entered=3)]


def test_switching_to_another_generation_than_the_planned_one_is_refused(workers):
    found_together(workers)
    with pytest.raises(GenerationOverError):
        workers[0].groups.switch(2)


def test_a_recovery_follows_an_interrupt(workers):
    found_together(workers)
    for worker in workers:
        worker.groups.on_interrupt(1)
    waiting = [start(worker.groups.await_next) for worker in workers]
    for worker in workers:
        worker.groups.on_form(command(2, "recovery", *workers))
    groups = [future.result(DEADLINE_S)[0] for future in waiting]
    assert [group.generation for group in groups] == [2, 2]
    answers = [start(lambda g=g: g.exchange(b"x")) for g in groups]
    assert all(answer.result(DEADLINE_S) == [b"x", b"x"] for answer in answers)


def test_a_planned_group_that_cannot_form_is_reported_as_unused(workers):
    found_together(workers)
    workers[0].groups.set_patience(0.05)
    workers[0].groups.on_form(command(2, "planned", workers[0], ABSENT))
    (report,) = workers[0].wait_sent(1)
    assert isinstance(report, GenerationFailed)
    assert (report.generation, report.unused) == (2, True)
    assert "w9 did not connect" in report.reason
    assert workers[0].groups.prepared() == 0
    assert workers[0].groups.usable() is not None, "training goes on in the old one"


def test_a_founding_group_that_cannot_form_is_reported(workers):
    workers[0].groups.set_patience(0.05)
    workers[0].groups.on_form(command(1, "founding", workers[0], ABSENT))
    (report,) = workers[0].wait_sent(1)
    assert (report.generation, report.unused) == (1, False)


def test_an_interrupted_formation_reports_nothing(workers):
    workers[0].groups.on_form(command(1, "founding", workers[0], ABSENT))
    workers[0].groups.on_interrupt(1)
    for thread in threading.enumerate():
        if thread.name == "pliant-form-1":
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
    assert workers[0].sent == [Interrupted(generation=1, stateful=False, entered=0)]


def test_a_lost_peer_is_reported_once_and_not_when_it_is_known(workers):
    groups = found_together(workers)
    workers[0].groups.broke(groups[0], ConnectionLostError("rank 1 closed the connection"))
    workers[0].groups.broke(groups[0], ConnectionLostError("again"))
    assert workers[0].sent == [GenerationFailed(generation=1, reason="rank 1 closed the connection")]
    assert workers[0].groups.usable() is None
    workers[1].groups.on_interrupt(1)
    workers[1].groups.broke(groups[1], GenerationOverError("generation 1 is over"))
    assert workers[1].sent == [Interrupted(generation=1, stateful=True, entered=1)]


def test_a_lost_peer_is_named(workers):
    groups = found_together(workers)
    waiting = start(lambda: groups[0].exchange(b""))
    workers[1].listener.close()
    groups[1].abort()
    error = waiting.exception(DEADLINE_S)
    assert isinstance(error, ConnectionLostError)
    workers[0].groups.broke(groups[0], error)
    (said,) = workers[0].sent
    assert (said.generation, said.peer, said.closed) == (1, "w2", True)
    assert "w2 (rank 1)" in said.reason


def test_an_interrupt_is_answered_with_who_does_not_answer(workers, monkeypatch):
    monkeypatch.setattr(LinkWatch, "is_dead", lambda self, state, *, now_s: True)
    groups = found_together(workers)
    error = start(lambda: groups[0].exchange(b"")).exception(DEADLINE_S)
    assert isinstance(error, ConnectionLostError)
    assert not error.closed
    workers[0].groups.on_interrupt(1)
    assert workers[0].sent == [Interrupted(generation=1, stateful=True, entered=1, missing=["w2"])]


def test_an_interrupt_is_answered_with_who_has_not_come_for_long_but_not_for_short(workers):
    first, second = workers
    first.groups.on_form(command(1, "founding", first, ABSENT))
    first.groups.on_interrupt(1)
    assert first.sent == [Interrupted(generation=1, stateful=False, entered=0)]
    began = second.groups
    began.on_form(command(1, "founding", second, ABSENT))
    began._next.began_s -= began.timeouts.form_s / 2
    began.on_interrupt(1)
    assert second.sent == [Interrupted(generation=1, stateful=False, entered=0, missing=["w9"])]


def test_a_newer_announcement_takes_the_place_of_one_that_forms(workers):
    found_together(workers)
    workers[0].groups.on_form(command(2, "planned", workers[0], ABSENT))
    for worker in workers:
        worker.groups.on_form(command(3, "planned", *workers))
    wait_prepared(workers[0], 3)
    workers[0].groups.on_form(command(3, "planned", *workers))  # said again after a reconnect
    assert workers[0].groups.prepared() == 3
    assert workers[0].sent == []


def test_a_group_that_forms_while_the_worker_closes_is_closed(workers, monkeypatch):
    first, formed, gate = workers[0], [], threading.Event()
    form = first.listener.form

    def slowly(*arguments, **options):
        formed.append(form(*arguments, **options))
        assert gate.wait(DEADLINE_S)
        return formed[0]

    monkeypatch.setattr(first.listener, "form", slowly)
    for worker in workers:
        worker.groups.on_form(command(1, "founding", *workers))
    wait_until(lambda: formed, "the group has formed, and nobody knows of it")
    first.groups.close()
    assert not formed[0].aborted
    gate.set()
    wait_until(lambda: formed[0]._closed, "its sockets are closed")


def test_waiting_ends_when_no_generation_will_come(workers):
    waiting = start(workers[0].groups.await_next)
    workers[0].groups.end(JobStopped("not needed"))
    error = waiting.exception(DEADLINE_S)
    assert isinstance(error, JobStopped)
    assert error.reason == "not needed"
    with pytest.raises(JobStopped):
        workers[0].groups.usable()


def test_the_end_aborts_the_group_in_use(workers):
    groups = found_together(workers)
    driving = start(lambda: groups[0].exchange(b""))
    workers[0].groups.end(JobStopped("over"))
    assert isinstance(driving.exception(DEADLINE_S), GenerationOverError)
