"""The client against servers that are not a coordinator; the rest is in tests/control/test_app.py."""

import os
import socket
import threading

import pytest

from pliant.config import Home
from pliant.errors import CoordinatorError
from pliant.wire.address import Address, write_address
from pliant.wire.http import Client, find_coordinator, is_alive


@pytest.fixture
def serve():
    """A server that answers its n-th connection with the n-th text, and then hangs up; returns its address."""
    listeners, threads = [], []

    def serve(*answers):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run():
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=run)
        threads.append(thread)
        thread.start()
        return Address(os.getpid(), "127.0.0.1", listener.getsockname()[1])

    yield serve
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for listener in listeners:
        listener.close()


def answer(status, body):
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_nobody_there(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(os.getpid(), "127.0.0.1", listener.getsockname()[1])
    assert not is_alive(address)
    write_address(Home(tmp_path), address)
    assert find_coordinator(Home(tmp_path)) is None
    with Client(address, token="t") as client, pytest.raises(CoordinatorError, match="does not answer") as caught:
        client.list_jobs()
    assert caught.value.status == 0


def test_somebody_else_is_there(serve):
    assert not is_alive(serve(answer(200, "hello")))
    with (
        Client(serve(answer(200, "hello")), token="t") as client,
        pytest.raises(CoordinatorError, match="something else"),
    ):
        client.list_jobs()
    with (
        Client(serve(b"not http\r\n\r\n"), token="t") as client,
        pytest.raises(CoordinatorError, match="does not answer"),
    ):
        client.list_jobs()


def test_the_coordinators_own_words(serve):
    with Client(serve(answer(409, '{"error":"no, because"}')), token="t") as client:
        with pytest.raises(CoordinatorError, match=r"^no, because$") as caught:
            client.job("x")
        assert caught.value.status == 409


def test_asks_again_when_an_idle_connection_was_closed(serve):
    with Client(serve(answer(200, "[]"), answer(200, "[]")), token="t") as client:
        assert client.list_jobs() == []
        assert client.list_jobs() == []


def test_never_repeats_a_change(serve):
    with Client(serve(answer(200, "[]")), token="t") as client:
        client.list_jobs()
        with pytest.raises(CoordinatorError, match="does not answer"):
            client.stop("x")
