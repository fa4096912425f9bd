import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.comm.post.base import MAX_FRAMES, Limits
from pliant.comm.post.envelope import Envelope, Kind, check_letter, check_name, missing, peer_name, unpack
from pliant.errors import ConfigError, ProtocolError

NUMBERS = st.integers(0, 2**64 - 1)


@given(st.sampled_from(Kind), NUMBERS, NUMBERS, st.integers(0, MAX_FRAMES))
def test_envelopes_come_back(kind, connection, number, frames):
    envelope = Envelope(kind, connection, number, frames)
    assert unpack(envelope.pack()) == envelope
    assert unpack(memoryview(bytearray(envelope.pack()))) == envelope


@given(st.binary(max_size=40))
def test_what_is_none_is_none(frame):
    found = unpack(frame)
    assert found is None or found.pack() == frame


@given(st.sampled_from(Kind), st.integers(0, 20), st.integers(0, 255))
def test_one_changed_byte_of_what_must_be_makes_it_none_or_another_kind(kind, position, value):
    packed = bytearray(Envelope(kind, 5, 7).pack())
    before = packed[position % 5]
    packed[position % 5] = value
    found = unpack(packed)
    if value != before and position % 5 < 4:
        assert found is None
    else:
        assert found is None or (found.kind, found.connection, found.number) == (packed[4], 5, 7)


@given(st.binary(max_size=70))
def test_routing_ids_are_names_or_nothing(frame):
    name = peer_name(frame)
    assert name is None or check_name(name).encode() == frame


def test_names():
    assert peer_name(b"w12") == "w12"
    assert peer_name(b"\0\0\0\1a") is None
    assert peer_name(b"w1\n") is None
    with pytest.raises(ConfigError, match="'w1/x' cannot name a peer"):
        check_name("w1/x")


def test_what_is_missing():
    third = Envelope(Kind.LETTER, 7, 2, frames=3)
    assert missing(third, expected=2, frames=3) is None
    assert missing(third, expected=0, frames=3) == "2 letters"
    assert missing(third, expected=2, frames=2) == missing(third, expected=2, frames=4) == "parts of a letter"


def test_a_frame_that_lies_in_pieces_is_refused():
    whole = memoryview(bytes(10))
    assert check_letter(b"12", [whole, whole.cast("B", (2, 5))], Limits()) == 22
    with pytest.raises(ProtocolError, match="not contiguous"):
        check_letter(b"12", [whole, whole[::2]], Limits())
