"""The weights that the main worker writes for those who follow the job."""

import threading
from types import SimpleNamespace

import pytest
import torch
from loops import Points, cross_entropy, loader, mlp
from safetensors.torch import load_file

import pliant
from pliant.training import crew as crew_module
from pliant.training import publications as publications_module
from pliant.training.crew import SoloCrew
from pliant.training.position import Position
from pliant.training.publications import Publications
from pliant.transfer.checkpoint_manifest import check_checkpoint
from pliant.transfer.checkpoint_save import write_snapshot
from pliant.wire.messages import WeightsOrder, WeightsPublished


class FollowedCrew(SoloCrew):
    """One worker, whose coordinator opens an order before a step and ends it when it was fulfilled."""

    job_name = "play"

    def __init__(self, **orders):
        super().__init__()
        self.orders = []
        self.to_come = {int(step.removeprefix("at")): order for step, order in orders.items()}
        self.published = []
        self.job = None
        self.patient = True

    def tell(self, message):
        if isinstance(message, WeightsPublished):
            self.published.append(message)
            self.orders = [order for order in self.orders if order.directory != message.directory]

    def flags(self, **said):
        if self.patient:  # steps of this size are faster than a disk
            self.job._publications.close()
        self.orders = [*self.orders, *self.to_come.pop(self.job.step + 1, [])]
        return super().flags(**said)


def run(monkeypatch, crew, steps=12):
    """Returns the hash of the weights before each step."""
    monkeypatch.setattr(crew_module, "_ambient", lambda: crew)
    model = mlp(torch.nn.BatchNorm1d(16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    job = crew.job = pliant.join(model=model, ema=mlp(), optimizer=optimizer)
    hashes = [job.weights_sha256()]
    crew.orders = [*crew.orders, *crew.to_come.pop(0, [])]
    for step in job.steps(loader(Points(64)), steps=steps):
        for batch in step:
            step.backward(cross_entropy(model)(batch))
        optimizer.step()
        optimizer.zero_grad()
        hashes.append(job.weights_sha256())
    job.publish_last()
    job.close()
    return hashes, model


def test_the_first_multiple_from_after_on_and_the_end(monkeypatch, tmp_path):
    crew = FollowedCrew(at2=[WeightsOrder(str(tmp_path), every=4, after=5)])
    hashes, model = run(monkeypatch, crew)
    assert [message.step for message in crew.published] == [8, 12]
    for message in crew.published:
        manifest = check_checkpoint(tmp_path / f"step-{message.step:08d}")
        assert (manifest.step, manifest.job, sorted(manifest.models)) == (message.step, "play", ["ema", "model"])
        assert manifest.weights_sha256 == hashes[message.step]
        assert message.path == str(tmp_path / f"step-{message.step:08d}")
        assert message.size_bytes == sum(file.stat().st_size for file in (tmp_path / message.path).iterdir())
    last = load_file(tmp_path / "step-00000012" / "model.safetensors")
    assert all(torch.equal(tensor, last[name]) for name, tensor in model.state_dict().items())
    assert not any("exp_avg" in tensor.key for tensor in manifest.tensors)


def test_what_it_is_of_is_told(monkeypatch, tmp_path):
    crew = FollowedCrew(at2=[WeightsOrder(str(tmp_path), every=4, after=5)])
    run(monkeypatch, crew)
    assert [(message.step, message.every) for message in crew.published] == [(8, 4), (12, 0)]


def test_a_multiple_that_is_passed_between_two_boundaries_is_written_at_the_next(tmp_path):
    """Leased work goes on by several updates at once."""
    crew = FollowedCrew()
    crew.orders = [WeightsOrder(str(tmp_path), every=10, after=5)]
    position = Position()
    session = SimpleNamespace(crew=crew, position=position, is_main=True, tracked={"model": mlp()})
    publications = Publications(session)
    for step in (3, 8, 12, 14, 19, 23):
        position.step = step
        publications.at_boundary()
        publications.close()
        crew.orders = [WeightsOrder(str(tmp_path), every=10, after=5)]
    assert [message.step for message in crew.published] == [12, 23]


def test_the_bits_of_training_are_the_same(monkeypatch, tmp_path):
    followed = FollowedCrew(at0=[WeightsOrder(str(tmp_path), every=1)])
    assert run(monkeypatch, followed)[0] == run(monkeypatch, FollowedCrew())[0]
    assert [message.step for message in followed.published] == [0, 12]


def test_several_follow(monkeypatch, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    crew = FollowedCrew(at1=[WeightsOrder(str(first), 2), WeightsOrder(str(second), 3)])
    run(monkeypatch, crew, steps=5)
    assert sorted((message.directory, message.step) for message in crew.published) == [
        (str(first), 2), (str(first), 5), (str(second), 3), (str(second), 5),
    ]  # fmt: skip


def test_nobody_but_the_main_worker_writes(monkeypatch, tmp_path):
    monkeypatch.setattr("pliant.training.session.Session.is_main", False)
    crew = FollowedCrew(at0=[WeightsOrder(str(tmp_path), every=1)])
    run(monkeypatch, crew, steps=3)
    assert crew.published == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_gone_is_not_made_again(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    crew = FollowedCrew(at1=[WeightsOrder(str(gone), every=2)])
    run(monkeypatch, crew, steps=3)
    assert [message.step for message in crew.published] == [2, 3]
    assert all(
        "No such file" in message.error or "there is no directory" in message.error for message in crew.published
    )
    assert not gone.exists()


def test_while_one_is_written_training_goes_on_and_the_next_multiple_is_taken(monkeypatch, tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def write(directory, snapshot):
        begun.set()
        assert go_on.wait(20)
        return write_snapshot(directory, snapshot)

    class Crew(FollowedCrew):
        def flags(self, **said):
            if self.job.step == 3:
                assert begun.wait(20)
            if self.job.step == 7:
                go_on.set()
                self.job._publications.close()
            return super().flags(**said)

    monkeypatch.setattr(publications_module, "write_snapshot", write)
    other = tmp_path / "other"
    other.mkdir()
    crew = Crew(at1=[WeightsOrder(str(tmp_path), 2)], at3=[WeightsOrder(str(other), 2)])
    crew.patient = False
    run(monkeypatch, crew, steps=9)
    assert [(message.directory, message.step) for message in crew.published[:2]] == [
        (str(tmp_path), 2),
        (str(other), 8),
    ]


@pytest.mark.parametrize("error", [MemoryError("no memory"), RuntimeError("a module's own")])
def test_a_copy_that_fails_costs_the_weights_only(monkeypatch, tmp_path, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(publications_module, "take_snapshot", fail)
    crew = FollowedCrew(at0=[WeightsOrder(str(tmp_path), every=1)])
    hashes, _ = run(monkeypatch, crew, steps=2)
    assert len(hashes) == 3
    assert [message.error for message in crew.published] == [f"{type(error).__name__}: {error}"] * 2
