"""The reconnecting socket against a server that comes and goes."""

import contextlib
import socket
import threading
import time

import msgspec
import pytest
from websockets.sync.server import serve

from pliant.errors import ProtocolError
from pliant.wire.codec import FROM_WORKER, encode
from pliant.wire.messages import (
    CallEnded,
    MilestoneReached,
    Refused,
    Retire,
    StillHere,
    Taken,
    WorkerHello,
    WorkerProgress,
)
from pliant.wire.socket import ControlSocket

DEADLINE_S = 10.0


class Server:
    """Records what it is sent, and says so while ``takes``. ``behave(connection, number)``: what else to do with the
    n-th connection.
    """

    def __init__(self, behave=None, *, port=0, takes=True):
        self.behave = behave
        self.takes = takes
        self.heard = []
        self.tokens = []
        self.connections = []
        self.changed = threading.Condition()
        self.server = serve(self.handle, "127.0.0.1", port, compression=None, close_timeout=0.2)
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def handle(self, connection):
        with self.changed:
            self.connections.append(connection)
            self.tokens.append(connection.request.headers["Authorization"])
            number = len(self.connections)
        for count, data in enumerate(connection):
            with self.changed:
                self.heard.append((number, FROM_WORKER.decode(data)))
                self.changed.notify_all()
            if self.takes:
                connection.send(encode(Taken(count)).decode())
            if self.behave is not None:
                self.behave(connection, number)

    def wait(self, condition, what):
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE_S), (what, self.heard)

    def milestones(self):
        return [message.step for _, message in self.heard if isinstance(message, MilestoneReached)]

    def close(self):
        for connection in self.connections:
            connection.close()
        self.server.shutdown()
        self.thread.join(DEADLINE_S)


@pytest.fixture
def start_server():
    servers = []

    def start(*args, **kwargs):
        servers.append(Server(*args, **kwargs))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def open_socket():
    sockets = []

    def open_(url, on_message=lambda message: None):
        hello = WorkerHello("j", "w1", 1, "h", 2)
        sockets.append(ControlSocket(url, "secret", lambda: hello, on_message))
        sockets[-1].start()
        return sockets[-1]

    yield open_
    for control in sockets:
        control.close(flush_s=0)


class Relay:
    """Between a client and a server. After :meth:`swallow`, the client's bytes go nowhere, so no pong can come."""

    def __init__(self, port):
        self.port_behind = port
        self.swallowing = False
        self.swallowed = threading.Event()
        self.pairs = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = []
        self._run(self.accept)

    def _run(self, target, *args):
        self.threads.append(threading.Thread(target=target, args=args))
        self.threads[-1].start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port_behind))
            self.pairs.append((client, server))
            self._run(self.pump, client, server, True)
            self._run(self.pump, server, client, False)

    def pump(self, source, sink, from_client):
        try:
            while data := source.recv(65536):
                if from_client and self.swallowing:
                    self.swallowed.set()
                else:
                    sink.sendall(data)
        except OSError:
            pass
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def swallow(self):
        self.swallowing = True

    def cut(self):
        """End the connections there are; later ones pass."""
        self.swallowing = False
        for pair in self.pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()
        for thread in self.threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        for pair in self.pairs:
            for end in pair:
                end.close()


@pytest.fixture
def start_relay():
    relays = []

    def start(server):
        relays.append(Relay(server.port))
        return relays[-1]

    yield start
    for relay in relays:
        relay.close()


def url(server):
    return f"ws://127.0.0.1:{server.port}/v1/workers"


def test_hello_first_then_in_order(start_server, open_socket):
    server = start_server()
    control = open_socket(url(server))
    for step in range(600):
        control.send(MilestoneReached(step))
    assert control.flush(DEADLINE_S)
    server.wait(lambda: len(server.heard) == 601, "all messages")
    assert isinstance(server.heard[0][1], WorkerHello)
    assert server.milestones() == list(range(600))
    assert server.tokens == ["Bearer secret"]


def test_delivers_to_the_callback_and_survives_its_errors(start_server, open_socket):
    got = []
    done = threading.Event()

    def take(message):
        got.append(message)
        if message.reason == "raise":
            raise ValueError("broken handler")
        done.set()

    def behave(connection, number):
        connection.send(encode(Refused("said for the log only")).decode())
        connection.send("rubbish")
        connection.send(encode(Retire("raise")).decode())
        connection.send(encode(Retire("go")).decode())

    open_socket(url(start_server(behave)), take)
    assert done.wait(DEADLINE_S)
    assert got == [Retire("raise"), Retire("go")]


def test_never_blocks_while_nobody_is_there_and_finds_another_port(start_server, open_socket):
    where = {"url": None}
    control = open_socket(lambda: where["url"])
    begin_s = time.monotonic()
    for step in range(1000):
        control.send(MilestoneReached(step))
    control.send(WorkerProgress(1, "training", []))
    assert time.monotonic() - begin_s < 1.0
    assert not control.connected
    first = start_server()
    where["url"] = url(first)
    first.wait(lambda: len(first.milestones()) == 1000, "what was kept")
    assert not any(isinstance(message, WorkerProgress) for _, message in first.heard)
    assert control.flush(DEADLINE_S)
    first.close()
    control.send(MilestoneReached(1000))
    second = start_server()
    where["url"] = url(second)
    second.wait(lambda: second.milestones() == [1000], "only what the first did not get")
    assert isinstance(second.heard[0][1], WorkerHello)


