"""``pliant.Embedding`` in one process: it learns as torch's own does, and its state travels in ``state_dict``."""

import pytest
import torch
from torch import nn

import pliant
from pliant.data.loader import Loader
from pliant.errors import ConfigError, UsageError
from pliant.parallel.tables.embedding import Embedding, tables_in


@pytest.fixture
def table():
    return Embedding("ids", 3, optimizer=pliant.RowAdagrad(lr=0.1), seed=5)


class Scores(nn.Module):
    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding
        self.out = nn.Linear(3, 1)

    def forward(self, ids):
        return self.out(self.embedding(ids)).squeeze(-1)


def train(module, optimizers, steps=20):
    torch.manual_seed(1)
    ids = torch.arange(64)
    data = torch.utils.data.TensorDataset(ids % 7, (ids % 3).float())
    job = pliant.join(model=module, **optimizers)
    for step in job.steps(Loader(data, batch_size=64, shards=4, seed=0), steps=steps):
        for x, y in step:
            step.backward((module(x) - y).square().mean())
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
    job.close()
    return step.loss


def test_rows_learn_as_those_of_torch_do(table):
    """All rows are in every batch, so that torch's dense Adagrad does the same."""
    first = table.store.pull(torch.arange(7), step=1)
    twin = nn.Embedding(7, 3)
    with torch.no_grad():
        twin.weight.copy_(first)
    torch.manual_seed(2)
    ours = Scores(table)
    torch.manual_seed(2)
    theirs = Scores(twin)
    theirs.out.load_state_dict(ours.out.state_dict())
    loss = train(ours, {"dense": torch.optim.SGD(ours.out.parameters(), lr=0.1)})
    dense, rows = torch.optim.SGD(theirs.out.parameters(), lr=0.1), torch.optim.Adagrad(twin.parameters(), lr=0.1)
    assert train(theirs, {"dense": dense, "rows": rows}) == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(table.store.pull(torch.arange(7), step=21), twin.weight.detach())
    assert table.store.rows == 7


def test_the_number_of_shards_on_a_worker_changes_nothing_but_the_tree(table):
    module = Scores(table)
    train(module, {"dense": torch.optim.SGD(module.out.parameters(), lr=0.1)}, steps=5)
    assert table.take_gradients().ids.numel() == 0


def test_state_dict_has_the_rows_and_takes_them_back(table):
    module = Scores(table)
    train(module, {"dense": torch.optim.SGD(module.out.parameters(), lr=0.1)}, steps=3)
    state = module.state_dict()
    other = Scores(Embedding("ids", 3, optimizer=pliant.RowAdagrad(lr=0.1), seed=5))
    other.load_state_dict(state)
    assert other.embedding.store.rows == 7
    for key, value in table.get_extra_state().items():
        assert torch.equal(other.embedding.get_extra_state()[key], value)


def test_looking_up_makes_no_rows(table):
    with torch.no_grad():
        assert table(torch.tensor([[1, -(1 << 63)]])).shape == (1, 2, 3)
    table.eval()
    table(torch.tensor([5]))
    assert table.store.rows == 0
    assert table.take_gradients().ids.numel() == 0


def test_bags(table):
    table.eval()
    ids, starts = torch.tensor([3, 4, 3]), torch.tensor([0, 2, 2])
    rows = table(ids)
    assert torch.equal(table(ids, starts)[0], rows[0] + rows[1])
    assert torch.equal(table(ids, starts, mode="mean")[1], torch.zeros(3))
    assert torch.equal(table(ids, starts, mode="max")[2], rows[2])
    with pytest.raises(UsageError, match="mode='mean' wants offsets"):
        table(ids, mode="mean")


def test_a_table_that_nobody_tracks_cannot_be_trained(table):
    with pytest.raises(UsageError, match="table ids is looked up for training, but belongs to no job"):
        table(torch.tensor([1]))


def test_names_are_unique(table):
    module = Scores(table)
    other = Embedding("other", 2, optimizer=pliant.RowSGD(lr=1.0))
    assert set(tables_in([module, other])) == {"ids", "other"}
    again = Embedding("ids", 2, optimizer=pliant.RowSGD(lr=1.0))
    with pytest.raises(ConfigError, match="two tables are called 'ids'"):
        tables_in([module, again])


def test_impossible_values_are_all_named():
    with pytest.raises(ConfigError) as caught:
        Embedding("x", 0, optimizer=pliant.RowSGD(lr=-1.0), min_count=0)
    assert len(caught.value.problems) == 3
