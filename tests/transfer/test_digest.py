"""Every bit counts, and nothing but bits, dtype and shape does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pliant.transfer.digest import COLUMNS, DIGEST_BYTES, digestible, tensor_digests

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8, torch.int64, torch.bool]
ROW = COLUMNS * 8
SIZES = [0, 1, 3, 7, 8, 100, ROW - 1, ROW, ROW + 1, 2 * ROW, 3 * ROW + 5, 4 * ROW + 8]


def one(tensor):
    (digest,) = tensor_digests([tensor])
    assert len(digest) == DIGEST_BYTES
    return digest


def some_bytes(size, seed=0):
    return torch.randint(0, 256, (size,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@given(size=st.sampled_from(SIZES[1:]), data=st.data())
def test_any_flipped_bit_changes_it(size, data):
    raw = some_bytes(size)
    before = one(raw)
    at = data.draw(st.integers(0, size - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    assert one(raw) != before


@given(size=st.sampled_from(SIZES[1:]), seeds=st.lists(st.integers(0, 1 << 30), min_size=2, max_size=2, unique=True))
def test_other_bytes_give_another_one(size, seeds):
    left, right = some_bytes(size, seeds[0]), some_bytes(size, seeds[1])
    assert torch.equal(left, right) == (one(left) == one(right))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0, 1, 4])
def test_where_the_memory_lies_does_not_matter(size, offset):
    base = some_bytes(size + offset)
    assert one(base[offset:]) == one(base[offset:].clone())


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype):
    tensor = some_bytes(9000).to(dtype)
    assert one(tensor) == one(tensor.clone())
    assert one(tensor) != one(tensor.flip(0))
    assert one(tensor.new_zeros(8)) != one(tensor.new_zeros(9))


def test_strides_do_not_matter_but_shape_and_dtype_do():
    tensor = torch.randn(40, 3, 9, 9)
    assert one(tensor) == one(tensor.to(memory_format=torch.channels_last))
    assert one(tensor.transpose(0, 1)) == one(tensor.transpose(0, 1).contiguous())
    assert one(torch.zeros(4, 6)) != one(torch.zeros(6, 4))
    assert one(torch.zeros(4)) != one(torch.zeros(4, dtype=torch.int32))
    assert one(torch.zeros(())) != one(torch.zeros(1))


def test_values_that_compare_equal_but_have_other_bits():
    assert one(torch.tensor([0.0])) != one(torch.tensor([-0.0]))
    nan = torch.tensor([float("nan")])
    other = (nan.view(torch.int32) ^ 1).view(torch.float32)
    assert one(nan) == one(nan.clone())
    assert one(nan) != one(other)


def test_rows_that_change_places():
    rows = torch.randn(2 * ROW, 64)
    swapped = rows.clone()
    swapped[[0, 509]] = rows[[509, 0]]
    swapped[[1, 2]] = rows[[2, 1]]
    assert one(rows) != one(swapped)


def test_complex_and_conjugated():
    tensor = torch.randn(5000, dtype=torch.complex64)
    assert one(tensor.conj()) == one(tensor.conj().resolve_conj())
    assert one(tensor.conj()) != one(tensor)


def test_parameters_and_what_has_no_memory_of_its_own():
    assert one(torch.nn.Parameter(torch.ones(3))) == one(torch.ones(3))
    assert not digestible(torch.ones(3).to_sparse())
    assert not digestible(torch.ones(3, device="meta"))
    assert not digestible(torch.nn.parameter.UninitializedParameter())
    assert digestible(torch.ones(3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("size", SIZES)
def test_the_same_on_every_device(size):
    raw = some_bytes(size)
    both = [raw, torch.randn(3000, 7)]
    assert tensor_digests(both) == tensor_digests([tensor.cuda() for tensor in both])
