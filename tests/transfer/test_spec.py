import contextlib
import gc
import struct
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from enum import IntEnum

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.errors import ProtocolError, StateError
from pliant.transfer.spec import MAX_TENSOR_BYTES, VERSION, TensorSpec, decode, encode, tensor_specs


def over_the_wire(tensors):
    """What a receiver has: fresh memory with the same bytes."""
    return [tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors]


def trip(value):
    meta, tensors = encode(value, path="it")
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in tensors)
    assert tensor_specs(meta) == [TensorSpec(tensor.dtype, tuple(tensor.shape)) for tensor in tensors]
    return decode(meta, over_the_wire(tensors))


def same(one, other):
    """Equal in type and bits, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape and one.requires_grad == other.requires_grad
        return alike and bytes_of(one) == bytes_of(other)
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, dict):
        pairs = list(zip(one.items(), other.items(), strict=True))
        return all(same(k, m) and same(v, w) for (k, v), (m, w) in pairs)
    if isinstance(one, deque) and one.maxlen != other.maxlen:
        return False
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def bytes_of(tensor):
    flat = tensor.detach().resolve_conj().contiguous().reshape(-1)
    return (torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat).view(torch.uint8).numpy().tobytes()


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=())),
    st.binary(),
    st.sampled_from([torch.float32, torch.bfloat16, torch.Size([2, 3]), torch.device("cuda:1"), torch.device("cpu")]),
)
hashables = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(deque),
        st.lists(inner, max_size=4).map(lambda items: deque(items, maxlen=4)),
        st.dictionaries(hashables, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=4).map(OrderedDict),
        st.dictionaries(hashables, st.integers(), max_size=4).map(Counter),
        st.sets(hashables, max_size=4),
    ),
    max_leaves=20,
)


@given(values)
def test_plain_values_come_back_with_type_order_and_bits(value):
    assert same(trip(value), value)


@given(value=values)
def test_encoding_is_stable(value):
    assert encode(value).meta == encode(value).meta
    assert encode(trip(value)).meta == encode(value).meta


def test_numbers_at_the_edges():
    for number in [
        0,
        -1,
        (1 << 63) - 1,
        -(1 << 63),
        1 << 63,
        (1 << 64) - 1,
        1 << 64,
        -(1 << 63) - 1,
        3**2000,
        -(7**900),
    ]:
        assert same(trip(number), number)
    for number in [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 5e-324, 0.1]:
        assert same(trip(number), number)


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
    torch.bool, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_dtype_and_shape(dtype):
    raw = torch.randint(0, 2 if dtype is torch.bool else 256, (96,), dtype=torch.uint8)
    full = raw.view(torch.bool) if dtype is torch.bool else raw.view(dtype)
    for tensor in (full, full[0], full[:0], full[:6].reshape(3, 1, 2), full[::2], full[:6].reshape(2, 3).t()):
        assert same(trip(tensor), tensor)
        assert trip(tensor).shape == tensor.shape


def test_lazily_conjugated_and_expanded_tensors_are_made_real():
    tensor = torch.randn(3, dtype=torch.complex64).conj()
    assert torch.equal(trip(tensor), tensor.resolve_conj())
    expanded = torch.randn(1, 3).expand(4, 3)
    assert torch.equal(trip(expanded), expanded)


def test_parameters_stay_parameters_and_shared_ones_shared():
    shared = torch.nn.Parameter(torch.randn(2), requires_grad=False)
    lr = torch.tensor(0.1)
    array = np.arange(3)
    found = trip({"a": shared, "b": [shared], "groups": [{"lr": lr}, {"lr": lr}], "c": [array, array]})
    assert type(found["a"]) is torch.nn.Parameter
    assert not found["a"].requires_grad
    assert found["a"] is found["b"][0]
    assert found["groups"][0]["lr"] is found["groups"][1]["lr"]
    assert found["c"][0] is found["c"][1]
    assert len(encode([lr, lr, shared, shared, array, array]).tensors) == 3


ARRAYS = [
    np.arange(6, dtype=">i4").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([np.nan, -0.0, np.inf], dtype=np.float16),
    np.array(["ab", "c"]),
    np.array([b"ab", b""]),
    np.array(["2020-01-01"], dtype="M8[s]"),
    np.zeros((3, 0, 2)),
    np.array(5.0),
    np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", "<f8", (2,))]),
    np.float64(0.1), np.float32("nan"), np.int8(-3), np.bool_(True), np.str_("x"), np.str_(""), np.bytes_(b""),
    np.complex64(1 + 2j), np.datetime64("2020-01-01"), np.longdouble(1) / 3,
    np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")])[0],
]  # fmt: skip


@pytest.mark.parametrize("value", ARRAYS, ids=repr)
def test_numpy_values_come_back_bit_for_bit(value):
    found = trip({"x": [value]})["x"][0]
    assert same(found, value)
    if isinstance(found, np.ndarray):
        assert found.flags.writeable


def test_a_defaultdict_comes_back_as_a_dict():
    value = defaultdict(list, {1: [2]})
    assert same(trip(value), {1: [2]})


class Colour(IntEnum):
    RED = 1


class Own:
    pass


class OwnDict(dict):
    pass


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Own(), "Own"),
        (Colour.RED, "Colour"),
        (OwnDict(), "OwnDict"),
        (len, "builtin_function_or_method"),
        (lambda: 0, "function"),
        (np.array([object()]), "objects"),
        (np.ma.masked_array([1], [True]), "MaskedArray"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.empty(2, device="meta"), "meta"),
        (bytearray(b"x"), "bytearray"),
    ],
)
def test_what_cannot_travel_is_named_with_its_place(value, kind):
    with pytest.raises(StateError) as caught:
        encode({"state": {3: {"foo": value}}}, path="optimizer")
    assert "optimizer.state[3].foo is a" in str(caught.value)
    assert kind in str(caught.value)


def test_cycles_and_depth_are_refused():
    cycle = {"a": []}
    cycle["a"].append(cycle)
    with pytest.raises(StateError, match=r"it\.a\[0\] contains itself"):
        encode(cycle, path="it")
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(StateError, match="100 containers deep"):
        encode(deep)
    twice = [1]
    assert trip([twice, twice]) == [[1], [1]]
    ninety_nine = 5
    for _ in range(99):
        ninety_nine = [ninety_nine]
    assert trip(ninety_nine) == ninety_nine


def pack(*parts):
    return msgspec.msgpack.encode(list(parts))


MALFORMED = [
    b"",
    b"\xc1",
    b"\x91" * 100_000,
    msgspec.msgpack.encode({}),
    pack(),
    pack(VERSION, []),
    pack(VERSION + 1, [], None),
    pack(VERSION, [["float32", [-1]]], None),
    pack(VERSION, [["float32", [1.5]]], None),
    pack(VERSION, [["float32", [2] * 100]], None),
    pack(VERSION, [["nn", [1]]], None),
    pack(VERSION, [["load", [1]]], None),
    pack(VERSION, [[3, [1]]], None),
    pack(VERSION, 5, None),
    pack(VERSION, [["float32", [MAX_TENSOR_BYTES]]], None),
    pack(VERSION, [], {}),
    pack(VERSION, [], []),
    pack(VERSION, [], ["nothing"]),
    pack(VERSION, [], [["list"]]),
    pack(VERSION, [], ["dict", 1]),
    pack(VERSION, [], ["dict", ["list"], 1]),
    pack(VERSION, [], ["set", ["list"]]),
    pack(VERSION, [], ["counter", 1]),
    pack(VERSION, [], ["tensor", 0, "cpu"]),
    pack(VERSION, [], ["tensor", -1, "cpu"]),
    pack(VERSION, [], ["parameter", [], "cpu", True]),
    pack(VERSION, [], ["array", "<f8", [2], 0]),
    pack(VERSION, [], ["scalar", "O", b"12345678"]),
    pack(VERSION, [], ["scalar", "<f8", b"1234567"]),
    pack(VERSION, [], ["scalar", "V99999999999", b""]),
    pack(VERSION, [], ["scalar", ["list", 5], b""]),
    pack(VERSION, [], ["scalar", "f4,(2", b""]),
    pack(VERSION, [], ["dtype", "load"]),
    pack(VERSION, [], ["device", "moon:1"]),
    pack(VERSION, [], ["device", 0]),
    pack(VERSION, [], ["size", "x"]),
    pack(VERSION, [], ["deque", "x"]),
    pack(VERSION, [], ["int", "zz"]),
    pack(VERSION, [], ["int", 5]),
    pack(VERSION, [], ["str", b"\xff"]),
    pack(VERSION, [], ["complex", "1", 2]),
    pack(VERSION, [], msgspec.msgpack.Ext(3, b"x")),
]


@pytest.mark.parametrize("meta", MALFORMED)
def test_malformed_states_are_refused(meta):
    with pytest.raises(ProtocolError):
        decode(meta, [])


def test_tensors_that_were_not_announced_are_refused():
    meta, tensors = encode([torch.zeros(2)])
    for wrong in ([], [*tensors, *tensors], [torch.zeros(3)], [torch.zeros(2, dtype=torch.float64)]):
        with pytest.raises(ProtocolError, match="tensor"):
            decode(meta, wrong)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_decoded(meta):
    survive(meta, [])


trees = st.recursive(
    st.one_of(st.none(), st.integers(-3, 3), st.floats(), st.text(max_size=3), st.binary(max_size=8)),
    lambda inner: st.builds(
        lambda tag, rest: [tag, *rest],
        st.sampled_from(
            ["int", "str", "complex", "dtype", "device", "list", "tuple", "size", "dict", "odict", "counter", "set",
             "frozenset", "deque", "tensor", "parameter", "array", "scalar", "<f8", "float32", "cpu", "i4,i4"]
        ),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=400)
@given(trees)
def test_random_trees_of_known_tags_are_refused_or_decoded(tree):
    survive(
        pack(VERSION, [["uint8", [8]], ["float32", []]], tree), [torch.zeros(8, dtype=torch.uint8), torch.zeros(())]
    )


@settings(max_examples=300)
@given(value=values, data=st.data())
def test_damaged_states_are_refused_or_decoded(value, data):
    meta = bytearray(encode([value, torch.zeros(2), np.zeros(3), np.int16(3)]).meta)
    for _ in range(data.draw(st.integers(1, 3))):
        meta[data.draw(st.integers(0, len(meta) - 1))] = data.draw(st.integers(0, 255))
    survive(bytes(meta), [torch.zeros(2), torch.zeros(24, dtype=torch.uint8)])


def survive(meta, tensors):
    """Nothing but ProtocolError may come out."""
    with contextlib.suppress(ProtocolError):
        tensor_specs(meta)
        decode(meta, tensors)


def test_a_value_that_was_read_is_let_go_of_at_once():
    """Without waiting for Python to look for cycles: it may be as large as memory allows."""
    encoded = encode({"a": [torch.ones(3)], "b": (torch.zeros(2), np.arange(3))})
    gc.disable()
    try:
        tensors = [tensor.clone() for tensor in encoded.tensors]
        gone = [weakref.ref(tensor) for tensor in tensors]
        decode(encoded.meta, tensors)
        del tensors
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()
