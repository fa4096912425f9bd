import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parallel_helpers import Parts
from torch import nn

from pliant.parallel.layout import ALIGN, Layout, as_bytes, in_use, slice_bounds

DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.complex64]


def named(*params):
    return [(f"p{index}", param) for index, param in enumerate(params)]


@st.composite
def layouts(draw):
    shapes = draw(st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=12))
    params = [nn.Parameter(torch.zeros(shape, dtype=draw(st.sampled_from(DTYPES)))) for shape in shapes]
    return Layout(named(*params), bucket_bytes=draw(st.sampled_from([64, 256, 1 << 20])))


@given(layouts())
def test_parameters_are_aligned_and_do_not_overlap(layout):
    assert sorted(index for spec in layout.buckets for index in spec.params) == list(range(len(layout.params)))
    for number, spec in enumerate(layout.buckets):
        reached = 0
        for index in spec.params:
            slot = layout.slots[index]
            assert slot.bucket == number
            assert slot.offset * spec.dtype.itemsize % ALIGN == 0
            assert slot.offset >= reached
            reached = slot.offset + slot.numel
            assert layout.params[index].dtype == spec.dtype
        assert reached <= spec.numel
        assert spec.size_bytes == spec.numel * spec.dtype.itemsize


@given(layouts())
def test_every_view_reads_back_what_was_written_and_nothing_else(layout):
    flats = layout.new_flats()
    for index, param in enumerate(layout.params):
        layout.view(flats, index).copy_(torch.full(param.shape, float(index + 1)))
    for index, param in enumerate(layout.params):
        view = layout.view(flats, index)
        assert view.shape == param.shape
        assert bool((view == index + 1).all())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(4, 3, 5, 5).to(memory_format=torch.channels_last),
        torch.zeros(2, 3, 4, 5, 5).to(memory_format=torch.channels_last_3d),
        torch.zeros(6, 5).t(),
        torch.zeros(()),
        torch.zeros(0, 7),
    ],
)
def test_dense_parameters_keep_their_strides(tensor):
    param = nn.Parameter(tensor)
    layout = Layout(named(nn.Parameter(torch.zeros(3)), param))
    view = layout.view(layout.new_flats(), 1)
    assert view.shape == param.shape
    assert view.numel() == 0 or view.stride() == param.stride()
    assert view.data_ptr() % ALIGN == 0


def test_parameters_with_gaps_in_memory_lie_contiguous():
    param = nn.Parameter(torch.zeros(4, 6)[:, ::2])
    view = Layout(named(param)).view(Layout(named(param)).new_flats(), 0)
    assert view.is_contiguous()
    assert view.shape == param.shape


def test_buckets_fill_from_the_last_parameter_on_and_close_when_full():
    layout = Layout(named(*(nn.Parameter(torch.zeros(16)) for _ in range(5))), bucket_bytes=128)
    assert [spec.params for spec in layout.buckets] == [(4, 3), (2, 1), (0,)]


def test_the_fingerprint_tells_names_shapes_and_dtypes_apart():
    base = [("a", nn.Parameter(torch.zeros(2, 3)))]
    others = [
        [("b", nn.Parameter(torch.zeros(2, 3)))],
        [("a", nn.Parameter(torch.zeros(3, 2)))],
        [("a", nn.Parameter(torch.zeros(2, 3, dtype=torch.bfloat16)))],
        [],
    ]
    assert Layout(base).fingerprint == Layout([("a", nn.Parameter(torch.ones(2, 3)))]).fingerprint
    assert len({Layout(each).fingerprint for each in [base, *others]}) == 5


def test_a_layout_matches_its_own_parameters_only():
    model = Parts()
    params = list(model.parameters())
    layout = Layout(list(model.named_parameters()))
    assert layout.matches(params)
    assert not layout.matches(params[:-1])
    assert not layout.matches(list(reversed(params)))
    assert not layout.matches(list(Parts().parameters()))


@pytest.mark.parametrize("size", range(1, 17))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.complex128])
def test_slices_cover_a_bucket_exactly(size, dtype):
    for numel in (0, 1, 15, 16, 17, 100, 1024, 1025, 12345):
        bounds = [slice_bounds(numel, dtype, rank, size) for rank in range(size)]
        assert bounds[0][0] == 0
        assert bounds[-1][1] == numel
        assert all(left[1] == right[0] for left, right in itertools.pairwise(bounds))
        assert all(start <= stop for start, stop in bounds)
        assert all(start * dtype.itemsize % ALIGN == 0 or start == numel for start, _ in bounds)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool, torch.int64, torch.float16])
def test_bytes_are_the_tensors_own_memory(dtype):
    flat = torch.zeros(8, dtype=dtype)
    view = as_bytes(flat)
    assert len(view) == 8 * dtype.itemsize
    view[:] = bytes([1] * len(view))
    assert bool((flat != 0).all())
    assert len(as_bytes(torch.zeros(0, dtype=dtype))) == 0


def test_memory_is_in_use_as_long_as_anybody_shares_it():
    flat = torch.zeros(8)
    assert not in_use(flat)
    view = flat[2:4]
    assert in_use(flat)
    deeper = view.detach().numpy()
    del view
    assert in_use(flat)
    del deeper
    assert not in_use(flat)
