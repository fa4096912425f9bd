"""What connections do when letters are missing, or when what is said does not fit: against peers that follow no rules.

Over files, where no keys are needed to be such a peer.
"""

import contextlib

import pytest
import zmq
from post_kit import DEADLINE_S, note

from pliant.comm.post.base import Limits
from pliant.comm.post.envelope import Envelope, Kind, unpack
from pliant.comm.post.place import reached


@pytest.fixture
def lab(make_lab):
    return make_lab("ipc")


@pytest.fixture
def raw(lab):
    """Makes ZeroMQ sockets, connected to a post or bound where it expects a server."""
    with zmq.Context() as context, contextlib.ExitStack() as stack:

        def make(kind, endpoint, **options):
            made = context.socket(kind)
            stack.callback(made.close, linger=0)
            for name, value in options.items():
                made.set(getattr(zmq, name), value)
            address = reached(endpoint, stack)
            if kind == zmq.ROUTER:
                made.bind(address)
            else:
                made.connect(address)
            return made

        yield make


def receive(lab, sock):
    """The next message to a raw socket."""
    got = []

    def come():
        if sock.poll(0):
            got.extend(sock.recv_multipart())
        return got

    lab.until(come)
    return got


def rogue_client(lab, raw, server, name=b"w2", connection=7):
    sock = raw(zmq.DEALER, server.post.endpoint, ROUTING_ID=name)
    sock.send_multipart([Envelope(Kind.HELLO, connection).pack(), b"s1"])
    assert unpack(receive(lab, sock)[0]) == Envelope(Kind.WELCOME, connection)
    return sock


def say(sock, number, text="x", connection=7):
    sock.send_multipart([Envelope(Kind.LETTER, connection, number).pack(), note(text)])


def test_a_server_that_misses_letters_says_so_to_both_sides(lab, raw):
    server = lab.post("s1")
    client = rogue_client(lab, raw, server)
    say(client, 0, "first")
    say(client, 3, "fourth")
    say(client, 4, "fifth")
    kind, why = receive(lab, client)
    assert unpack(kind) == Envelope(Kind.LOSS, 7)
    assert why == b"2 letters to s1 were lost"
    kind, why = receive(lab, client)
    assert (unpack(kind), why) == (Envelope(Kind.LOSS, 7), b"s1 does not know the connection")
    assert server.letters() == ["first"]
    assert server.losses("w2") == ["2 letters to s1 were lost"]
    assert server.post.dropped == 2
    assert server.post.answer("w2", note("x")) is None


@pytest.mark.parametrize("frames", [0, 2])
def test_a_letter_that_was_cut_off_or_joined_with_another_is_a_loss(lab, raw, frames):
    server = lab.post("s1")
    client = rogue_client(lab, raw, server)
    client.send_multipart([Envelope(Kind.LETTER, 7, 0, frames=1).pack(), note("x"), *[b"frame"] * frames])
    lab.until(lambda: server.losses("w2"))
    assert server.losses("w2") == ["parts of a letter to s1 were lost"]
    assert receive(lab, client)[1] == b"parts of a letter to s1 were lost"
    assert server.letters() == []


def test_a_letter_that_came_is_not_taken_twice(lab, raw):
    server = lab.post("s1")
    client = rogue_client(lab, raw, server)
    for number, text in ((0, "a"), (1, "b"), (0, "a"), (1, "b"), (2, "c")):
        say(client, number, text)
    lab.until(lambda: "c" in server.letters())
    assert server.letters() == ["a", "b", "c"]
    assert server.post.dropped == 2


def test_letters_of_an_earlier_connection_are_not_taken(lab, raw):
    server = lab.post("s1")
    client = rogue_client(lab, raw, server)
    say(client, 0, "old")
    client.send_multipart([Envelope(Kind.HELLO, 8).pack(), b"s1"])
    say(client, 1, "late")
    say(client, 0, "new", connection=8)
    lab.until(lambda: "new" in server.letters())
    assert server.letters() == ["old", "new"]
    assert server.losses("w2") == ["it has connected anew"]


