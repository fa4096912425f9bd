import os

import pytest
from comm_helpers import tcp_pair

from pliant.comm.channel import HEADER, Channel
from pliant.errors import ConnectionLostError
from pliant.timeouts import Timeouts


class Sink:
    def __init__(self, *, frames=1, room=True):
        self.left, self.room = frames, room
        self.got = []

    def wants(self, peer):
        return self.left > 0

    def destination(self, peer, kind, index, size):
        return memoryview(bytearray(size)) if self.room else None

    def received(self, peer, kind, index, body):
        self.left -= 1
        self.got.append((kind, index, bytes(body)))


@pytest.fixture
def pair():
    left, right = tcp_pair()
    yield Channel(left, 1, timeouts=Timeouts()), Channel(right, 0, timeouts=Timeouts())
    left.close()
    right.close()


def pump_until(channel, sink):
    """Loopback delivers what was sent before; nothing is waited for but the kernel."""
    channel.sock.settimeout(10)
    while sink.left and sink.room and not channel.paused:
        channel.pump(sink)
    channel.sock.setblocking(False)


def test_nothing_to_do_is_no_progress(pair):
    left, _ = pair
    assert not left.flush()
    assert not left.pump(Sink())
    assert not left.sending
    assert not left.paused


def test_many_small_frames_leave_in_few_calls_and_keep_their_borders(pair):
    left, right = pair
    frames = [(index % 7, index, os.urandom(index % 3)) for index in range(500)]
    for kind, index, body in frames:
        left.post(kind, index, body)
    assert left.sending
    while left.sending:
        left.flush()
    sink = Sink(frames=500)
    pump_until(right, sink)
    assert sink.got == frames


def test_a_frame_without_room_pauses_and_is_asked_for_again(pair):
    left, right = pair
    left.post(3, 4, b"body")
    left.flush()
    sink = Sink(room=False)
    right.sock.settimeout(10)
    while not right.paused:
        right.pump(sink)
    assert sink.got == []
    sink.room = True
    assert right.pump(sink)
    assert sink.got == [(3, 4, b"body")]
    assert not right.paused


def test_a_body_that_comes_in_pieces_is_put_together(pair):
    left, right = pair
    body = os.urandom(1000)
    wire = HEADER.pack(5, 6, len(body)) + body
    sink = Sink()
    sent = 0
    for stop in (1, 15, 16, 17, 400, len(wire)):
        left.sock.sendall(wire[sent:stop])
        while right.bytes_received < stop:
            right.pump(sink)
        sent = stop
    assert sink.got == [(5, 6, body)]


def test_sending_to_nobody_is_a_lost_connection(pair):
    left, right = pair
    right.sock.close()
    with pytest.raises(ConnectionLostError, match="rank 1"):  # noqa: PT012 - the kernel may take the first ones
        for _ in range(1000):
            left.post(1, 0, bytes(1 << 16))
            left.flush()


def test_the_end_of_the_stream_is_a_lost_connection(pair):
    left, right = pair
    left.sock.close()
    right.sock.settimeout(10)
    with pytest.raises(ConnectionLostError, match="rank 0 closed the connection"):
        right.pump(Sink())
