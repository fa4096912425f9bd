"""The parser under thousands of bad bodies: what is wrong is told, nothing else is raised, and nothing grows."""

import re
import tracemalloc

import pytest
from fuzz_bodies import MISTAKES, MOST_ROWS, THREE, damaged, huge_shape, messages, mistaken, strings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pliant.serving.protocol import plain, v2
from pliant.serving.protocol.request import BadRequestError, checked
from pliant.wire.replica_messages import FrameReader, RunBatch, ToReplica, encode
from pliant.wire.tensors import Signature

MOST_MESSAGE = 2000
many = settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def taken(body, header_bytes, signature=THREE):
    """The request; None if it was refused, with a message that can be sent."""
    try:
        return checked(v2.parse(body, header_bytes=header_bytes), signature, most_rows=MOST_ROWS)
    except BadRequestError as error:
        assert_is_told(error)
        return None


def assert_is_told(error):
    assert error.status in (400, 413)
    assert 10 < len(str(error)) < MOST_MESSAGE
    str(error).encode()


def assert_can_be_computed(request):
    """It comes through the frame that goes to a replica, and its bytes are as many as it says."""
    heads = tuple(tensor.head for tensor in request.inputs)
    parts = [tensor.data for tensor in request.inputs]
    reader = FrameReader(ToReplica)
    ((head, payload),) = reader.feed(b"".join(encode(RunBatch(1, request.rows, heads), parts)))
    assert head.inputs == heads
    assert len(payload) == sum(each.size_bytes for each in heads)
    assert {each.shape[0] for each in heads} == {request.rows}


@many
@given(messages())
def test_right_ones_are_taken(message):
    body, length = message.encoded()
    request = taken(body, length)
    assert request is not None
    assert [bytes(tensor.data) for tensor in request.inputs] == [message.tails[name] for name in "abc"]
    assert_can_be_computed(request)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
@settings(many, max_examples=100)
@given(data=st.data())
def test_each_mistake_is_told(mistake, data):
    body, length, told = data.draw(mistaken((mistake,)))
    with pytest.raises(BadRequestError) as caught:
        checked(v2.parse(body, header_bytes=length), THREE, most_rows=MOST_ROWS)
    assert re.search(told, str(caught.value)), str(caught.value)
    assert_is_told(caught.value)


@many
@given(damaged())
def test_damaged_ones_are_taken_or_told(message):
    for signature in (THREE, Signature()):
        request = taken(*message, signature)
        if request is not None:
            assert_can_be_computed(request)


@many
@given(st.binary(max_size=300), st.none() | st.integers(-3, 310))
def test_any_bytes_are_told(body, length):
    assert taken(body, length) is None


@settings(many, max_examples=200)
@given(mistaken((huge_shape, strings)))
def test_what_is_told_about_size_takes_no_memory(message):
    body, length, _ = message
    tracemalloc.start()
    try:
        taken(body, length)
        taken(body, length, Signature())
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 50 * len(body) + 200_000


DTYPES = ["<f4", ">f4", "|b1", "<f2", "|O", "<c16", "|S9", "<U9", "|V8", "<M8[s]"]
descr = st.sampled_from(DTYPES).map(repr) | st.text(max_size=9)
sizes = st.integers(-2, 5) | st.sampled_from([1 << 31, 1 << 40, 1 << 63, True, 10**25])


@st.composite
def npy_files(draw):
    """The head of an .npy file, which may say anything, and some bytes."""
    shape = tuple(draw(st.lists(sizes, max_size=5)))
    text = f"{{'descr': {draw(descr)}, 'fortran_order': {draw(st.booleans())}, 'shape': {shape}, }}".encode()
    version = draw(st.integers(0, 3))
    length = max(0, len(text) + draw(st.integers(-3, 3))).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + draw(st.binary(max_size=60))


@many
@given(npy_files())
def test_npy_files_are_taken_or_told(body):
    try:
        request = checked(plain.parse_npy(body, Signature()), Signature(), most_rows=MOST_ROWS)
    except BadRequestError as error:
        assert_is_told(error)
        return
    assert_can_be_computed(request)
    assert all(type(size) is int for size in request.inputs[0].head.shape)
