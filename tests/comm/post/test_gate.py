"""Strangers at a TCP port: they learn nothing, change nothing, and keep nobody out."""

import contextlib
import re
import socket

import pytest
import zmq
from post_kit import DEADLINE_S, KEY, Note, note

from pliant.comm.handshake import job_key
from pliant.comm.post.base import Letter, PeerConnected
from pliant.comm.post.envelope import Envelope, Kind
from pliant.comm.post.keys import curve_keys

GREETING_BYTES = 64
"""What anybody may see of ZeroMQ: version, mechanism, side."""


@pytest.fixture
def lab(make_lab):
    return make_lab("tcp")


@pytest.fixture
def raw():
    """Makes ZeroMQ sockets that follow no rules."""
    with zmq.Context() as context, contextlib.ExitStack() as stack:

        def make(kind=zmq.DEALER, **options):
            made = context.socket(kind)
            stack.callback(made.close, linger=0)
            for name, value in options.items():
                made.set(getattr(zmq, name), value)
            return made

        yield make


def port_of(desk):
    return int(re.fullmatch(r"tcp://127\.0\.0\.1:(\d+)", desk.post.endpoint)[1])


def knock(made, desk, watched):
    """Connect, say hello and a letter, and see how it ends: the first of ``watched`` that happens."""
    monitor = made.get_monitor_socket(watched)
    made.connect(desk.post.endpoint)
    hello = Envelope(Kind.HELLO, 7).pack()
    made.send_multipart([hello, desk.post.name.encode()], zmq.DONTWAIT)
    made.send_multipart([Envelope(Kind.LETTER, 7, 0).pack(), note("from a stranger")], zmq.DONTWAIT)
    return monitor


def goes_on(lab, server, worker, text):
    """The worker's letters still come, its connection was not touched, and nothing came of anybody else."""
    worker.post.send("s1", note(text))
    lab.until(lambda: text in server.letters("w1"))
    assert server.losses("w1") == worker.losses("s1") == []
    assert {event.peer for event in server.events} == {"w1"}


REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
)


def assert_kept_out(lab, monitor):
    """Refused at least twice, and never let in."""
    seen = []

    def twice():
        while monitor.poll(0):
            event, _ = monitor.recv_multipart()
            seen.append(int.from_bytes(event[:2], "little"))
        return sum(bool(each & REFUSED) for each in seen) >= 2

    lab.until(twice)
    assert zmq.EVENT_HANDSHAKE_SUCCEEDED not in seen


def test_zeromq_without_keys_is_kept_out(lab, raw):
    server, worker = lab.pair()
    monitor = knock(raw(ROUTING_ID=b"w2"), server, REFUSED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
    assert_kept_out(lab, monitor)
    goes_on(lab, server, worker, "after")
    monitor.close()


@pytest.mark.parametrize("name", [b"w2", b"w1"], ids=["new name", "name of a member"])
def test_whoever_knows_the_servers_public_key_and_no_more_is_kept_out(lab, raw, name):
    server, worker = lab.pair()
    public, secret = zmq.curve_keypair()
    stranger = raw(
        ROUTING_ID=name, CURVE_SERVERKEY=curve_keys(KEY).server_public, CURVE_PUBLICKEY=public, CURVE_SECRETKEY=secret
    )
    monitor = knock(stranger, server, REFUSED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
    assert_kept_out(lab, monitor)
    assert server.post.dropped > 0, "strangers are counted"
    goes_on(lab, server, worker, "after")
    monitor.close()


def test_a_member_of_another_job_is_kept_out_and_told_why(lab):
    server, worker = lab.pair()
    other = lab.post("w1", key=job_key("token", "other"), listens=False)
    other.post.connect("s1", server.post.endpoint)
    waiting = other.post.send("s1", note("of another job"))
    lab.until(lambda: "key" in other.post.trouble()["s1"] or "handshake" in other.post.trouble()["s1"])
    assert not waiting.done
    goes_on(lab, server, worker, "after")
    assert other.events == []


def test_a_member_is_not_fooled_by_a_stranger_that_listens(lab, raw):
    public, secret = zmq.curve_keypair()
    false = raw(zmq.ROUTER, CURVE_SERVER=1, CURVE_PUBLICKEY=public, CURVE_SECRETKEY=secret)
    port = false.bind_to_random_port("tcp://127.0.0.1")
    bare = raw(zmq.ROUTER)
    bare_port = bare.bind_to_random_port("tcp://127.0.0.1")
    worker = lab.post("w1", listens=False)
    tried = {"not tried yet", "connected, but the server's process has not answered yet"}
    for server, at in (("s1", port), ("s2", bare_port)):
        worker.post.connect(server, f"tcp://127.0.0.1:{at}")
        worker.post.send(server, note("secret"))
    lab.until(lambda: not tried & set(worker.post.trouble().values()))
    assert not false.poll(0)
    assert not bare.poll(0)
    assert worker.events == []


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes(200),
        b"\xff" * 5000,
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(48),
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE" + bytes(47) + b"\x04\xc8\x05HELLO\1\0" + bytes(191),
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\1CURVE" + bytes(47) + b"\x06\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
    ids=["nothing", "HTTP", "zeros", "ones", "NULL", "false HELLO", "huge command"],
)
def test_raw_bytes_get_a_greeting_at_most(lab, said):
    server, worker = lab.pair()
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=DEADLINE_S) as stranger:
        got = b""
        with contextlib.suppress(ConnectionError):
            with contextlib.suppress(OSError):  # cut off before all was said
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
            while part := stranger.recv(4096):
                got += part
    assert len(got) <= GREETING_BYTES
    goes_on(lab, server, worker, "after")


def test_silent_strangers_keep_nobody_out(lab):
    server = lab.post("s1")
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server))))
        worker = lab.post("w1", listens=False)
        worker.post.connect("s1", server.post.endpoint)
        worker.post.send("s1", note("through"))
        lab.until(server.letters)
    assert server.letters() == ["through"]


def test_the_right_keys_do_get_in(lab, raw):
    """So that the refusals above are known to be for the keys."""
    server = lab.post("s1")
    keys = curve_keys(KEY)
    member = raw(
        ROUTING_ID=b"w2",
        CURVE_SERVERKEY=keys.server_public,
        CURVE_PUBLICKEY=keys.client_public,
        CURVE_SECRETKEY=keys.client_secret,
    )
    monitor = knock(member, server, zmq.EVENT_HANDSHAKE_SUCCEEDED)
    lab.until(server.letters)
    assert server.events == [PeerConnected("w2", inbound=True), Letter("w2", True, Note("from a stranger"), [])]
    monitor.close()
