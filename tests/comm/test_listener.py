import contextlib
import itertools
import socket
import struct
import threading
import time

import pytest
from comm_helpers import DEADLINE_S, outcomes, start, tcp_pair, together

from pliant.comm import handshake, listener
from pliant.comm.listener import MeshListener
from pliant.errors import ConnectionLostError, GenerationOverError
from pliant.wire.messages import Member

KEY = handshake.job_key("token", "demo")


@pytest.fixture
def listeners():
    made = []

    def make(count, **options):
        fresh = [
            MeshListener(**({"job": "demo", "worker": f"w{len(made) + i + 1}", "key": KEY} | options))
            for i in range(count)
        ]
        made.extend(fresh)
        return fresh

    yield make
    for each in made:
        each.close()


def members_of(listeners, order=None):
    chosen = [listeners[i] for i in order] if order else listeners
    return [Member(worker=each.worker, rank=rank, host=each.host, port=each.port) for rank, each in enumerate(chosen)]


def form_all(listeners, members, generation=1):
    return together([lambda each=each: each.form(generation, members, timeout_s=DEADLINE_S) for each in listeners])


def exchange_once(group):
    with contextlib.closing(group):
        return group.exchange(b"")


def close_all(groups):
    for group in groups:
        group.close()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_a_group_forms_whatever_the_ranks(listeners, size):
    doors = listeners(size)
    order = list(reversed(range(size)))
    members = members_of(doors, order)
    groups = form_all(doors, members, generation=7)
    assert [group.rank for group in groups] == order
    assert {(group.size, group.generation) for group in groups} == {(size, 7)}
    names = [member.worker.encode() for member in members]
    swapped = together([lambda g=g, d=d: g.exchange(d.worker.encode()) for g, d in zip(groups, doors, strict=True)])
    assert swapped == [names] * size
    close_all(groups)


def test_generations_follow_each_other_and_may_stand_side_by_side(listeners):
    doors = listeners(3)
    kept = []
    for generation in range(1, 6):
        chosen = doors if generation % 2 else doors[1:]
        groups = form_all(chosen, members_of(chosen), generation=generation)
        for older in [*kept, groups]:
            assert all(len(each) == len(older) for each in together([lambda g=g: g.exchange(b"") for g in older]))
        kept.append(groups)
    for groups in kept:
        close_all(groups)


def test_connections_that_come_early_wait_for_form(listeners):
    old, young = listeners(2)
    members = members_of([old, young])
    group = young.form(4, members, timeout_s=DEADLINE_S)  # the younger connects, so it is through alone
    with old._changed:
        assert old._changed.wait_for(lambda: (4, "w2") in old._waiting, DEADLINE_S)
    other = old.form(4, members, timeout_s=DEADLINE_S)
    together([lambda: group.exchange(b""), lambda: other.exchange(b"")])
    close_all([group, other])


def test_forming_a_generation_drops_connections_of_older_ones(listeners):
    old, young = listeners(2)
    members = members_of([old, young])
    stale = young.form(3, members, timeout_s=DEADLINE_S)
    with old._changed:
        assert old._changed.wait_for(lambda: (3, "w2") in old._waiting, DEADLINE_S)
    groups = form_all([old, young], members, generation=4)
    with pytest.raises(ConnectionLostError):
        stale.exchange(b"")
    close_all([stale, *groups])


def test_a_member_that_does_not_come_is_named(listeners):
    (old,) = listeners(1)
    members = [*members_of([old]), Member(worker="w9", rank=1, host="127.0.0.1", port=1)]
    with pytest.raises(ConnectionLostError, match=r"w9 did not connect within 0\.05 s"):
        old.form(1, members, timeout_s=0.05)


def test_a_member_that_does_not_answer_is_named(listeners):
    gone, young = listeners(2)
    members = members_of([gone, young])
    gone.close()
    with pytest.raises(ConnectionLostError, match=r"w1 at 127\.0\.0\.1:\d+ does not answer"):
        young.form(1, members, timeout_s=DEADLINE_S)


def test_a_member_that_accepts_and_says_nothing_is_a_deadline(listeners):
    (young,) = listeners(1)
    young.worker = "w2"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        members = [Member(worker="w1", rank=0, host="127.0.0.1", port=silent.getsockname()[1]), *members_of([young])]
        members[1] = Member(worker="w2", rank=1, host="127.0.0.1", port=young.port)
        with pytest.raises(ConnectionLostError, match="w1 at"):
            young.form(1, members, timeout_s=0.05)


def test_a_failed_form_closes_the_connections_it_had(listeners):
    first, second = listeners(2)
    members = [*members_of([first, second]), Member(worker="w9", rank=2, host="127.0.0.1", port=1)]
    failed = start(lambda: second.form(1, members, timeout_s=0.3))
    group = first.form(1, members[:2], timeout_s=DEADLINE_S)
    assert type(failed.exception(DEADLINE_S)) is ConnectionLostError
    with pytest.raises(ConnectionLostError):
        group.exchange(b"")
    group.close()


