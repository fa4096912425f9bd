"""Connected meshes within one process, and threads that must come to an end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from pliant.comm.mesh import MeshGroup

DEADLINE_S = 20.0


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one loopback connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    return left, right


def mesh(size: int, *, generation: int = 1) -> list[MeshGroup]:
    """One group for each rank, all connected."""
    sockets: list[dict[int, socket.socket]] = [{} for _ in range(size)]
    for left in range(size):
        for right in range(left + 1, size):
            sockets[left][right], sockets[right][left] = tcp_pair()
    return [MeshGroup(generation, rank, mine) for rank, mine in enumerate(sockets)]


def start(function: Callable[[], Any]) -> Future[Any]:
    """Run in a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def outcomes(functions: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run all at once; what each returned, or the exception it raised. A deadline for each."""
    futures = [start(function) for function in functions]
    errors = [future.exception(DEADLINE_S) for future in futures]
    return [error if error is not None else future.result() for error, future in zip(errors, futures, strict=True)]


def together(functions: Iterable[Callable[[], Any]]) -> list[Any]:
    """As :func:`outcomes`, but an exception is raised here."""
    found = outcomes(functions)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found
