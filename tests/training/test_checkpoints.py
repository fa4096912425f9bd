"""When checkpoints are written, what happens if one cannot be, and a job that begins from one."""

import json
import threading

import msgspec
import pytest
import torch
from loops import Points, cross_entropy, loader, mlp

import pliant
from pliant.comm.mesh import MeshGroup
from pliant.errors import StateError
from pliant.training import checkpoints as checkpoints_module
from pliant.training import crew as crew_module
from pliant.training.crew import SoloCrew
from pliant.training.session import JobStopped
from pliant.transfer.checkpoint_manifest import check_checkpoint, complete_checkpoints
from pliant.transfer.checkpoint_save import write_checkpoint
from pliant.wire.messages import CheckpointFailed, CheckpointSkipped, CheckpointWritten, JobRules


class DiskCrew(SoloCrew):
    """One worker that writes checkpoints, and may begin from one."""

    job_name = "play"
    patient = True

    def __init__(self, directory, *, every=0, keep=3, restore="", ended=()):
        super().__init__()
        self.rules = JobRules(checkpoints=str(directory), checkpoint_every=every, keep=keep)
        self.restore = str(restore)
        self.stateful = not restore
        self.ended = list(ended)
        self.told = []
        self.stop_before = None
        self.job = None

    def tell(self, message):
        self.told.append(message)

    def of(self, kind):
        return [message for message in self.told if isinstance(message, kind)]

    def ended_calls(self):
        return self.ended

    def flags(self, **said):
        if self.patient:  # steps of this size are faster than a disk
            self.job._checkpoints.close()
        stop = self.stop_before is not None and self.job.step + 1 >= self.stop_before
        return msgspec.structs.replace(super().flags(**said), stop=stop)

    def await_next(self):
        self._group = MeshGroup(5, 0, {})
        return self._group, "founding"

    def enter(self, group):
        self.stateful = True


def run(monkeypatch, crew, *, model=None):
    """A script with several calls, two loaders, epochs that go on over calls; returns model, steps done, results."""
    monkeypatch.setattr(crew_module, "_ambient", lambda: crew)
    model = model or mlp(torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    job = crew.job = pliant.join(model=model, optimizer=optimizer)
    first, second = loader(Points(64)), loader(Points(40), seed=9, shards=4)
    done, results = [], []

    def train(data, **length):
        for step in job.steps(data, **length):
            for batch in step:
                step.backward(cross_entropy(model)(batch))
            optimizer.step()
            optimizer.zero_grad()
            done.append((step.number, step.epoch, job.weights_sha256()))

    try:
        train(first, epochs=2)
        results.append(job.evaluate(second, cross_entropy(model)))
        train(second, steps=5)
        train(first, steps=6)
        results.append(job.evaluate(first, cross_entropy(model)))
    except JobStopped:
        pass
    finally:
        job.close()
    return job.weights_sha256(), done, results


@pytest.fixture(scope="module")
def whole():
    """The undisturbed run."""
    with pytest.MonkeyPatch.context() as patch:
        return run(patch, SoloCrewWithJob())


@pytest.fixture(scope="module")
def each(tmp_path_factory):
    """A directory with a checkpoint before every step."""
    directory = tmp_path_factory.mktemp("each")
    with pytest.MonkeyPatch.context() as patch:
        run(patch, DiskCrew(directory, every=1, keep=99))
    return directory


class SoloCrewWithJob(SoloCrew):
    job = None


def calls_of(path):
    return [(call.kind, json.loads(bytes(call.result))) for call in check_checkpoint(path).calls]


def test_written_when_due_and_only_the_newest_kept(monkeypatch, tmp_path, whole):
    crew = DiskCrew(tmp_path, every=3, keep=2)
    assert run(monkeypatch, crew) == whole
    written = crew.of(CheckpointWritten)
    assert [message.step for message in written] == [3, 6, 9, 12, 15, 18]
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step-00000018", "step-00000015"]
    assert written[-1].path == str(tmp_path / "step-00000018")
    assert written[-1].size_bytes == sum(file.stat().st_size for file in (tmp_path / "step-00000018").iterdir())
    manifest = check_checkpoint(tmp_path / "step-00000018")
    assert manifest.weights_sha256 == whole[1][17][2]
    assert (manifest.job, manifest.step, manifest.samples > 0) == ("play", 18, True)


@pytest.mark.parametrize("step", [3, 8, 9, 11, 13, 15, 18, 19])
def test_a_run_that_begins_from_any_of_them_ends_with_the_same_bits(monkeypatch, tmp_path, whole, each, step):
    path = each / f"step-{step:08d}"
    crew = DiskCrew(tmp_path, restore=path, ended=calls_of(path))
    weights, done, results = run(monkeypatch, crew, model=mlp(torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.2)))
    assert (weights, done, results) == (whole[0], whole[1][step:], whole[2])