def test_a_cancelled_form_ends_when_it_is_poked(listeners):
    (old,) = listeners(1)
    members = [*members_of([old]), Member(worker="w9", rank=1, host="127.0.0.1", port=1)]
    asked, cancelled = threading.Event(), threading.Event()

    def look():
        asked.set()
        return cancelled.is_set()

    forming = start(lambda: old.form(5, members, timeout_s=60, cancelled=look))
    assert asked.wait(DEADLINE_S)
    cancelled.set()
    old.poke()
    error = forming.exception(DEADLINE_S)
    assert type(error) is GenerationOverError
    assert "generation 5" in str(error)


@pytest.mark.parametrize("changed", [{"job": "other"}, {"key": handshake.job_key("stolen", "demo")}])
def test_a_worker_of_another_job_or_key_is_not_let_in(listeners, changed):
    (old,) = listeners(1)
    (young,) = listeners(1, **changed)
    members = members_of([old, young])
    forming = start(lambda: old.form(1, members, timeout_s=0.5))
    # Without the key it learns so itself; with the key of the same coordinator but another job's name, it is cut off.
    found = outcomes([lambda: exchange_once(young.form(1, members, timeout_s=DEADLINE_S))])[0]
    assert isinstance(found, ConnectionLostError)
    assert type(forming.exception(DEADLINE_S)) is ConnectionLostError


def test_silent_strangers_keep_nobody_out(listeners):
    doors = listeners(3)
    with contextlib.ExitStack() as stack:
        for door in doors:
            for _ in range(10):
                stack.enter_context(socket.create_connection((door.host, door.port)))
        groups = form_all(doors, members_of(doors))
        together([lambda g=g: g.exchange(b"") for g in groups])
        close_all(groups)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00" * 4,
        b"\xff" * 2000,
        struct.pack("<I", 2) + b"[]",
        struct.pack("<I", 68) + b'{"job":"demo","generation":-1,"sender":7,"receiver":"w1","nonce":""}',
    ],
)
def test_a_stranger_who_talks_nonsense_is_cut_off_and_the_door_stays_open(listeners, raw):
    doors = listeners(2)
    with socket.create_connection((doors[0].host, doors[0].port)) as stranger:
        stranger.settimeout(DEADLINE_S)
        stranger.sendall(raw)
        with contextlib.suppress(ConnectionError):
            while stranger.recv(4096):
                pass
    close_all(form_all(doors, members_of(doors)))


def test_a_second_connection_of_the_same_member_takes_the_place_of_the_first(listeners):
    old, young = listeners(2)
    members = members_of([old, young])
    first = young.form(2, members, timeout_s=DEADLINE_S)
    with old._changed:
        assert old._changed.wait_for(lambda: (2, "w2") in old._waiting, DEADLINE_S)
        waiting = old._waiting[2, "w2"]
    second = young.form(2, members, timeout_s=DEADLINE_S)
    with old._changed:
        assert old._changed.wait_for(lambda: old._waiting[2, "w2"] is not waiting, DEADLINE_S)
    group = old.form(2, members, timeout_s=DEADLINE_S)
    together([lambda: group.exchange(b""), lambda: second.exchange(b"")])
    with pytest.raises(ConnectionLostError):
        first.exchange(b"")
    close_all([first, second, group])


def test_close_drops_waiting_connections_and_ends_the_thread(listeners):
    old, young = listeners(2)
    group = young.form(2, members_of([old, young]), timeout_s=DEADLINE_S)
    with old._changed:
        assert old._changed.wait_for(lambda: (2, "w2") in old._waiting, DEADLINE_S)
    old.close()
    with pytest.raises(ConnectionLostError):
        group.exchange(b"")
    group.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((old.host, old.port), timeout=DEADLINE_S)


def test_many_generations_leave_no_threads_behind(listeners):
    doors = listeners(2)
    members = members_of(doors)
    for generation in range(1, 21):
        close_all(form_all(doors, members, generation))
    deadline = time.monotonic() + DEADLINE_S
    while any(thread.name == "pliant-hello" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "handshake threads are left"
        for thread in threading.enumerate():
            if thread.name == "pliant-hello":
                thread.join(DEADLINE_S)


def test_strangers_are_let_in_up_to_a_bound_only(listeners, monkeypatch):
    monkeypatch.setattr(listener, "MAX_STRANGERS", 2)
    (door,) = listeners(1)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection((door.host, door.port))) for _ in range(6)]
        for sock in itertools.islice(held, 2, None):
            sock.settimeout(DEADLINE_S)
            assert sock.recv(1) == b"", "the bound is not kept"


def test_pairs_used_here_are_connected():
    left, right = tcp_pair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"
