"""Parameters that come slot by slot are put where they belong, whatever they look like in memory."""

from functools import partial

import pytest
import torch
from server_cluster import Cluster

from pliant.errors import UsageError
from pliant.parallel.layout import Layout, as_bytes
from pliant.parallel.servers.frames import FrameReader
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.targets import FlatTarget, ParameterTarget, in_place
from pliant.wire.server_messages import SLOTS


def params():
    torch.manual_seed(3)
    made = {
        "plain": torch.randn(70, 50),
        "number": torch.randn(()),
        "nothing": torch.empty(0, 4),
        "turned": torch.randn(40, 30).t(),
        "last": torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last),
        "half": torch.randn(333).to(torch.bfloat16),
        "part of another": torch.randn(5, 1000)[2],
    }
    return [(name, torch.nn.Parameter(tensor)) for name, tensor in made.items()]


def frames_of(parts):
    return [memoryview(bytearray(as_bytes(part))) for part in parts]


@pytest.mark.parametrize("bucket_bytes", [1 << 10, 1 << 23])
def test_what_one_side_has_is_what_the_other_gets(bucket_bytes):
    theirs, mine = Layout(params(), bucket_bytes=bucket_bytes), Layout(params(), bucket_bytes=bucket_bytes)
    ranges = SlotRanges(theirs)
    for param in mine.params:
        param.data.zero_()
    assert all(in_place(param) for param in mine.params)
    source, target = ParameterTarget(theirs, ranges), ParameterTarget(mine, ranges)
    flat = FlatTarget(ranges, theirs.new_flats())
    for slot in reversed(range(SLOTS)):
        frames = frames_of(source.cut(slot))
        target.read(slot, FrameReader(frames), keep=True)
        flat.read(slot, FrameReader(frames), keep=True)
    for index, (one, other) in enumerate(zip(theirs.params, mine.params, strict=True)):
        assert torch.equal(one, other)
        assert torch.equal(theirs.view(flat.flats, index), one)
        assert other.stride() == one.stride()
    for slot in range(SLOTS):
        assert frames_of(target.cut(slot)) == frames_of(source.cut(slot)) == frames_of(flat.cut(slot))


def test_what_is_not_wanted_is_passed_over():
    theirs, mine = Layout(params()), Layout(params())
    ranges = SlotRanges(theirs)
    before = [param.detach().clone() for param in mine.params]
    for param in theirs.params:
        param.data.zero_()
    reader = FrameReader(
        [frame for slot in range(SLOTS) for frame in frames_of(ParameterTarget(theirs, ranges).cut(slot))]
    )
    for slot in range(SLOTS):
        ParameterTarget(mine, ranges).read(slot, reader, keep=slot == 63)
    assert not list(reader.rest())
    untouched = {piece.param for piece in ranges.pieces[63]} ^ set(range(len(before)))
    assert len(untouched) < len(before)
    assert all(torch.equal(mine.params[index], before[index]) for index in untouched)


def test_a_parameter_with_gaps_cannot_be_written_in_parts():
    assert not in_place(torch.nn.Parameter(torch.randn(6, 6)[:, :3]))
    assert in_place(torch.nn.Parameter(torch.randn(6, 6).t()))


@pytest.fixture
def cluster():
    found = Cluster(seed=3, make_optimizer=partial(torch.optim.AdamW, lr=0.01), servers=2, workers=1)
    found.train(2)
    return found


def test_a_parameter_that_the_script_has_changed_is_named(cluster):
    layout = cluster.workers[0].served.layout
    with torch.no_grad():
        layout.params[1].view(-1)[0] += 1
    with pytest.raises(UsageError, match=f"has changed parameter {layout.names[1]} itself"):
        cluster.train(1)


def test_one_that_is_as_it_was_again_is_not(cluster):
    """Averaged weights are swapped in for an evaluation, and out again."""
    with torch.no_grad():
        for param in cluster.workers[0].served.layout.params:
            kept = param.clone()
            param.zero_()
            param.copy_(kept)
    cluster.train(1)