def test_a_client_of_the_same_name_takes_the_place_of_the_one_before(lab, raw):
    server = lab.post("s1")
    first = rogue_client(lab, raw, server, connection=7)
    second = rogue_client(lab, raw, server, connection=8)
    first.close(linger=0)
    say(second, 0, "second", connection=8)
    lab.until(server.letters)
    assert server.losses("w2") == ["it has connected anew"]
    assert server.connected("w2"), "the end of the first one's connection is not the second's"
    server.post.answer("w2", note("to the second"))
    assert unpack(receive(lab, second)[0]) == Envelope(Kind.LETTER, 8, 0)


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"", b"", b""],
        [b"not an envelope", note("x")],
        [Envelope(Kind.LETTER, 7, 0).pack()],
        [Envelope(Kind.LETTER, 9, 0).pack(), note("x")],
        [Envelope(Kind.WELCOME, 7).pack()],
        [Envelope(Kind.LOSS, 7).pack(), b"why"],
        [Envelope(Kind.HELLO, 7).pack()],
        [Envelope(Kind.HELLO, 7).pack(), b"\xff\xfe"],
        [Envelope(Kind.LETTER, 7, 0, frames=5000).pack(), note("x"), *[b""] * 5000],
        [bytes(1)] * 100_000,
    ],
    ids=str.split("empty three-empty no-envelope no-header connection welcome loss for-nobody text many-frames parts"),
)
def test_what_does_not_fit_is_dropped_and_counted(lab, raw, parts):
    server, worker = lab.pair()
    client = rogue_client(lab, raw, server)
    client.send_multipart(parts)
    lab.until(lambda: server.post.dropped)
    assert server.post.dropped == 1
    worker.post.send("s1", note("good"))
    lab.until(server.letters)
    assert server.letters() == ["good"]
    assert server.losses("w1") == []


def test_a_letter_that_is_too_large_as_a_whole_is_dropped_and_counted(lab, raw):
    server = lab.post("s1", limits=Limits(letter_bytes=100_000))
    client = rogue_client(lab, raw, server)
    client.send_multipart([Envelope(Kind.LETTER, 7, 0, frames=2).pack(), note("x"), bytes(60_000), bytes(60_000)])
    say(client, 0, "good")
    lab.until(server.letters)
    assert server.letters() == ["good"]
    assert server.post.dropped == 1


def test_a_client_that_comes_back_before_its_loss_was_noticed_is_connected(lab, raw):
    server = lab.post("s1")
    rogue_client(lab, raw, server, connection=7).close(linger=0)
    inside = server.post._server
    assert inside._monitor.socket.poll(1000 * DEADLINE_S), "the first has closed, as the server will notice"
    second = raw(zmq.DEALER, server.post.endpoint, ROUTING_ID=b"w2")
    second.send_multipart([Envelope(Kind.HELLO, 8).pack(), b"s1"])
    assert inside._socket.poll(1000 * DEADLINE_S), "the second has said hello"
    assert unpack(receive(lab, second)[0]) == Envelope(Kind.WELCOME, 8)
    for _ in range(5):
        lab.turn()
    assert server.losses("w2") == ["it has connected anew"]
    assert server.connected("w2")
    say(second, 0, "second", connection=8)
    lab.until(server.letters)


@pytest.mark.parametrize("name", [b"\0five", b"a b", "wörker".encode(), b"w" * 200])
def test_names_that_are_none_are_dropped(lab, raw, name):
    server = lab.post("s1")
    chosen = {"ROUTING_ID": name} if name[0] else {}  # those with a zero only ZeroMQ itself gives
    sock = raw(zmq.DEALER, server.post.endpoint, **chosen)
    sock.send_multipart([Envelope(Kind.HELLO, 7).pack(), b"s1"])
    lab.until(lambda: server.post.dropped)
    assert server.events == []


