"""Where the coordinator of a home directory listens: written by the coordinator, read by everyone else."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from pliant.config import Home
from pliant.wire.private_file import write_private


class Address(msgspec.Struct, frozen=True):
    """Contents of ``coordinator.json``."""

    pid: int
    host: str
    port: int
    options: list[str] = []
    """Of its command line, beside the home: whoever starts it again after its death gives it the same ones."""


def write_address(home: Home, address: Address) -> None:
    """Publish ``address``; readers see the old file or the new one, never a part of one."""
    write_private(home.coordinator, msgspec.json.encode(address))


def remove_address(home: Home, *, pid: int) -> None:
    """Take the file away if it still is the one of process ``pid``."""
    address = read_address(home)
    if address is not None and address.pid == pid:
        home.coordinator.unlink(missing_ok=True)


def last_address(home: Home) -> Address | None:
    """What the last coordinator published, whether or not it lives: one that ends in peace takes it away."""
    try:
        return msgspec.json.decode(home.coordinator.read_bytes(), type=Address)
    except (OSError, msgspec.MsgspecError):
        return None


def read_address(home: Home) -> Address | None:
    """The published address; None if there is none, it is unreadable, or its process is gone."""
    address = last_address(home)
    try:
        if address is not None:
            os.kill(address.pid, 0)
    except PermissionError:
        return None  # the process belongs to someone else: the number was used again
    except (OSError, OverflowError):
        return None
    return address


def workers_url(home: Home) -> Callable[[], str | None]:
    """Where a worker's socket connects to, looked up anew on every call; None while there is no coordinator."""
    return lambda: _url(home, "workers")


def agents_url(home: Home) -> Callable[[], str | None]:
    """As :func:`workers_url`, for an agent."""
    return lambda: _url(home, "agents")


def servers_url(home: Home) -> Callable[[], str | None]:
    """As :func:`workers_url`, for a parameter server."""
    return lambda: _url(home, "servers")


def _url(home: Home, kind: str) -> str | None:
    address = read_address(home)
    return None if address is None else f"ws://{address.host}:{address.port}/v1/{kind}"
