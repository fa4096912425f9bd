"""Whatever a member or a stranger says: nothing is raised, what does not fit is counted, and the others go on."""

import contextlib
import itertools
import re
import socket

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from post_kit import DEADLINE_S, KEY, Lab, note

from pliant.comm.post.base import Letter
from pliant.comm.post.envelope import Envelope, Kind
from pliant.comm.post.keys import curve_keys

CONNECTION = 7
SETTINGS = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

envelopes = st.builds(
    lambda *fields: Envelope(*fields).pack(),
    st.sampled_from(Kind),
    st.sampled_from([CONNECTION, 0, 2**64 - 1]),
    st.integers(0, 3) | st.integers(0, 2**64 - 1),
    st.integers(0, 4) | st.integers(0, 2**16 - 1),
)
headers = st.sampled_from([note("x"), note("y" * 100), b"s1", b"\x81\xa4text\xc0", b"\xdf\xff\xff\xff\xff"])
messages = st.lists(
    st.tuples(envelopes | st.binary(max_size=30), st.lists(headers | st.binary(max_size=50), max_size=5)), max_size=12
)
numbers = itertools.count()


class World:
    """A server, a worker that is well, and somebody with the right keys who says anything."""

    def __init__(self, lab):
        self.lab = lab
        self.server, self.worker = lab.pair()
        self.context = zmq.Context()

    def rogue(self, name):
        made = self.context.socket(zmq.DEALER)
        keys = curve_keys(KEY)
        made.set(zmq.LINGER, 0)
        made.set(zmq.ROUTING_ID, name)
        made.set(zmq.CURVE_SERVERKEY, keys.server_public)
        made.set(zmq.CURVE_PUBLICKEY, keys.client_public)
        made.set(zmq.CURVE_SECRETKEY, keys.client_secret)
        made.connect(self.server.post.endpoint)
        return made

    def goes_on(self):
        """Both directions of the good connection."""
        text = f"good {next(numbers)}"
        self.worker.post.send("s1", note(text))
        self.lab.until(lambda: text in self.server.letters("w1"))
        self.server.post.answer("w1", note(text))
        self.lab.until(lambda: text in self.worker.letters())
        assert self.server.losses("w1") == self.worker.losses("s1") == []
        self.server.events.clear()
        self.worker.events.clear()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    lab = Lab("tcp", tmp_path_factory.mktemp("post"))
    made = World(lab)
    yield made
    made.context.destroy(linger=0)
    lab.close_all()


@SETTINGS
@given(messages)
def test_a_member_may_say_anything(world, said):
    """After HELLO; a last HELLO shows that all before was read."""
    name = f"rogue{next(numbers)}"
    before = world.server.post.dropped
    with contextlib.closing(world.rogue(name.encode())) as rogue:
        rogue.send_multipart([Envelope(Kind.HELLO, CONNECTION).pack(), b"s1"])
        for envelope, rest in said:
            rogue.send_multipart([envelope, *rest])
        rogue.send_multipart([Envelope(Kind.HELLO, 1).pack(), b"s1"])
        rogue.send_multipart([Envelope(Kind.LETTER, 1, 0).pack(), note("the end")])
        world.lab.until(lambda: "the end" in world.server.letters(name))
    taken = sum(isinstance(event, Letter) and event.peer == name for event in world.server.events) - 1
    greeted = sum(envelope[:5] == Envelope(Kind.HELLO, 0).pack()[:5] for envelope, _ in said)
    dropped = world.server.post.dropped - before
    assert taken + dropped <= len(said) <= taken + dropped + greeted, "each is taken, counted or a greeting"
    world.goes_on()


@SETTINGS
@given(st.binary(min_size=1, max_size=2000))
def test_a_stranger_may_send_any_bytes(world, said):
    port = int(re.search(r":(\d+)$", world.server.post.endpoint)[1])
    greeting = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE" + bytes(47)
    for prefix in (b"", greeting):
        stranger = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        with stranger, contextlib.suppress(ConnectionError):
            with contextlib.suppress(OSError):  # cut off before all was said
                stranger.sendall(prefix + said)
                stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(4096):
                pass
    world.goes_on()
