"""A service's router process: ``python -m pliant.serving.server DIRECTORY DESCRIPTOR``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn
import uvloop

from pliant.serving.front import Front
from pliant.serving.http_protocol import HttpProtocol
from pliant.serving.service import Service
from pliant.wire.service_api import RouterReport, ServiceSpec, read_spec

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Without uvicorn's own signal handlers: the drain comes first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


async def serve(spec: ServiceSpec, directory: Path, *, listening: socket.socket) -> int:
    """Serve until SIGTERM, then drain; returns the exit code. Requests that come before the model is loaded wait."""
    service = Service(spec, directory)
    # No WebSockets: whoever asks for one gets what a plain request gets, and not the 500 of an unanswered handshake.
    config = uvicorn.Config(
        Front(service), http=HttpProtocol, ws="none", lifespan="off", proxy_headers=False, log_level="warning",
        access_log=False, timeout_keep_alive=60, backlog=2048,
    )  # fmt: skip
    server = _Server(config)
    ending = service.ending
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await service.start()
    running = asyncio.create_task(server.serve(sockets=[listening]))
    telling = asyncio.create_task(_tell(service))
    await ending.wait()
    telling.cancel()
    broken = service.line.signature is None and bool(service.line.state.broken)
    _log.info("stopping: %d requests are under way", service.status().requests)
    await service.stop()
    server.should_exit = True
    await running
    return 1 if broken else 0


async def _tell(service: Service) -> None:
    """Say that a model is loaded; or why not, and end."""
    line = await service.loaded()
    if line.state.broken:
        _say(RouterReport(problem=line.state.broken))
        service.ending.set()
    else:
        _say(RouterReport(loaded=True))


def _say(report: RouterReport) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody looks after it any more
        print(msgspec.json.encode(report).decode(), flush=True)


def _keep_from_children() -> None:
    """The port and the name's lock are this process's: uvloop leaves a child every descriptor that may be inherited."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # of the directory that has just been listed
                os.set_inheritable(int(name), False)


def main() -> int:
    """The process: ``DIRECTORY DESCRIPTOR``, the service's directory and the listening socket that it inherits."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    directory, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    _keep_from_children()
    listening = socket.socket(fileno=descriptor)
    return uvloop.run(serve(read_spec(directory), directory, listening=listening))


if __name__ == "__main__":
    sys.exit(main())
