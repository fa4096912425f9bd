"""Tables that lie in a checkpoint: they are not read before somebody wants them, and then a slot at a time."""

import msgspec
import pytest
import torch
from table_model import raw_all

import pliant
from pliant.errors import CheckpointError, ProtocolError, StateError
from pliant.transfer.capture import capture, restore
from pliant.transfer.checkpoint_load import load_checkpoint
from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint
from pliant.transfer.spec import encode
from pliant.transfer.stored_rows import StoredRows
from pliant.wire.server_messages import SLOTS

POSITION = dict.fromkeys(("step", "call", "step_of_call", "passes", "epoch", "samples"), 4) | {
    "loss": None,
    "ended": [],
}


class Elsewhere:
    """Servers that have nothing yet."""

    step = 5
    among_workers = False

    def state(self, table):
        return None

    def row_digests(self, table):
        return None


def net(dim=3):
    torch.manual_seed(1)
    users = pliant.Embedding("users", dim, optimizer=pliant.RowAdagrad(lr=0.1), min_count=2)
    return torch.nn.Sequential(torch.nn.Linear(3, 3), users)


@pytest.fixture
def trained():
    found = net()
    for step in (1, 2):
        found[1].store.push(torch.arange(-40, 40 * step), torch.randn(40 + 40 * step, 3), step=step)
    return found


@pytest.fixture
def tracked(tmp_path, trained):
    """What a checkpoint of it has."""
    snapshot = take_snapshot({"net": trained}, POSITION, job="clicks", staging=Staging())
    return load_checkpoint(write_checkpoint(tmp_path / "checkpoints", snapshot, keep=1)[0])["tracked"]


def served(model):
    model[1].source = Elsewhere()
    return model


def test_a_worker_holds_where_the_rows_are_and_cuts_them_from_there(tracked, trained):
    model = served(net())
    restore({"net": model}, tracked)
    assert model[1].store.rows == 0
    for slot in range(SLOTS):
        assert raw_all(model[1].slot(slot)) == raw_all(trained[1].store.snapshot(slot))
    assert model[1].row_digests() == trained[1].row_digests()
    assert model[1].store.rows == 0


def test_other_workers_are_sent_where_they_are_and_nothing_else(tracked, trained):
    model = served(net())
    restore({"net": model}, tracked)
    model[1].source.among_workers = True
    sent = encode(capture({"net": model}))
    assert sum(tensor.numel() for tensor in sent.tensors) == 12
    other = served(net())
    restore({"net": other}, capture({"net": model}))
    assert other[1].row_digests() == trained[1].row_digests()


def test_whoever_else_asks_gets_the_rows(tracked, trained):
    model = served(net())
    restore({"net": model}, tracked)
    found = model[1].get_extra_state()
    assert raw_all(found) == raw_all(trained[1].get_extra_state())
    before = model[1].row_digests()
    found["rows"].zero_()
    again = served(net())
    restore({"net": again}, tracked)
    assert again[1].row_digests() == before, "the checkpoint has changed"


def test_forgotten_is_forgotten(tracked):
    model = served(net())
    restore({"net": model}, tracked)
    model[1].slot(0)
    model[1].forget()
    assert len(model[1].get_extra_state()["ids"]) == 0


def test_without_servers_the_rows_are_read(tracked, trained):
    model = net()
    restore({"net": model}, tracked)
    assert model[1].store.rows == trained[1].store.rows == 80
    assert model[1].row_digests() == trained[1].row_digests()


def test_another_table_is_refused_before_anything_is_read(tracked, tmp_path):
    for path in tmp_path.glob("checkpoints/*/*"):
        path.unlink()
    with pytest.raises(StateError, match=r"rows of a snapshot is torch.float32 \(80, 3\), expected .* \(80, 4\)"):
        restore({"net": served(net(dim=4))}, tracked)


def test_a_checkpoint_that_this_machine_does_not_see_is_named(tracked, tmp_path):
    model = served(net())
    restore({"net": model}, tracked)
    for path in tmp_path.glob("checkpoints/*/*"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"checkpoints/step-.* has to be one that all machines see"):
        model[1].slot(0)


_SENSELESS = [{"ids": 3}, {"ids": ["a", "b", "c", "d"]}, {"ids": ["a", "b", "c"]}, 0]


@pytest.mark.parametrize("change", [{"in_checkpoint": 3}, *({"columns": each} for each in _SENSELESS)])
def test_what_makes_no_sense_is_refused(tracked, change):
    plain = tracked["net"]["extra"]["1"]
    assert StoredRows.from_plain(plain).plain() == plain
    assert StoredRows.from_plain(msgspec.msgpack.decode(msgspec.msgpack.encode(plain))).plain() == plain
    assert StoredRows.from_plain({"ids": torch.empty(0)}) is None
    with pytest.raises(ProtocolError, match="makes no sense"):
        StoredRows.from_plain(plain | change)
