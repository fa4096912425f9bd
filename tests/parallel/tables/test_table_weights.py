"""Tables' rows count for the hash of the weights, in a checkpoint as in the model, and however they lie in memory."""

import pytest
import torch
from table_model import grads_for, ids_of

import pliant
from pliant.parallel.tables.embedding import Embedding
from pliant.transfer.checkpoint_manifest import check_checkpoint
from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint
from pliant.transfer.fingerprint import weights_sha256

OPTIMIZER = pliant.RowAdagrad(lr=0.1)
POSITION = dict.fromkeys(("step", "call", "step_of_call", "passes", "epoch", "samples"), 4) | {
    "loss": None,
    "ended": [],
}


class Net(torch.nn.Module):
    def __init__(self, pushes, **rules):
        super().__init__()
        torch.manual_seed(0)
        self.part = torch.nn.Sequential(Embedding("users", 3, optimizer=OPTIMIZER, **rules), torch.nn.Linear(3, 1))
        self.table = self.part[0]
        for step, ids in enumerate(pushes, start=1):
            self.table.store.push(ids_of(ids), grads_for(ids_of(ids), 3, 0), step=step)
            self.table.step = step + 1


def hash_of(*pushes, **rules):
    return weights_sha256({"model": Net(pushes, **rules)})


def test_every_row_counts_and_the_order_in_which_they_came_does_not():
    whole = hash_of(range(-50, 50))
    assert hash_of(range(20, 50), range(-50, 20)) == whole
    assert hash_of(range(-50, 49)) != whole
    assert hash_of(range(-50, 50), [7]) != whole
    assert hash_of() != whole


def test_the_optimizer_s_state_does_not_count():
    """As with dense parameters: it is no weight."""
    one, other = Net([range(5)]), Net([range(5)])
    other.table.store.install(0, one.table.store.snapshot(0) | {"state.sum": torch.ones(0, 3)})
    for slot in range(1, 64):
        value = one.table.store.snapshot(slot)
        other.table.store.install(slot, value | {"state.sum": value["state.sum"] + 1})
    assert weights_sha256({"model": other}) == weights_sha256({"model": one})


def test_what_has_expired_does_not_count_though_it_is_in_memory():
    forgotten, kept = Net([range(9), [3], [3], [3]], expire_after_steps=2), Net([range(9), [3], [3]])
    assert forgotten.table.store.rows == 9
    assert forgotten.table.get_extra_state()["ids"].tolist() == [3]
    assert sorted(kept.table.get_extra_state()["ids"].tolist()) == list(range(9))
    again = Net([], expire_after_steps=2)
    again.load_state_dict(forgotten.state_dict())
    assert again.table.store.rows == 1
    assert weights_sha256({"model": again}) == weights_sha256({"model": forgotten})


@pytest.mark.parametrize("pushes", [[], [range(-30, 30)], [range(9), [3], [3], [3]]])
def test_a_checkpoint_has_the_same_hash_and_knows_its_tables(tmp_path, pushes):
    model = Net(pushes, expire_after_steps=2)
    snapshot = take_snapshot({"model": model}, POSITION, job="clicks", staging=Staging())
    manifest = check_checkpoint(write_checkpoint(tmp_path, snapshot, keep=1)[0])
    assert manifest.weights_sha256 == weights_sha256({"model": model})
    assert list(manifest.tables) == ["users"]
    assert manifest.tables["users"].spec == model.table.spec
    shapes = {name: manifest.tensors[n].shape for name, n in manifest.tables["users"].columns.items()}
    state = model.table.get_extra_state()
    assert shapes == {name: list(tensor.shape) for name, tensor in state.items()}
