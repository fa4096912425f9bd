import pytest
import torch
from data_samples import Plain, stream
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from pliant.data import Loader
from pliant.errors import ConfigError


def problems(dataset, **options):
    with pytest.raises(ConfigError) as caught:
        Loader(dataset, **{"batch_size": 8, "shards": 4, **options})
    return caught.value.problems


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(10))


class NoLength:
    def __getitem__(self, index):
        return index


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"batch_size": 250, "shards": 8}, ["250", "8 shards", "248 or 256", "10 shards"]),
        ({"batch_size": 3, "shards": 8}, ["3", "8 shards", "use batch_size 8"]),
        ({"batch_size": 0}, ["batch_size is 0", "at least 1"]),
        ({"batch_size": -8}, ["batch_size is -8", "at least 1"]),
        ({"batch_size": 8.0}, ["batch_size is 8.0", "whole number"]),
        ({"batch_size": True}, ["batch_size is True", "whole number"]),
        ({"shards": 0}, ["shards is 0", "at least 1"]),
        ({"seed": "x"}, ["seed is 'x'", "whole number"]),
        ({"num_workers": -1}, ["num_workers is -1", "at least 0"]),
        ({"num_workers": None}, ["num_workers is None"]),
        ({"prefetch_factor": 0}, ["prefetch_factor is 0", "at least 1"]),
        ({"collate_fn": 3}, ["collate_fn is 3", "function"]),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_the_way_out(options, parts):
    (problem,) = problems(Plain(1000), **options)
    assert all(part in problem for part in parts), problem


@pytest.mark.parametrize(
    ("dataset", "parts"),
    [
        (Plain(0), ["empty", "batch_size = 8"]),
        ([], ["empty"]),
        (Plain(7), ["7 samples", "batch of 8", "use batch_size 4 or less"]),
        (Plain(3), ["3 samples", "batch of 8"]),
        (Endless(), ["IterableDataset", "(shard, shards, epoch, start)", "islice"]),
        (DataLoader(Plain(9)), ["DataLoader", "loader.dataset"]),
        (NoLength(), ["NoLength", "__len__"]),
        (iter(range(9)), ["only once", "(shard, shards, epoch, start)"]),
        (object(), ["object", "__len__ and __getitem__"]),
        (lambda shard: [], ["cannot be called with (shard, shards, epoch, start)"]),
        (5, ["int", "__len__"]),
    ],
)
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_dataset_that_cannot_work_is_refused(dataset, parts, drop_last):
    (problem,) = problems(dataset, drop_last=drop_last)
    assert all(part in problem for part in parts), problem


def test_all_problems_come_at_once():
    found = problems(Plain(0), batch_size=10, shards=4, num_workers=-2, seed=None, prefetch_factor="2")
    assert len(found) == 5


def test_attributes_say_what_the_job_needs():
    loader = Loader(Plain(100), batch_size=16, shards=4, seed=3)
    assert (loader.batch_size, loader.shards, loader.seed, loader.samples_per_shard) == (16, 4, 3, 4)
    assert loader.steps_per_epoch == 7
    assert Loader(Plain(100), batch_size=16, shards=4, drop_last=True).steps_per_epoch == 6
    assert Loader(stream, batch_size=16, shards=4).steps_per_epoch is None


def all_batches(loader, epoch=0):
    source = loader.source()
    steps = loader.steps_per_epoch
    found = [[source.batch(epoch=epoch, step=s, shard=v) for v in range(loader.shards)] for s in range(steps)]
    source.close()
    return found


def test_an_epoch_gives_every_sample_once_and_weights_say_how_many():
    loader = Loader(Plain(19), batch_size=8, shards=4)
    batches = all_batches(loader)
    assert sorted(i for step in batches for b in step if b for i in b.data[1].tolist()) == list(range(19))
    assert [[b and b.samples for b in step] for step in batches] == [[2, 2, 2, 2]] * 2 + [[2, 1, None, None]]
    assert all_batches(loader, epoch=1)[0][0].data[1].tolist() != batches[0][0].data[1].tolist()
    plain = all_batches(Loader(Plain(19), batch_size=8, shards=4, shuffle=False))
    assert plain[1][3].data[1].tolist() == [14, 15]


def test_the_shard_count_of_the_same_batch_only_cuts_it():
    two = all_batches(Loader(Plain(64), batch_size=8, shards=2, seed=5))
    four = all_batches(Loader(Plain(64), batch_size=8, shards=4, seed=5))
    for one, other in zip(two, four, strict=True):
        assert torch.cat([b.data[1] for b in one]).tolist() == torch.cat([b.data[1] for b in other]).tolist()


def test_nested_batches_and_a_custom_collate():
    data = [{"x": (torch.ones(2) * i, {"y": i}), "name": str(i)} for i in range(8)]
    (step,) = all_batches(Loader(data, batch_size=8, shards=2, shuffle=False))
    assert step[1].data["x"][0].shape == (4, 2)
    assert step[1].data["x"][1]["y"].tolist() == [4, 5, 6, 7]
    assert step[1].data["name"] == ["4", "5", "6", "7"]
    (step,) = all_batches(Loader(data, batch_size=8, shards=2, shuffle=False, collate_fn=len))
    assert step[0].data == 4


def test_many_samples_are_fetched_in_one_call_where_the_dataset_can():
    calls = []

    class Bulk(Plain):
        def __getitems__(self, indices):
            calls.append(indices)
            return [self[i] for i in indices]

    all_batches(Loader(Bulk(8), batch_size=4, shards=2, shuffle=False))
    assert calls == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert all(type(i) is int for call in calls for i in call)
    all_batches(Loader(Subset(TensorDataset(torch.arange(9)), range(1, 9)), batch_size=4, shards=2))
