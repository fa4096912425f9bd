import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pliant.parallel.layout import ALIGN, Layout
from pliant.parallel.servers.pieces import UNIT, Piece, Range, SlotPart, SlotRanges
from pliant.wire.server_messages import SLOTS

DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.complex64]


def layout_of(*shapes_and_dtypes, bucket_bytes=8 << 20):
    named = [
        (f"p{index}", nn.Parameter(torch.empty(shape, dtype=dtype)))
        for index, (shape, dtype) in enumerate(shapes_and_dtypes)
    ]
    return Layout(named, bucket_bytes=bucket_bytes)


@st.composite
def layouts(draw):
    shape = st.lists(st.integers(0, 40), max_size=2)
    params = draw(st.lists(st.tuples(shape, st.sampled_from(DTYPES)), max_size=12))
    return layout_of(*params, bucket_bytes=draw(st.sampled_from([64, 1024, 1 << 20])))


@given(layouts())
def test_every_element_of_every_bucket_is_in_one_slot(layout):
    ranges = SlotRanges(layout)
    assert len(ranges.slots) == len(ranges.pieces) == SLOTS
    for bucket, spec in enumerate(layout.buckets):
        parts = ranges.buckets[bucket]
        edges = [0, *(part.stop for part in parts)]
        assert [part.start for part in parts] == edges[:-1]
        assert edges[-1] == spec.numel
        assert [part.slot for part in parts] == sorted({part.slot for part in parts})
        assert all(part.start * spec.dtype.itemsize % ALIGN == 0 and part.start < part.stop for part in parts)
        for part in parts:
            assert Range(bucket, part.start, part.stop) in ranges.slots[part.slot]
    assert sum(map(len, ranges.slots)) == sum(map(len, ranges.buckets))


@given(layouts())
def test_slots_are_of_almost_the_same_size_and_lie_in_order(layout):
    ranges = SlotRanges(layout)
    sizes = [
        sum(-(-(each.stop - each.start) * layout.buckets[each.bucket].dtype.itemsize // ALIGN) for each in mine)
        for mine in ranges.slots
    ]
    assert max(sizes) - min(sizes) <= 3
    assert sum(sizes) * ALIGN == sum(spec.size_bytes for spec in layout.buckets)
    assert (places := [(each.bucket, each.start) for mine in ranges.slots for each in mine]) == sorted(places)


@given(layouts())
def test_the_pieces_of_a_parameter_are_all_of_it_and_nothing_else(layout):
    ranges = SlotRanges(layout)
    for index, place in enumerate(layout.slots):
        pieces = ranges.params[index]
        edges = [0, *(piece.stop for piece in pieces)]
        assert [piece.start for piece in pieces] == edges[:-1]
        assert edges[-1] == place.numel
        for piece in pieces:
            assert (piece.param, piece.bucket, piece.offset) == (index, place.bucket, place.offset + piece.start)
            assert piece.start * layout.params[index].dtype.itemsize % UNIT == 0
            assert piece in ranges.pieces[piece.slot]
            around = [each for each in ranges.slots[piece.slot] if each.bucket == piece.bucket]
            assert len(around) == 1
            assert around[0].start <= piece.offset
            assert piece.offset + piece.stop - piece.start <= around[0].stop
    assert sum(map(len, ranges.pieces)) == sum(map(len, ranges.params))


@given(layouts())
def test_pieces_of_a_slot_lie_in_order(layout):
    for pieces in SlotRanges(layout).pieces:
        assert (places := [(piece.bucket, piece.offset) for piece in pieces]) == sorted(places)


@given(layouts())
def test_views_of_a_slot_are_the_memory_of_the_buckets(layout):
    ranges = SlotRanges(layout)
    flats = [torch.zeros(spec.numel, dtype=spec.dtype) for spec in layout.buckets]
    for slot in range(SLOTS):
        for view in ranges.cut(slot, flats):
            assert view.numel()
            view.add_(slot + 1)
    for bucket, parts in enumerate(ranges.buckets):
        for part in parts:
            assert bool((flats[bucket][part.start : part.stop] == part.slot + 1).all())


def test_the_cut_stays_the_same():
    """A checkpoint or a newcomer of another version would take other elements for a slot's."""
    layout = layout_of(((2050,), torch.float32), ((10, 115), torch.bfloat16), ((3,), torch.float32))
    ranges = SlotRanges(layout)
    assert ranges.buckets[0][:2] == [SlotPart(0, 0, 16), SlotPart(1, 16, 80)]
    assert ranges.slots[0] == [Range(0, 0, 16)]
    assert ranges.slots[50] == [Range(0, 2064, 2080), Range(1, 0, 64)]
    assert ranges.slots[63] == [Range(1, 1024, 1152)]
    assert ranges.pieces[0] == [Piece(0, 2, 0, 3, 0, 0)]
    assert ranges.pieces[1] == [Piece(1, 0, 0, 64, 0, 16)]
    assert ranges.pieces[63] == [Piece(63, 1, 1024, 1150, 1, 1024)]


@pytest.mark.parametrize("units", [1, 2, 5, 63, 64, 65])
def test_small_models_are_spread_evenly(units):
    held = [bool(mine) for mine in SlotRanges(layout_of(((32 * units,), torch.float32))).slots]
    assert sum(held) == min(units, SLOTS)
    gaps = [len(list(run)) for full, run in itertools.groupby(held) if not full]
    assert max(gaps, default=0) <= SLOTS // units


def test_a_model_without_parameters_has_empty_slots():
    ranges = SlotRanges(layout_of())
    assert ranges.slots == [[]] * SLOTS
    assert ranges.pieces == [[]] * SLOTS
