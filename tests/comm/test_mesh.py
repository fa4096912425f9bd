import os
import threading

import pytest
from comm_helpers import DEADLINE_S, outcomes, start, together

from pliant.comm import mesh as mesh_module
from pliant.comm.channel import HEADER
from pliant.errors import ConnectionLostError, GenerationOverError, ProtocolError


class Collect:
    """Handler: so many frames from each peer."""

    def __init__(self, expected):
        self.left = dict(expected)
        self.frames = []

    def done(self):
        return not any(self.left.values())

    def wants(self, peer):
        return self.left.get(peer, 0) > 0

    def destination(self, peer, kind, index, size):
        return memoryview(bytearray(size))

    def received(self, peer, kind, index, body):
        self.left[peer] -= 1
        self.frames.append((peer, kind, index, bytes(body)))


class Waiting(Collect):
    """Says when the driving thread has looked at it, which it does right before it sleeps."""

    def __init__(self, expected):
        super().__init__(expected)
        self.asked = threading.Event()

    def done(self):
        self.asked.set()
        return super().done()


def test_frames_arrive_whole_and_in_order(make_mesh):
    left, right = make_mesh(2)
    sizes = [0, 1, 15, 16, 17, 1 << 16, 0, 3 << 20]
    bodies = [os.urandom(size) for size in sizes]

    def send():
        for index, body in enumerate(bodies):
            left.post(1, index % 5, index, body)
        left.drive(Collect({}), lambda: True)

    def receive():
        handler = Collect({0: len(bodies)})
        right.drive(handler, handler.done)
        return handler.frames

    _, frames = together([send, receive])
    assert frames == [(0, index % 5, index, body) for index, body in enumerate(bodies)]
    total = sum(sizes) + len(sizes) * HEADER.size
    assert left.bytes_sent == right.bytes_received == total


@pytest.mark.parametrize("size", [2, 3])
def test_large_frames_both_ways_at_once_do_not_deadlock(make_mesh, size):
    groups = make_mesh(size)
    body = bytes(24 << 20)

    def swap(group):
        handler = Collect(dict.fromkeys(group.peers, 2))
        for peer in group.peers:
            group.post(peer, 2, 0, body)
            group.post(peer, 2, 1, body)
        group.drive(handler, handler.done)
        return len(handler.frames)

    assert together([lambda g=group: swap(g) for group in groups]) == [2 * (size - 1)] * size


class Ring(Collect):
    """Has room for one frame at a time: the next one must wait until ``done`` has been asked."""

    def __init__(self, expected):
        super().__init__(expected)
        self.room = True

    def done(self):
        self.room = True
        return super().done()

    def destination(self, peer, kind, index, size):
        return memoryview(bytearray(size)) if self.room else None

    def received(self, peer, kind, index, body):
        self.room = False
        super().received(peer, kind, index, body)


def test_room_is_made_while_frames_of_ones_own_are_still_queued(make_mesh):
    """Both have more to send than the kernel takes, and read only when ``done`` has made room."""
    groups = make_mesh(2)
    body = bytes(8 << 20)

    def swap(group):
        handler = Ring({1 - group.rank: 6})
        for index in range(6):
            group.post(1 - group.rank, 2, index, body)
        group.drive(handler, handler.done)
        return [frame[2] for frame in handler.frames]

    assert together([lambda g=group: swap(g) for group in groups]) == [list(range(6))] * 2


def test_frames_posted_by_the_last_look_are_sent_before_drive_returns(make_mesh):
    left, right = make_mesh(2)
    right.post(0, 2, 0, b"question")
    right.drive(Collect({}), lambda: True)
    handler = Collect({1: 1})
    answered = []

    def done():
        if handler.done() and not answered:
            answered.append(True)
            left.post(1, 2, 0, b"answer")
        return handler.done()

    left.drive(handler, done)
    # Nobody drives ``left`` any more: the answer is here, or it will never come.
    waiting = Collect({0: 1})
    together([lambda: right.drive(waiting, waiting.done)])
    assert waiting.frames == [(0, 2, 0, b"answer")]


