import pytest
import torch
from data_samples import Noisy, lengths, stream

from pliant.data import Loader
from pliant.errors import ConfigError


def take(source, step, shard, epoch=0):
    batch = source.batch(epoch=epoch, step=step, shard=shard)
    return None if batch is None else [part.tolist() for part in batch.data]


def test_randomness_in_the_dataset_is_a_function_of_the_place():
    loader = Loader(Noisy(32), batch_size=8, shards=4, seed=1)
    source = loader.source()
    forward = {(s, v): take(source, s, v) for s in range(4) for v in range(4)}
    torch.manual_seed(5)
    other = loader.source()
    backward = {(s, v): take(other, s, v) for s in reversed(range(4)) for v in reversed(range(4))}
    assert forward == backward
    assert len({str(batch[1:]) for batch in forward.values()}) == 16
    reseeded = Loader(Noisy(32), batch_size=8, shards=4, seed=2).source()
    assert take(reseeded, 0, 0)[1] != forward[0, 0][1]


def test_more_of_a_map_style_dataset_is_arithmetic():
    source = Loader(Noisy(19), batch_size=8, shards=4).source()
    assert [source.more(epoch=0, step=1, shard=v) for v in range(4)] == [True, True, False, False]
    assert not source.more(epoch=0, step=2, shard=0)
    assert source.more(epoch=0, step=-1, shard=3)


@pytest.mark.parametrize("drop_last", [False, True])
def test_streams_end_each_at_its_own_step(drop_last):
    source = Loader(stream, batch_size=16, shards=4, drop_last=drop_last).source()
    for epoch in range(2):
        for shard in range(4):
            full, rest = divmod(lengths(shard), 4)
            steps = full + (rest > 0 and not drop_last)
            assert source.more(epoch=epoch, step=-1, shard=shard) == (steps > 0)
            for step in range(5):
                found = take(source, step, shard, epoch)
                numbers = range(step * 4, min(step * 4 + 4, lengths(shard)))
                expected = [shard * 1000 + epoch * 100 + n for n in numbers] if step < steps else None
                assert (found and found[0]) == expected
                assert source.more(epoch=epoch, step=step, shard=shard) == (step + 1 < steps)


def test_a_stream_that_moves_gives_the_same_bits():
    loader = Loader(stream, batch_size=16, shards=4, seed=4)
    staying = loader.source()
    places = [(0, 0), (0, 1), (0, 3), (1, 0), (1, 1), (1, 3), (2, 0), (2, 1)]
    expected = {place: take(staying, *place) for place in places}
    assert all(expected.values())
    for place in reversed(places):
        assert take(loader.source(), *place) == expected[place]


def test_a_stream_is_opened_once_and_continued():
    opened = []

    def counted(shard, shards, epoch, start):
        opened.append((shard, shards, epoch, start))
        return stream(shard, shards, epoch, start)

    source = Loader(counted, batch_size=16, shards=4).source()
    for step in range(4):
        for shard in (0, 3):
            take(source, step, shard)
            take(source, step, shard)  # a second pass over the same shard
            source.more(epoch=0, step=step, shard=shard)
    assert opened == [(0, 4, 0, 0), (3, 4, 0, 0)]
    take(source, 1, 1)
    assert opened[2:] == [(1, 4, 0, 4)]


def test_collating_a_stream_has_a_stream_of_its_own():
    loader = Loader(stream, batch_size=16, shards=4, collate_fn=lambda samples: torch.rand(3))
    source = loader.source()
    first = [source.batch(epoch=0, step=s, shard=0).data.tolist() for s in (0, 1, 2)]
    assert loader.source().batch(epoch=0, step=1, shard=0).data.tolist() == first[1]
    assert len({str(values) for values in first}) == 3


def test_a_stream_that_raises_is_not_taken_for_one_that_ended():
    broken = [True]

    def flaky(shard, shards, epoch, start):
        yield from range(start, 6)
        if broken:
            raise OSError("disk on fire")
        yield from range(6, 8)

    source = Loader(flaky, batch_size=4, shards=1).source()
    for _ in range(2):
        with pytest.raises(OSError, match="disk on fire"):
            source.batch(epoch=0, step=0, shard=0)
    broken.clear()
    assert source.batch(epoch=0, step=1, shard=0).data.tolist() == [4, 5, 6, 7]


def test_a_function_that_gives_no_iterator_is_named():
    source = Loader(lambda shard, shards, epoch, start: 5, batch_size=4, shards=1).source()
    with pytest.raises(ConfigError, match="returned a int for shard 0"):
        source.batch(epoch=0, step=0, shard=0)
