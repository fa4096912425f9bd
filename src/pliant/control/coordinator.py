"""The coordinator's process: ``python -m pliant.control.coordinator --home DIR [--host A] [--port P] [--stay]``.

One per home directory. Listens on loopback unless told otherwise, writes ``coordinator.json`` once it does, and ends by
itself when nobody has needed it for a while (unless ``--stay``), or gracefully at SIGTERM and SIGINT. Logs to stderr.

Exit codes: 0 ended as it should, or another one serves this home already; 1 it cannot start (a message says why).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

from pliant.config import Home, home_dir
from pliant.control.agent_keeper import AgentKeeper
from pliant.control.app import make_app
from pliant.control.journal import Journal
from pliant.control.registry import Registry
from pliant.errors import CoordinatorError, PliantError
from pliant.wire.address import Address, remove_address, write_address
from pliant.wire.codec import MAX_MESSAGE_BYTES
from pliant.wire.http import find_coordinator
from pliant.wire.token import create_token

_log = logging.getLogger(__name__)
_LAST_WORDS_S = 0.05
_HOST = "127.0.0.1"
_IDLE_S = 10.0
_OTHER_STARTS_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until it is time to end; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    home = Home(options.home)
    try:
        home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(home) as locked:
            if not locked:
                _log.info("another coordinator serves %s already", home.path)
                return 0
            asyncio.run(_serve(home, _listen(options.host, options.port), options))
    except (PliantError, OSError) as error:
        print(f"error: the coordinator cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pliant.control.coordinator", description="Pliant's coordinator.")
    parser.add_argument("--home", type=Path, default=home_dir(), help="directory of its files (default: $PLIANT_HOME)")
    parser.add_argument("--host", default=_HOST, help="IPv4 address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port (default: any free one)")
    parser.add_argument("--stay", action="store_true", help="do not end when nobody needs it")
    parser.add_argument("--idle-s", type=float, default=_IDLE_S, help="end after so many seconds without use")
    return parser


@contextlib.contextmanager
def _lock(home: Home) -> Iterator[bool]:
    """Hold the home's lock; yields False if another coordinator that answers holds it.

    Raises:
        CoordinatorError: Another process holds it and does not answer.
    """
    path = home.path / "coordinator.lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as file:
        deadline_s = time.monotonic() + _OTHER_STARTS_S
        while not _try_lock(file.fileno()):
            if find_coordinator(home) is not None:
                yield False
                return
            if time.monotonic() > deadline_s:
                text = f"another process holds {path} but no coordinator answers; find it with `fuser {path}`"
                raise CoordinatorError(text)
            time.sleep(0.05)  # it is starting, or ending
        yield True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        CoordinatorError: The port is taken or not one, or the address is not this machine's.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        fix = "choose another port with --port, or leave it out for any free one"
        if host != _HOST:
            fix += "; --host has to be an address of this machine"
        raise CoordinatorError(f"cannot listen on {host}:{port}: {error}; {fix}") from error
    return listener


async def _serve(home: Home, listener: socket.socket, options: argparse.Namespace) -> None:
    journal = Journal(home.journal)
    try:
        registry = Registry(journal, home=home.path, keeper=AgentKeeper(home), die=_die_soon)
        config = uvicorn.Config(
            make_app(registry, token=create_token(home.token)),
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        server = _Server(config, home, registry, options)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.end, f"got {signal.Signals(number).name}")
        await server.serve(sockets=[listener])
    finally:
        remove_address(home, pid=os.getpid())
        listener.close()
        journal.close()


def _die_soon() -> None:
    """A plan wants this coordinator killed: as by ``kill -9``, once what is on its way to others has left."""
    _log.warning("a plan kills this coordinator")
    asyncio.get_running_loop().call_later(_LAST_WORDS_S, os.kill, os.getpid(), signal.SIGKILL)


class _Server(uvicorn.Server):
    """Uvicorn, which writes the address when it listens, and ends when it is not needed."""

    def __init__(self, config: uvicorn.Config, home: Home, registry: Registry, options: argparse.Namespace) -> None:
        super().__init__(config)
        self._home = home
        self._registry = registry
        self._idle_s: float | None = None if options.stay else options.idle_s
        self._options = [
            *(["--stay"] if options.stay else []),
            *(["--port", str(options.port)] if options.port else []),
            *(["--host", options.host] if options.host != _HOST else []),
        ]

    def end(self, why: str) -> None:
        """Begin to end."""
        _log.info("ending: %s", why)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the loop's handlers: uvicorn would raise them again at the end, and not exit with 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell where."""
        await super().startup(sockets)
        if sockets and self.started:
            host, port = sockets[0].getsockname()[:2]
            write_address(self._home, Address(os.getpid(), host, port, self._options))
            _log.info("listening on %s:%d for %s", host, port, self._home.path)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._idle_s is not None and self._registry.unused_s() > self._idle_s and not self.should_exit:
            self.end(f"nobody has needed it for {self._idle_s:g} s")
        return await super().on_tick(counter)


if __name__ == "__main__":
    sys.exit(main())
