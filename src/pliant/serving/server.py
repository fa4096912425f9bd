"""A service's router process: ``python -m pliant.serving.server DIRECTORY DESCRIPTOR``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn

from pliant.serving.front import Front
from pliant.serving.router import Router
from pliant.wire.service_api import RouterReport, ServiceSpec, read_spec

DRAIN_S = 30.0
_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Without uvicorn's own signal handlers: the drain comes first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


async def serve(spec: ServiceSpec, directory: Path, *, listening: socket.socket) -> int:
    """Serve until SIGTERM, then drain; returns the exit code. Requests that come before the model is loaded wait."""
    router = Router(spec, directory)
    config = uvicorn.Config(
        Front(router), log_level="warning", access_log=False, lifespan="off", timeout_keep_alive=60, backlog=2048,
    )  # fmt: skip
    server = _Server(config)
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await router.start()
    running = asyncio.create_task(server.serve(sockets=[listening]))
    telling = asyncio.create_task(_tell(router, ending))
    await ending.wait()
    telling.cancel()
    broken = router.signature is None and bool(router.state.broken)
    _log.info("stopping: %d requests are under way", len(router.state))
    await router.stop(drain_s=DRAIN_S)
    server.should_exit = True
    await running
    return 1 if broken else 0


async def _tell(router: Router, ending: asyncio.Event) -> None:
    """Say that the model is loaded; or why not, and end."""
    await router.loaded.wait()
    if router.state.broken:
        _say(RouterReport(problem=router.state.broken))
        ending.set()
    else:
        _say(RouterReport(loaded=True))


def _say(report: RouterReport) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody looks after it any more
        print(msgspec.json.encode(report).decode(), flush=True)


def main() -> int:
    """The process: ``DIRECTORY DESCRIPTOR``, the service's directory and the listening socket that it inherits."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    directory, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    listening = socket.socket(fileno=descriptor)
    return asyncio.run(serve(read_spec(directory), directory, listening=listening))


if __name__ == "__main__":
    sys.exit(main())
