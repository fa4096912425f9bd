"""A newcomer's way to the place where the job is, with a crew that the test plays."""

import itertools

import pytest
from loops import Points, cross_entropy, loader, mlp

import pliant
from pliant.comm.mesh import MeshGroup
from pliant.errors import UsageError
from pliant.parallel.pass_messages import Flags
from pliant.training import crew as crew_module
from pliant.training.crew import SoloCrew
from pliant.training.session import JobStopped
from pliant.transfer.fingerprint import weights_sha256
from pliant.wire.messages import WorkerReady


class PlayedCrew(SoloCrew):
    """Knows of calls that have ended, and hands out the generations that the test gave it."""

    def __init__(self, *, ended=(), stateful=True):
        super().__init__()
        self.stateful = stateful
        self.ended = list(ended)
        self.told = []
        self.stop = False
        self.joins = []

    def ended_calls(self):
        return self.ended

    def tell(self, message):
        self.told.append(message)

    def flags(self, *, more, samples, pace):
        return Flags(more=more, samples=samples, pace=pace, stop=self.stop)

    def ready(self, shape):
        self.told.append(shape)

    def await_next(self):
        group = MeshGroup(1, 0, {})
        self._group = group
        return group, "founding"

    def enter(self, group):
        self.stateful = True

    def names_told(self):
        return [type(message).__name__ for message in self.told]


@pytest.fixture
def play(monkeypatch):
    jobs = []

    def start(crew, **tracked):
        monkeypatch.setattr(crew_module, "_ambient", lambda: crew)
        tracked = tracked or {"model": mlp()}
        job = pliant.join(**tracked)
        jobs.append(job)
        return job, next(iter(tracked.values()))

    yield start
    for job in jobs:
        job.close()


def train(job, model, data, **lengths):
    numbers = []
    for step in job.steps(data, **lengths):
        for batch in step:
            step.backward(cross_entropy(model)(batch))
        numbers.append((step.number, step.epoch))
    return numbers


def test_ended_calls_are_passed_in_no_time(play):
    job, model = play(PlayedCrew(ended=[("steps", 2), ("evaluate", {"loss": 0.25}), ("steps", 1)], stateful=False))
    data = loader()
    before = weights_sha256({"model": model})
    assert train(job, model, data, epochs=2) == []
    assert job.evaluate(data, lambda batch: 1 / 0) == {"loss": 0.25}
    assert train(job, model, data) == []
    assert weights_sha256({"model": model}) == before


def test_epochs_are_counted_for_each_loader_also_when_loaders_come_and_go(play):
    """Loaders that are gone must not leave their epochs to a new one at the same address."""
    calls = 40
    job, model = play(PlayedCrew(ended=[("steps", 1)] * calls, stateful=False))
    for _ in range(calls):
        assert train(job, model, loader()) == []
    assert [job._epochs.get(loader(), 0) for _ in range(10)] == [0] * 10


def test_a_worker_is_admitted_at_its_first_call_and_tells_its_shape(play):
    crew = PlayedCrew(stateful=False)
    job, model = play(crew)
    assert train(job, model, loader(), epochs=2) == [(i, i // 4) for i in range(8)]
    shape = next(message for message in crew.told if isinstance(message, WorkerReady))
    assert (shape.shards, shape.batch_size, shape.total_steps, shape.epochs) == (8, 16, 8, 2)
    assert crew.names_told()[:3] == ["WorkerProgress", "WorkerReady", "GenerationEntered"]
    assert crew.names_told()[-1] == "CallEnded"


def test_all_committed_steps_are_told_in_order(play):
    crew = PlayedCrew()
    job, model = play(crew)
    train(job, model, loader(), epochs=2)
    told = [message for message in crew.told if type(message).__name__ == "StepsCommitted"]
    assert told[0].first_step == 0
    for earlier, later in itertools.pairwise(told):
        assert later.first_step == earlier.first_step + len(earlier.losses)
    assert sum(len(message.losses) for message in told) == 8
    assert told[-1].samples == 128


def test_a_stop_takes_effect_at_the_next_boundary(play):
    crew = PlayedCrew()
    job, model = play(crew)
    with pytest.raises(JobStopped, match="0") as caught:  # noqa: PT012
        for step in job.steps(loader(), epochs=50):
            crew.stop = step.number == 2
            for batch in step:
                step.backward(cross_entropy(model)(batch))
    assert caught.value.reason == "the job was stopped"
    assert job.step == 3
    assert "CallEnded" not in crew.names_told()


def test_a_break_counts_what_was_committed_and_ends_the_call(play):
    crew = PlayedCrew()
    job, model = play(crew)
    data = loader()
    for step in job.steps(data, epochs=5):
        for batch in step:
            step.backward(cross_entropy(model)(batch))
        break
    assert job.step == 1
    assert crew.names_told()[-1] == "CallEnded"
    assert train(job, model, data, steps=1) == [(1, 1)]


def test_steps_and_epochs_limit_together(play):
    job, model = play(PlayedCrew())
    data = loader()
    assert len(train(job, model, data, epochs=2, steps=3)) == 3
    assert len(train(job, model, data, epochs=1, steps=30)) == 4


def test_an_empty_evaluation_is_refused(play):
    job, _ = play(PlayedCrew())

    def nothing(shard, shards, epoch, start):
        return iter(())

    with pytest.raises(UsageError, match="no sample"):
        job.evaluate(loader(nothing), lambda batch: 0.0)


def test_an_evaluation_of_a_dataset_smaller_than_its_shards(play):
    job, _ = play(PlayedCrew())
    data = Points(9)
    found = job.evaluate(loader(data, batch_size=8), lambda batch: batch[1].double().mean())
    assert found == pytest.approx(float(data.y.double().mean()))
