import torch
from parallel_helpers import raw
from torch import nn

from pliant.comm.tree import fold
from pliant.parallel import buffers as buffers_module
from pliant.parallel.buffers import BufferTracker, combine


def holder(**values):
    model = nn.Module()
    for name, value in values.items():
        model.register_buffer(name, value)
    return model


def commit(tracker, shards, factor):
    """The end of a pass on one worker."""
    for index in tracker.changed():
        tracker.apply(index, fold(tracker.partial(index, shards), shards, combine), factor)


def test_floating_point_buffers_take_the_weighted_mean_of_the_changes():
    model = holder(mean=torch.tensor([10.0, 20.0]))
    tracker = BufferTracker({"m": model})
    tracker.begin()
    for shard, (change, weight) in enumerate([(1.0, 1.0), (4.0, 0.5)]):
        assert model.mean.tolist() == [10.0, 20.0], "every shard starts from the common values"
        model.mean += change
        tracker.take(shard, weight)
    commit(tracker, 2, 1 / 1.5)
    assert torch.allclose(model.mean, torch.tensor([12.0, 22.0]))


def test_counters_and_flags_take_the_largest():
    model = holder(count=torch.tensor(7), flag=torch.tensor([False, False]))
    tracker = BufferTracker({"m": model})
    tracker.begin()
    for shard in range(3):
        model.count += shard
        if shard == 1:
            model.flag[1] = True
        tracker.take(shard, 1.0)
    commit(tracker, 3, 1 / 3)
    assert model.count.item() == 9
    assert model.flag.tolist() == [False, True]


def test_batch_norm_which_counts_no_version_is_noticed():
    model = nn.BatchNorm1d(3)
    tracker = BufferTracker({"m": model})
    tracker.begin()
    model(torch.randn(8, 3))
    tracker.take(0, 1.0)
    assert sorted(tracker.names[index] for index in tracker.changed()) == [
        "m.num_batches_tracked",
        "m.running_mean",
        "m.running_var",
    ]
    assert model.running_mean.tolist() == [0.0] * 3
    commit(tracker, 1, 1.0)
    assert model.running_mean.abs().sum() > 0
    assert model.num_batches_tracked.item() == 1


def test_unchanged_buffers_are_left_alone_bit_for_bit():
    values = torch.tensor([float("inf"), float("-inf"), -0.0, 0.0, 1e-45])
    model = holder(mask=values.clone(), other=torch.zeros(2))
    tracker = BufferTracker({"m": model})
    mask = model.mask
    tracker.begin()
    model.other += 1
    tracker.take(0, 1.0)
    commit(tracker, 1, 1.0)
    assert [tracker.names[index] for index in tracker.changed()] == ["m.other"]
    assert model.mask is mask
    assert raw(model.mask) == raw(values)


def test_a_constant_buffer_with_nan_is_left_alone_bit_for_bit():
    values = torch.tensor([float("nan"), -0.0, 1.0])
    model = holder(table=values.clone())
    tracker = BufferTracker({"m": model})
    tracker.begin()
    tracker.take(0, 1.0)
    assert tracker.changed() == []
    commit(tracker, 1, 1.0)
    assert raw(model.table) == raw(values)


def test_elements_that_did_not_change_stay_infinite_in_a_buffer_that_did():
    model = holder(mixed=torch.tensor([float("inf"), 1.0]))
    tracker = BufferTracker({"m": model})
    tracker.begin()
    model.mixed[1] = 3.0
    tracker.take(0, 1.0)
    commit(tracker, 1, 1.0)
    assert model.mixed.tolist() == [float("inf"), 3.0]


def test_a_replaced_buffer_comes_back_as_the_object_it_was():
    model = holder(average=torch.zeros(2))
    tracker = BufferTracker({"m": model})
    original = model.average
    tracker.begin()
    model.average = model.average + 2.0
    tracker.take(0, 1.0)
    assert model.average is original
    commit(tracker, 1, 1.0)
    assert model.average is original
    assert original.tolist() == [2.0, 2.0]


def test_a_buffer_that_hangs_on_a_graph_is_detached():
    model = holder(average=torch.zeros(2))
    model.weight = nn.Parameter(torch.ones(2))
    tracker = BufferTracker({"m": model})
    tracker.begin()
    model.average = model.average + model.weight
    tracker.take(0, 1.0)
    commit(tracker, 1, 1.0)
    assert model.average.tolist() == [1.0, 1.0]
    assert not model.average.requires_grad


def test_buffers_that_come_or_change_their_shape_are_forgotten_after_the_shard():
    model = holder(cache=None, grown=torch.zeros(2))
    tracker = BufferTracker({"m": model})
    tracker.begin()
    model.cache = torch.ones(3)
    model.grown = torch.ones(5)
    tracker.take(0, 1.0)
    assert model.cache is None
    assert model.grown.tolist() == [0.0, 0.0]
    assert tracker.changed() == []


def test_what_the_script_changes_between_steps_is_the_new_start():
    model = holder(average=torch.zeros(2))
    tracker = BufferTracker({"m": model})
    tracker.begin()
    tracker.take(0, 1.0)
    model.average.fill_(5.0)
    tracker.begin()
    model.average += 1.0
    tracker.take(0, 1.0)
    assert model.average.tolist() == [5.0, 5.0]


def test_rewind_undoes_a_shard():
    model = nn.BatchNorm1d(2)
    tracker = BufferTracker({"m": model})
    tracker.begin()
    model(torch.randn(4, 2))
    tracker.rewind()
    assert model.running_mean.tolist() == [0.0, 0.0]
    assert tracker.changed() == []


def test_large_buffers_are_not_compared_but_versions_count(monkeypatch):
    monkeypatch.setattr(buffers_module, "COMPARE_NUMEL", 4)
    model = holder(table=torch.zeros(5))
    tracker = BufferTracker({"m": model})
    tracker.begin()
    tracker.take(0, 1.0)
    assert tracker.changed() == []
    model.table[2] = 1.0
    tracker.take(1, 1.0)
    assert tracker.changed() == [0]


def test_one_tensor_under_two_names_keeps_its_change():
    model = nn.Module()
    model.first, model.second = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    model.second.running_mean = model.first.running_mean
    for tracked in ({"m": model}, {"m": model, "part": model.first}):
        tracker = BufferTracker(tracked)
        tracker.begin()
        model.first.running_mean += 3.0
        tracker.take(0, 1.0)
        commit(tracker, 1, 1.0)
        assert model.second.running_mean.tolist() == [3.0, 3.0]
        model.first.running_mean.zero_()


def test_shards_that_left_a_buffer_alone_count_as_no_change():
    model = holder(average=torch.tensor([4.0]), count=torch.tensor(3))
    tracker = BufferTracker({"m": model})
    tracker.begin()
    tracker.take(0, 1.0)
    model.average += 2.0
    model.count += 1
    tracker.take(1, 1.0)
    tracker.take(2, 1.0)
    commit(tracker, 3, 0.5)
    assert model.average.tolist() == [5.0]
    assert model.count.item() == 4
