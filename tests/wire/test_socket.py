"""The reconnecting socket against a server that comes and goes."""

import threading
import time

import msgspec
import pytest
from websockets.sync.server import serve

from pliant.errors import ProtocolError
from pliant.wire.codec import FROM_WORKER, encode
from pliant.wire.messages import CallEnded, MilestoneReached, Refused, Retire, WorkerHello, WorkerProgress
from pliant.wire.socket import ControlSocket

DEADLINE_S = 10.0


class Server:
    """Records what it is sent. ``behave(connection, number)``: what else to do with the n-th connection."""

    def __init__(self, behave=None, *, port=0):
        self.behave = behave
        self.heard = []
        self.tokens = []
        self.connections = []
        self.changed = threading.Condition()
        self.server = serve(self.handle, "127.0.0.1", port, compression=None)
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def handle(self, connection):
        with self.changed:
            self.connections.append(connection)
            self.tokens.append(connection.request.headers["Authorization"])
            number = len(self.connections)
        for data in connection:
            with self.changed:
                self.heard.append((number, FROM_WORKER.decode(data)))
                self.changed.notify_all()
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
        return sockets[-1]

    yield open_
    for socket in sockets:
        socket.close(flush_s=0)


def url(server):
    return f"ws://127.0.0.1:{server.port}/v1/workers"


def test_hello_first_then_in_order(start_server, open_socket):
    server = start_server()
    socket = open_socket(url(server))
    for step in range(600):
        socket.send(MilestoneReached(step))
    assert socket.flush(DEADLINE_S)
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
    socket = open_socket(lambda: where["url"])
    begin_s = time.monotonic()
    for step in range(1000):
        socket.send(MilestoneReached(step))
    socket.send(WorkerProgress(1, "training", []))
    assert time.monotonic() - begin_s < 1.0
    assert not socket.connected
    first = start_server()
    where["url"] = url(first)
    first.wait(lambda: len(first.milestones()) == 1000, "what was kept")
    assert not any(isinstance(message, WorkerProgress) for _, message in first.heard)
    assert socket.flush(DEADLINE_S)
    first.close()
    socket.send(MilestoneReached(1000))
    second = start_server()
    where["url"] = url(second)
    second.wait(lambda: second.milestones() == [1000], "only what the first did not get")
    assert isinstance(second.heard[0][1], WorkerHello)


def test_what_was_under_way_is_sent_again(start_server, open_socket):
    def behave(connection, number):
        # The first connection is cut without an answer to any ping.
        if number == 1:
            connection.socket.shutdown(2)

    server = start_server(behave)
    socket = open_socket(url(server))
    for step in range(50):
        socket.send(MilestoneReached(step))
    assert socket.flush(DEADLINE_S)
    later = [message.step for number, message in server.heard if number > 1 and isinstance(message, MilestoneReached)]
    assert later == list(range(50))


def test_a_message_that_is_never_taken_is_dropped(start_server, open_socket):
    def behave(connection, number):
        if number == 1 and server.milestones():
            connection.close(1008, "no")

    server = start_server(behave)
    socket = open_socket(url(server))
    server.wait(lambda: len(server.heard) == 1, "hello")
    socket.send(MilestoneReached(1))
    server.wait(lambda: len(server.connections) == 2, "it comes back")
    socket.send(MilestoneReached(2))
    server.wait(lambda: (2, MilestoneReached(2)) in server.heard, "the next message")
    assert (2, MilestoneReached(1)) not in server.heard


def test_too_large_is_said_to_the_sender(start_server, open_socket):
    socket = open_socket(url(start_server()))
    with pytest.raises(ProtocolError, match="bytes as JSON"):
        socket.send(CallEnded(0, "steps", msgspec.Raw(msgspec.json.encode("x" * (1 << 20)))))


def test_close_flushes_and_may_be_repeated(start_server, open_socket):
    server = start_server()
    socket = open_socket(url(server))
    for step in range(100):
        socket.send(MilestoneReached(step))
    socket.close(flush_s=DEADLINE_S)
    assert server.milestones() == list(range(100))
    socket.close()
    socket.send(MilestoneReached(5))
    assert not socket.connected
    assert threading.active_count() < 50


def test_close_does_not_wait_for_a_coordinator_that_is_away(open_socket):
    socket = open_socket(lambda: None)
    socket.send(MilestoneReached(1))
    begin_s = time.monotonic()
    socket.close(flush_s=0.1)
    assert time.monotonic() - begin_s < 2.0
    assert not any(thread.name.startswith("pliant-control") for thread in threading.enumerate())


def test_may_be_closed_from_its_own_callback(start_server, open_socket):
    closed = threading.Event()

    def take(message):
        socket.close(flush_s=0)
        closed.set()

    def behave(connection, number):
        connection.send(encode(Retire("go")).decode())

    socket = open_socket(url(start_server(behave)), take)
    assert closed.wait(DEADLINE_S)