def test_frames_of_the_next_round_stay_where_they_are(make_mesh):
    left, right = make_mesh(2)
    for index in range(3):
        left.post(1, 2, index, b"x")
    left.drive(Collect({}), lambda: True)
    rounds = []
    for _ in range(3):
        handler = Collect({0: 1})
        right.drive(handler, handler.done)
        rounds += [frame[2] for frame in handler.frames]
    assert rounds == [0, 1, 2]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_exchange_gives_everyones_payload_in_rank_order(make_mesh, size):
    groups = make_mesh(size)
    payloads = [bytes([rank]) * (rank * 1000) for rank in range(size)]

    def twice(group):
        return [group.exchange(payloads[group.rank]), group.exchange(b"!" * group.rank)]

    for first, second in together([lambda g=group: twice(g) for group in groups]):
        assert first == payloads
        assert second == [b"!" * rank for rank in range(size)]


def test_wake_makes_the_driver_look_again(make_mesh):
    left, _ = make_mesh(2)
    asked, ready = threading.Event(), threading.Event()

    def done():
        asked.set()
        return ready.is_set()

    driving = start(lambda: left.drive(Collect({}), done))
    assert asked.wait(DEADLINE_S)
    ready.set()
    left.wake()
    driving.result(DEADLINE_S)


def test_abort_wakes_the_driver_here_and_at_the_peers(make_mesh):
    groups = make_mesh(3)
    handlers = [Waiting(dict.fromkeys(group.peers, 1)) for group in groups]
    driving = [start(lambda g=g, h=h: g.drive(h, h.done)) for g, h in zip(groups, handlers, strict=True)]
    assert all(handler.asked.wait(DEADLINE_S) for handler in handlers)
    groups[0].abort()
    errors = [future.exception(DEADLINE_S) for future in driving]
    assert type(errors[0]) is GenerationOverError
    assert type(errors[1]) is ConnectionLostError
    assert type(errors[2]) is ConnectionLostError
    assert groups[0].aborted
    assert not groups[1].aborted


def test_abort_ends_a_driver_that_cannot_get_rid_of_its_bytes(make_mesh):
    left, _ = make_mesh(2)
    handler = Waiting({})
    left.post(1, 2, 0, bytes(64 << 20))
    driving = start(lambda: left.drive(handler, handler.done))
    assert handler.asked.wait(DEADLINE_S)
    left.abort()
    assert type(driving.exception(DEADLINE_S)) is GenerationOverError


def test_an_aborted_group_refuses_at_once_and_abort_may_be_repeated(make_mesh):
    left, right = make_mesh(2)
    left.abort()
    left.abort()
    with pytest.raises(GenerationOverError, match="generation 1"):
        left.exchange(b"")
    with pytest.raises(ConnectionLostError):
        right.exchange(b"")
    left.close()
    left.close()
    left.abort()
    left.wake()


def test_a_peer_that_closes_is_a_lost_connection(make_mesh):
    left, right = make_mesh(2)
    right.close()
    with pytest.raises(ConnectionLostError, match="rank 1"):
        left.exchange(b"hello")


def test_a_peer_that_closes_within_a_frame_is_a_lost_connection(make_mesh):
    left, right = make_mesh(2)
    right._channels[0].sock.sendall(HEADER.pack(1, 0, 100) + b"half")
    right.close()
    with pytest.raises(ConnectionLostError, match="rank 1"):
        left.exchange(b"")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (HEADER.pack(9, 0, 4), "kind 9"),
        (HEADER.pack(1, 0, mesh_module.MAX_EXCHANGE_BYTES + 1), "bytes in an exchange"),
        (HEADER.pack(1, 0, (1 << 64) - 1), "bytes in an exchange"),
        (b"\xff" * HEADER.size, "kind 255"),
    ],
)
def test_frames_that_break_the_protocol_are_refused(make_mesh, frame, said):
    left, right = make_mesh(2)
    right._channels[0].sock.sendall(frame)
    with pytest.raises(ProtocolError, match=said):
        left.exchange(b"")


def test_all_members_see_the_loss_of_one(make_mesh):
    groups = make_mesh(4)
    groups[2].close()
    rest = [group for group in groups if group.rank != 2]
    assert [type(each) for each in outcomes([lambda g=g: g.exchange(b"?") for g in rest])] == [ConnectionLostError] * 3