@pytest.fixture
def rogue_server(lab, raw):
    """A worker and the raw socket that it takes for its server, after the greeting."""
    worker = lab.post("w1", listens=False)
    lab.directory.mkdir(parents=True)
    endpoint = f"ipc://{lab.directory}/s1.sock"
    router = raw(zmq.ROUTER, endpoint, ROUTER_HANDOVER=1)
    worker.post.connect("s1", endpoint)

    def greet():
        name, hello, server = receive(lab, router)
        envelope = unpack(hello)
        assert (name, envelope.kind, server) == (b"w1", Kind.HELLO, b"s1")
        router.send_multipart([b"w1", Envelope(Kind.WELCOME, envelope.connection).pack()])
        lab.until(lambda: worker.connected("s1"))
        return envelope.connection

    return worker, router, greet


def test_a_client_that_misses_letters_begins_anew(lab, rogue_server):
    worker, router, greet = rogue_server
    connection = greet()
    router.send_multipart([b"w1", Envelope(Kind.LETTER, connection, 0).pack(), note("first")])
    router.send_multipart([b"w1", Envelope(Kind.LETTER, connection, 2).pack(), note("third")])
    lab.until(lambda: worker.losses("s1"))
    assert worker.losses("s1") == ["1 letters from there were lost"]
    assert worker.letters() == ["first"]
    assert greet() != connection
    assert worker.connected("s1")


def test_a_client_that_is_told_of_a_loss_begins_anew_and_sends_nothing_from_before(lab, rogue_server):
    worker, router, greet = rogue_server
    connection = greet()
    worker.post.send("s1", note("before"))
    assert unpack(receive(lab, router)[1]) == Envelope(Kind.LETTER, connection, 0)
    router.send_multipart([b"w1", Envelope(Kind.LOSS, connection).pack(), b"2 letters to s1 were lost"])
    lab.until(lambda: worker.losses("s1"))
    assert worker.losses("s1") == ["2 letters to s1 were lost"]
    worker.post.send("s1", note("after"))
    again = greet()
    _, envelope, header = receive(lab, router)
    assert (unpack(envelope), header) == (Envelope(Kind.LETTER, again, 0), note("after"))


def test_what_a_server_says_of_another_connection_is_dropped(lab, rogue_server):
    worker, router, greet = rogue_server
    connection = greet()
    for parts in (
        [Envelope(Kind.LETTER, connection ^ 1, 0).pack(), note("x")],
        [Envelope(Kind.LOSS, connection ^ 1).pack(), b"why"],
        [Envelope(Kind.WELCOME, connection).pack()],
        [Envelope(Kind.HELLO, connection).pack(), b"w1"],
        [b"nonsense"],
    ):
        router.send_multipart([b"w1", *parts])
    router.send_multipart([b"w1", Envelope(Kind.LETTER, connection, 0).pack(), note("good")])
    lab.until(worker.letters)
    assert worker.letters() == ["good"]
    assert worker.post.dropped == 5
    assert worker.losses("s1") == []


def test_letters_before_the_greeting_wait(lab, raw):
    worker = lab.post("w1", listens=False)
    lab.directory.mkdir(parents=True)
    endpoint = f"ipc://{lab.directory}/s1.sock"
    worker.post.connect("s1", endpoint)
    waiting = worker.post.send("s1", note("early"))
    lab.until(lambda: "such file" in worker.post.trouble()["s1"] or "listens" in worker.post.trouble()["s1"])
    router = raw(zmq.ROUTER, endpoint, ROUTER_HANDOVER=1)
    _, hello, _ = receive(lab, router)
    lab.until(lambda: "has not answered yet" in worker.post.trouble()["s1"])
    assert not router.poll(50)
    router.send_multipart([b"w1", Envelope(Kind.WELCOME, unpack(hello).connection).pack()])
    _, envelope, header = receive(lab, router)
    assert (unpack(envelope).number, header) == (0, note("early"))
    lab.until(lambda: waiting.done)
