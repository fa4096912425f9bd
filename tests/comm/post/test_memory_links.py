"""Posts in memory: what the seed decides, what breaks, and that it is what a network could have done."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from post_kit import Desk, check_connections, decoder, note

from pliant.comm.post.base import Limits, PeerConnected, PeerLost, PostFullError
from pliant.comm.post.memory import MemoryExchange

SERVERS, WORKERS = ("s1", "s2"), ("w1", "w2", "w3")


class World:
    """Some servers and workers, all connected."""

    def __init__(self, seed):
        self.exchange = MemoryExchange(seed)
        self.desks = {name: Desk(self.exchange.post(name, decoder=decoder())) for name in (*SERVERS, *WORKERS)}
        for worker in WORKERS:
            for server in SERVERS:
                self.desks[worker].post.connect(server, self.desks[server].post.endpoint)
        self.settle()

    def settle(self):
        self.exchange.deliver_all()
        self.look()

    def look(self):
        for desk in self.desks.values():
            desk.events += desk.post.poll()

    def send(self, sender, receiver, text):
        post = self.desks[sender].post
        return (post.send if receiver in SERVERS else post.answer)(receiver, note(text))


def order_of_arrival(seed):
    world = World(seed)
    for index in range(5):
        for worker in WORKERS:
            world.send(worker, "s1", f"{worker} {index}")
    world.settle()
    return world.desks["s1"].letters()


def test_pairs_keep_their_order_and_the_seed_decides_between_them():
    orders = [order_of_arrival(seed) for seed in range(10)]
    for order in orders:
        for worker in WORKERS:
            assert [text for text in order if text.startswith(worker)] == [f"{worker} {index}" for index in range(5)]
    assert len({tuple(order) for order in orders}) > 5
    assert orders == [order_of_arrival(seed) for seed in range(10)]


def test_nothing_happens_by_itself():
    world = World(0)
    sent = world.send("w1", "s1", "x")
    world.look()
    assert not sent.done
    assert not sent.wait(1.0)
    assert world.desks["s1"].letters() == []
    assert world.exchange.deliver()
    assert sent.done
    assert not world.exchange.deliver()


def test_memory_that_is_written_under_way_is_found_out():
    world = World(0)
    frame = bytearray(b"before")
    world.desks["w1"].post.send("s1", note("x"), [frame])
    frame[:] = b"during"
    world.exchange.deliver_all()
    frame[:] = b"after!"
    world.look()
    assert bytes(world.desks["s1"].last().frames[0]) == b"during"


def test_a_letter_can_arrive_once_more():
    world = World(0)
    assert not world.exchange.repeat("w1", "s1")
    world.send("w1", "s1", "x")
    world.settle()
    assert world.exchange.repeat("w1", "s1")
    assert not world.exchange.repeat("s1", "w1")
    world.settle()
    assert world.desks["s1"].letters() == ["x", "x"]


def test_a_broken_connection_loses_a_part_of_what_is_under_way_and_is_made_anew():
    arrived = set()
    for seed in range(30):
        world = World(seed)
        for index in range(4):
            world.send("w1", "s1", str(index))
        world.exchange.break_link("w1", "s1")
        world.settle()
        world.settle()
        got = world.desks["s1"].letters()
        assert got == [str(index) for index in range(len(got))]
        arrived.add(len(got))
        for desk, peer in ((world.desks["s1"], "w1"), (world.desks["w1"], "s1")):
            assert len(desk.losses(peer)) == 1
            assert desk.connected(peer)
        assert world.desks["w2"].losses("s1") == []
    assert arrived == {0, 1, 2, 3, 4}


def test_what_is_sent_before_the_loss_is_told_never_arrives():
    world = World(0)
    world.exchange.break_link("w1", "s1")
    world.exchange.deliver_all()
    sent = world.send("w1", "s1", "too early")
    assert sent.done
    assert world.desks["s1"].post.answer("w1", note("too early")).done
    world.settle()
    world.send("w1", "s1", "after")
    world.settle()
    assert world.desks["s1"].letters() == ["after"]


def test_a_killed_server_is_heard_no_more_and_its_peers_are_told():
    world = World(0)
    sent = [world.send("w1", "s1", str(index)) for index in range(3)]
    world.exchange.kill("s1")
    assert all(each.done for each in sent)
    world.settle()
    assert [world.desks[worker].losses("s1") == [] for worker in WORKERS] == [False] * 3
    assert world.desks["s1"].letters() == []
    assert list(world.desks["w1"].post.trouble()) == ["s1"]
    waiting = world.send("w1", "s1", "x")
    world.settle()
    assert not waiting.done
    assert world.desks["s1"].post.answer("w1", note("x")) is None
    world.desks["w1"].post.disconnect("s1")
    assert waiting.done


def test_a_killed_worker_is_heard_no_more_and_its_servers_are_told():
    world = World(0)
    world.exchange.kill("w1")
    world.settle()
    assert all(len(world.desks[server].losses("w1")) == 1 for server in SERVERS)
    assert world.desks["w1"].post.send("s1", note("x")) is None
    world.desks["w1"].post.connect("s1", world.desks["s1"].post.endpoint)
    assert not world.exchange.deliver()


def test_a_new_connection_ends_the_one_before_whatever_comes_first():
    for seed in range(20):
        world = World(seed)
        post, server = world.desks["w1"].post, world.desks["s1"]
        post.disconnect("s1")
        post.connect("s1", server.post.endpoint)
        world.settle()
        told = [type(event) for event in server.events if event.peer == "w1"]
        assert told == [PeerConnected, PeerLost, PeerConnected]


def test_nothing_is_told_of_a_server_that_was_given_up():
    world = World(0)
    worker = world.desks["w1"]
    world.desks["s1"].post.answer("w1", note("x"))
    world.exchange.break_link("w1", "s1")
    world.exchange.deliver_all()
    before = len(worker.events)
    worker.post.disconnect("s1")
    world.settle()
    assert worker.events[before:] == []


def test_what_waits_is_bounded():
    exchange = MemoryExchange(0)
    post = exchange.post("w1", decoder=decoder(), limits=Limits(queued_letters=1))
    post.connect("s1", "memory://s1")
    assert post.send("s1", note("x")) is not None
    with pytest.raises(PostFullError):
        post.send("s1", note("x"))


PAIRS = [(w, s) for w in WORKERS for s in SERVERS] + [(s, w) for w in WORKERS for s in SERVERS]
actions = st.lists(
    st.sampled_from(["send"] * 6 + ["deliver"] * 6 + ["look"] * 3 + ["break", "drop", "join"]), max_size=80
)


@given(st.integers(0, 1000), actions)
def test_any_history_is_one_that_a_network_could_have_made(seed, history):
    world, rng = World(seed), random.Random(seed)
    sent = {pair: [] for pair in PAIRS}
    for action in history:
        worker, server = rng.choice(WORKERS), rng.choice(SERVERS)
        if action == "send":
            pair = rng.choice(PAIRS)
            if world.send(*pair, str(len(sent[pair]))) is not None:
                sent[pair].append(len(sent[pair]))
        elif action == "deliver":
            world.exchange.deliver()
        elif action == "look":
            world.look()
        elif action == "break":
            world.exchange.break_link(worker, server)
        elif action == "drop":
            world.desks[worker].post.disconnect(server)
            # Who gives up is told nothing, and begins a new history.
            world.desks[worker].events += (
                [PeerLost(server, False, "gave up")] if world.desks[worker].connected(server) else []
            )
        else:
            world.desks[worker].post.connect(server, world.desks[server].post.endpoint)
    for _ in range(4):
        world.settle()
    for sender, receiver in PAIRS:
        arrived = check_connections(world.desks[receiver], sender)
        assert set(arrived) <= set(sent[sender, receiver])
    for worker in WORKERS:
        assert world.desks[worker].post.trouble() == {}
