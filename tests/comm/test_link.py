import select
import socket
import time

import pytest
from comm_helpers import DEADLINE_S, tcp_pair
from hypothesis import given
from hypothesis import strategies as st

from pliant.comm.channel import Channel
from pliant.comm.link import LinkState, LinkWatch, link_state
from pliant.timeouts import Timeouts

ANSWERED = LinkState(unanswered=False, quiet_s=3600.0)


def test_an_idle_link_is_not_dead_however_old_its_last_answer_is():
    watch = LinkWatch(5.0)
    assert not any(watch.is_dead(ANSWERED, now_s=float(now)) for now in range(3600))


def test_a_link_is_dead_when_nothing_was_answered_for_the_limit():
    watch = LinkWatch(5.0)
    dead = [watch.is_dead(LinkState(unanswered=True, quiet_s=600.0 + now), now_s=float(now)) for now in range(8)]
    assert dead == [False] * 5 + [True] * 3


def test_an_answer_in_between_counts_although_nobody_saw_it():
    watch = LinkWatch(5.0)
    assert not watch.is_dead(LinkState(unanswered=True, quiet_s=1.0), now_s=0.0)
    assert not watch.is_dead(LinkState(unanswered=True, quiet_s=2.0), now_s=60.0)
    assert watch.is_dead(LinkState(unanswered=True, quiet_s=5.0), now_s=63.0)


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.booleans(), st.booleans()), max_size=60), st.floats(0.5, 10.0))
def test_a_link_that_answers_within_the_limit_is_never_dead(looks, limit_s):
    """(time to the next look, whether the peer answers in it, whether something is under way at the look)."""
    watch, now_s, answered_s = LinkWatch(limit_s), 0.0, 0.0
    for gap_s, answers, unanswered in looks:
        now_s += gap_s
        if answers or now_s - answered_s >= limit_s:
            answered_s = now_s
        assert not watch.is_dead(LinkState(unanswered=unanswered, quiet_s=now_s - answered_s), now_s=now_s)


def fill(sock):
    """Until the kernel takes no more, because the other end does not read."""
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while poll.poll(300):
        try:
            sock.send(bytes(1 << 16))
        except BlockingIOError:
            continue


@pytest.fixture
def full():
    left, right = tcp_pair()
    for sock in (left, right):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    fill(left)
    yield left, right
    left.close()
    right.close()


def test_a_peer_that_does_not_read_is_not_dead(full):
    """Its main thread computes: its kernel answers the probes of the full window."""
    left, _ = full
    channel = Channel(left, 1, timeouts=Timeouts(2.0))
    probed = False
    end_s = time.monotonic() + 4 * Timeouts(2.0).unanswered_s
    while time.monotonic() < end_s:
        channel.look(now_s=time.monotonic())  # would raise
        probed = probed or link_state(left).quiet_s < 0.5
        select.select([], [], [], 0.05)
    assert probed, "the window was never probed"


def test_the_kernels_user_timeout_would_take_it_for_dead(full):
    """Why it is not used."""
    left, _ = full
    left.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
    poll = select.poll()
    poll.register(left, 0)
    assert poll.poll(1000 * DEADLINE_S), "the connection lives on: is TCP_USER_TIMEOUT harmless now?"
    assert left.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def test_keepalive_follows_from_the_patience():
    left, right = tcp_pair()
    with left, right:
        Channel(left, 1, timeouts=Timeouts(40.0))
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [left.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [10, 5, 4]
        assert left.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