def test_what_was_under_way_is_sent_again(start_server, start_relay, open_socket):
    server = start_server()
    relay = start_relay(server)
    control = open_socket(url(relay))
    server.wait(lambda: len(server.heard) == 1, "hello")
    relay.swallow()
    for step in range(50):
        control.send(MilestoneReached(step))
    assert relay.swallowed.wait(DEADLINE_S)
    assert not control.flush(0.2)
    assert server.milestones() == []
    relay.cut()
    server.wait(lambda: len(server.milestones()) == 50, "all of them")
    assert server.heard[2:] == [(2, MilestoneReached(step)) for step in range(50)]
    assert control.flush(DEADLINE_S)


def test_what_arrived_but_was_not_handled_is_sent_again(start_server, open_socket):
    """A coordinator that is killed has received more than it has put into its journal."""
    where = {"url": None}
    first = start_server(takes=False)
    where["url"] = url(first)
    control = open_socket(lambda: where["url"])
    for step in range(20):
        control.send(MilestoneReached(step))
    first.wait(lambda: len(first.milestones()) == 20, "received")
    for connection in first.connections:
        connection.send(encode(Taken(5)).decode())
    second = start_server()
    where["url"] = url(second)
    first.close()
    second.wait(lambda: second.milestones() == list(range(5, 20)), "all but the five that were taken")
    assert control.flush(DEADLINE_S)


@pytest.mark.parametrize(("code", "arrive"), [(1008, [2]), (1009, [2]), (1011, [1, 2])])
def test_only_messages_that_are_never_taken_are_dropped(start_server, start_relay, open_socket, code, arrive):
    server = start_server()
    relay = start_relay(server)
    control = open_socket(url(relay))
    server.wait(lambda: len(server.heard) == 1, "hello")
    relay.swallow()
    control.send(MilestoneReached(1))
    assert relay.swallowed.wait(DEADLINE_S)
    server.connections[0].close(code, "no")
    relay.cut()
    server.wait(lambda: len(server.connections) == 2, "it comes back")
    control.send(MilestoneReached(2))
    server.wait(lambda: (2, MilestoneReached(2)) in server.heard, "the next message")
    assert server.milestones() == arrive


def test_a_connection_without_answers_is_replaced(start_server, start_relay, open_socket):
    """Half-open: whatever lies between swallows everything, and nobody says so."""
    server = start_server()
    relay = start_relay(server)
    where = {"url": url(relay)}
    control = open_socket(lambda: where["url"])
    control.set_patience(2.0)
    server.wait(lambda: len(server.heard) == 1, "hello")
    relay.swallow()
    where["url"] = url(server)
    control.send(MilestoneReached(1))
    server.wait(lambda: (2, MilestoneReached(1)) in server.heard, "sent again over another connection")
    assert relay.swallowed.is_set()
    assert control.flush(DEADLINE_S)


def test_a_quiet_connection_that_answers_is_kept_and_says_a_word_now_and_then(start_server, open_socket):
    server = start_server()
    control = open_socket(url(server))
    control.set_patience(1.0)
    control.beat = StillHere
    server.wait(lambda: sum(isinstance(message, StillHere) for _, message in server.heard) >= 8, "eight words")
    assert len(server.connections) == 1
    assert server.milestones() == []


def test_who_has_something_to_say_needs_no_heartbeat(start_server, open_socket):
    server = start_server()
    control = open_socket(url(server))
    control.set_patience(60.0)
    control.beat = StillHere
    for step in range(50):
        control.send(MilestoneReached(step))
    server.wait(lambda: len(server.milestones()) == 50, "all")
    assert not any(isinstance(message, StillHere) for _, message in server.heard)


def test_too_large_is_said_to_the_sender(start_server, open_socket):
    control = open_socket(url(start_server()))
    with pytest.raises(ProtocolError, match="bytes as JSON"):
        control.send(CallEnded(0, "steps", msgspec.Raw(msgspec.json.encode("x" * (1 << 20)))))


def test_close_flushes_and_may_be_repeated(start_server, open_socket):
    server = start_server()
    control = open_socket(url(server))
    for step in range(100):
        control.send(MilestoneReached(step))
    control.close(flush_s=DEADLINE_S)
    server.wait(lambda: len(server.milestones()) == 100, "what the server had when it answered")
    assert server.milestones() == list(range(100))
    control.close()
    control.send(MilestoneReached(5))
    assert not control.connected
    assert threading.active_count() < 50


def test_close_does_not_wait_for_a_coordinator_that_is_away(open_socket):
    control = open_socket(lambda: None)
    control.send(MilestoneReached(1))
    begin_s = time.monotonic()
    control.close(flush_s=0.1)
    assert time.monotonic() - begin_s < 2.0
    assert not any(thread.name.startswith("pliant-control") for thread in threading.enumerate())


def test_may_be_closed_from_its_own_callback(start_server, open_socket):
    bound, closed = threading.Event(), threading.Event()

    def take(message):
        assert bound.wait(DEADLINE_S)  # a message may come before the constructor has returned
        control.close(flush_s=0)
        closed.set()

    def behave(connection, number):
        connection.send(encode(Retire("go")).decode())

    control = open_socket(url(start_server(behave)), take)
    bound.set()
    assert closed.wait(DEADLINE_S)
