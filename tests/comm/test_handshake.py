import json
import socket
import struct

import msgspec
import pytest
from comm_helpers import DEADLINE_S, outcomes, tcp_pair
from hypothesis import given
from hypothesis import strategies as st

from pliant.comm import handshake
from pliant.errors import ProtocolError

KEY = handshake.job_key("token", "demo")


def hello(**changes):
    values = {"job": "demo", "generation": 3, "sender": "w2", "receiver": "w1", "nonce": handshake.new_nonce()}
    return handshake.MeshHello(**(values | changes))


def meet(key_of_connecting, key_of_accepting, said):
    """Outcome of both sides; each closes its end as soon as it is through, as the mesh does."""
    left, right = tcp_pair()

    def side(sock, function):
        sock.settimeout(DEADLINE_S)
        with sock:
            return function(sock)

    return outcomes(
        [
            lambda: side(left, lambda sock: handshake.introduce(sock, key_of_connecting, said)),
            lambda: side(right, lambda sock: handshake.accept(sock, key_of_accepting)),
        ]
    )


def accept_after(raw):
    """What the accepting side makes of these bytes, followed by the end of the stream."""
    left, right = tcp_pair()
    with left, right:
        right.settimeout(DEADLINE_S)
        left.sendall(raw)
        left.shutdown(socket.SHUT_WR)
        return handshake.accept(right, KEY)


def framed(body):
    return struct.pack("<I", len(body)) + body


def test_two_who_know_the_key_meet():
    said = hello()
    assert meet(KEY, KEY, said) == [None, said]


def test_names_may_hold_any_letter():
    said = hello(sender="wörker-Ω", job='quote " and \\ slash')
    assert meet(KEY, KEY, said) == [None, said]


def test_each_job_has_a_key_of_its_own():
    assert handshake.job_key("token", "a") != handshake.job_key("token", "b") != handshake.job_key("other", "b")


def test_a_wrong_key_is_refused_by_the_connecting_side():
    introduced, accepted = meet(handshake.job_key("token", "other"), KEY, hello())
    assert type(introduced) is ProtocolError
    assert "does not know the key of job demo" in str(introduced)
    assert isinstance(accepted, OSError)


def test_the_accepting_side_refuses_a_proof_made_with_another_key():
    left, right = tcp_pair()
    said = hello()

    def stranger():
        with left:
            left.settimeout(DEADLINE_S)
            left.sendall(framed(msgspec.json.encode(said)))
            handshake._receive(left)
            left.sendall(framed(b"0" * 64))

    def door():
        with right:
            right.settimeout(DEADLINE_S)
            return handshake.accept(right, KEY)

    _, accepted = outcomes([stranger, door])
    assert type(accepted) is ProtocolError
    assert "stranger" in str(accepted)


def test_a_proof_cannot_be_reflected():
    """Sending the accepting side's own proof back is not enough: the two sides sign different texts."""
    left, right = tcp_pair()

    def mirror():
        with left:
            left.settimeout(DEADLINE_S)
            left.sendall(framed(msgspec.json.encode(hello())))
            proof = msgspec.json.decode(handshake._receive(left))
            left.sendall(framed(proof["mac"].encode()))

    def door():
        with right:
            right.settimeout(DEADLINE_S)
            return handshake.accept(right, KEY)

    _, accepted = outcomes([mirror, door])
    assert type(accepted) is ProtocolError


@pytest.mark.parametrize("mac", ["", "é" * 64, "0" * 64, "\x00"], ids=["empty", "letters", "digits", "zero"])
def test_a_listener_with_a_made_up_proof_is_refused(mac):
    left, right = tcp_pair()

    def impostor():
        with right:
            right.settimeout(DEADLINE_S)
            handshake._receive(right)
            right.sendall(framed(msgspec.json.encode({"nonce": "0" * 32, "mac": mac})))

    def connecting():
        with left:
            left.settimeout(DEADLINE_S)
            handshake.introduce(left, KEY, hello())

    _, introduced = outcomes([impostor, connecting])
    assert type(introduced) is ProtocolError


def test_an_oversized_hello_is_refused_before_it_is_read():
    with pytest.raises(ProtocolError, match=f"at most {handshake.MAX_HELLO_BYTES}"):
        accept_after(struct.pack("<I", handshake.MAX_HELLO_BYTES + 1))
    with pytest.raises(ProtocolError, match="4294967295 bytes"):
        accept_after(b"\xff" * 4)


@given(st.binary(max_size=200))
def test_garbage_never_does_more_than_fail(raw):
    with pytest.raises((ProtocolError, ConnectionError)):
        accept_after(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.fixed_dictionaries(dict.fromkeys(("job", "generation", "sender", "receiver", "nonce"), JSON)))
def test_well_formed_json_of_the_wrong_kind_never_does_more_than_fail(fields):
    with pytest.raises((ProtocolError, ConnectionError)):
        accept_after(framed(json.dumps(fields).encode()))


@pytest.mark.parametrize("number", ["1" + "0" * 30, "-1" + "0" * 30, "1e400", "NaN"])
def test_a_generation_that_is_no_generation_is_refused(number):
    body = b'{"job":"demo","generation":%s,"sender":"w2","receiver":"w1","nonce":"0"}' % number.encode()
    with pytest.raises((ProtocolError, ConnectionError)):
        accept_after(framed(body))