def test_the_checkpoint_that_it_began_from_is_not_written_again(monkeypatch, tmp_path, each):
    path = each / "step-00000012"
    crew = DiskCrew(tmp_path, every=6, restore=path, ended=calls_of(path))
    run(monkeypatch, crew)
    assert [message.step for message in crew.of(CheckpointWritten)] == [18]


def test_a_stop_writes_one_and_the_rest_follows_from_it(monkeypatch, tmp_path, whole):
    crew = DiskCrew(tmp_path)
    crew.stop_before = 10
    _, done, _ = run(monkeypatch, crew)
    assert len(done) == 10
    (path,) = complete_checkpoints(tmp_path)
    assert path.name == "step-00000010"
    assert [message.step for message in crew.of(CheckpointWritten)] == [10]
    again = DiskCrew(tmp_path, restore=path, ended=calls_of(path))
    assert run(monkeypatch, again) == (whole[0], whole[1][10:], whole[2])


def test_a_model_of_another_shape_is_refused_with_the_checkpoint_s_name(monkeypatch, tmp_path, each):
    path = each / "step-00000006"
    crew = DiskCrew(tmp_path, restore=path, ended=calls_of(path))
    with pytest.raises(StateError, match=r"step-00000006 does not fit this script"):
        run(monkeypatch, crew, model=mlp(torch.nn.Linear(16, 16)))


def test_a_directory_that_cannot_be_made_costs_checkpoints_only(monkeypatch, tmp_path, whole, capfd):
    (tmp_path / "file").touch()
    crew = DiskCrew(tmp_path / "file" / "checkpoints", every=8)
    assert run(monkeypatch, crew) == whole
    assert crew.of(CheckpointFailed) == [
        CheckpointFailed(step=8, error="Not a directory"),
        CheckpointFailed(step=16, error="Not a directory"),
    ]
    assert "the checkpoint before step 8 could not be written" in capfd.readouterr().err


def test_one_that_is_due_while_another_is_written_is_skipped(monkeypatch, tmp_path, whole):
    begun, go_on = threading.Event(), threading.Event()

    def write(directory, snapshot, *, keep):
        begun.set()
        assert snapshot.step == 16 or go_on.wait(20)
        return write_checkpoint(directory, snapshot, keep=keep)

    class Crew(DiskCrew):
        patient = False

        def flags(self, **said):
            if self.job.step == 4:
                assert begun.wait(20)
            if self.job.step == 15:  # by now several were due
                go_on.set()
                self.job._checkpoints.close()
            return super().flags(**said)

    monkeypatch.setattr(checkpoints_module, "write_checkpoint", write)
    crew = Crew(tmp_path, every=4)
    assert run(monkeypatch, crew) == whole
    assert [message.step for message in crew.of(CheckpointWritten)] == [4, 16]
    assert crew.of(CheckpointSkipped) == [CheckpointSkipped(step=8, writing=4)]
    # What was written late is the state of then.
    assert check_checkpoint(tmp_path / "step-00000004").weights_sha256 == whole[1][3][2]
