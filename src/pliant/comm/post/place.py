"""Where a server's post listens, and what others have to know to connect.

On one machine that is a socket file in a directory that only its owner can enter: that is the lock, there are no keys.
Between machines it is a TCP port with CURVE.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from pliant.errors import ConfigError
from pliant.processes import process_state
from pliant.wire.unix_path import reachable

_LOCAL = "ipc://"
_SUFFIX = ".sock"


@dataclass(frozen=True)
class LocalPlace:
    """A file in ``directory``, which is made if need be; its path may be of any length."""

    directory: Path


@dataclass(frozen=True)
class NetworkPlace:
    """A port of this address, chosen by the system."""

    host: str


Place = LocalPlace | NetworkPlace


def usual_place(host: str, directory: Path) -> Place:
    """A file if ``host``, the address by which others know this machine, is a loopback one, else a port."""
    return LocalPlace(directory) if _is_loopback(host) else NetworkPlace(host)


def is_local(endpoint: str) -> bool:
    """Whether it is a file's, without keys."""
    return endpoint.startswith(_LOCAL)


def reached(endpoint: str, stack: contextlib.ExitStack) -> str:
    """The endpoint as ZeroMQ is to be told it, which works as long as ``stack`` is open.

    Raises:
        OSError: It is a file's, and its directory is not there or not to be entered.
    """
    if not is_local(endpoint):
        return endpoint
    return _LOCAL + stack.enter_context(reachable(Path(endpoint.removeprefix(_LOCAL))))


def network_endpoint(host: str) -> str:
    """To be bound. ZeroMQ wants an address, not a name.

    Raises:
        ConfigError: No machine has this name.
    """
    try:
        address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise ConfigError(f"cannot listen at {host!r}: {error}; name an address of this machine") from error
    return f"tcp://[{address}]:*" if ":" in str(address) else f"tcp://{address}:*"


def local_endpoint(directory: Path, name: str) -> str:
    """A file for ``name`` in ``directory``, which is made; files that dead processes have left there are removed.

    Raises:
        ConfigError: Others can enter the directory, or it cannot be made.
    """
    directory = directory.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
        private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        if not private:
            raise ConfigError(
                f"{directory} is not private (mode {stat.filemode(found.st_mode)}, owner {found.st_uid}): who can "
                f"enter it can connect to the parameter servers; run: chmod 700 {directory}, or remove it"
            )
        _sweep(directory)
    except OSError as error:
        raise ConfigError(f"cannot make {directory} for the parameter servers' sockets: {error}") from error
    return f"{_LOCAL}{directory}/{name}.{os.getpid()}{_SUFFIX}"


def remove_file(endpoint: str) -> None:
    """Take a local endpoint's file away, if it is one and still there."""
    if is_local(endpoint):
        with contextlib.suppress(OSError):
            Path(endpoint.removeprefix(_LOCAL)).unlink()


def _sweep(directory: Path) -> None:
    for path in directory.glob(f"*{_SUFFIX}"):
        pid = path.name.removesuffix(_SUFFIX).rpartition(".")[2]
        # Both, because another machine's processes may share the directory, and a live one may not listen yet.
        if pid.isdecimal() and not process_state(int(pid)).exists and not _listens(path):
            path.unlink(missing_ok=True)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, reachable(path) as address:
        sock.setblocking(False)
        return sock.connect_ex(address) == 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
