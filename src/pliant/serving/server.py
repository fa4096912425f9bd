"""A service's router process, from its port to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from pliant.errors import ConfigError
from pliant.serving.front import Front
from pliant.serving.router import Router
from pliant.wire.service_api import ServiceSpec

DRAIN_S = 30.0
_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Without uvicorn's own signal handlers: the drain comes first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


async def serve(
    spec: ServiceSpec, directory: Path, *, listening: socket.socket, loaded: Callable[[Router], None]
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. ``loaded`` is called when the model is, or cannot be.

    Requests that come before that wait.
    """
    router = Router(spec, directory)
    config = uvicorn.Config(
        Front(router), log_level="warning", access_log=False, lifespan="off", timeout_keep_alive=60, backlog=2048,
    )  # fmt: skip
    server = _Server(config)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    await router.start()
    running = asyncio.create_task(server.serve(sockets=[listening]))
    telling = asyncio.create_task(_tell(router, loaded))
    await ending.wait()
    telling.cancel()
    _log.info("stopping: %d requests are under way", len(router.state))
    await router.stop(drain_s=DRAIN_S)
    server.should_exit = True
    await running


async def _tell(router: Router, loaded: Callable[[Router], None]) -> None:
    await router.loaded.wait()
    loaded(router)


def listen(spec: ServiceSpec) -> socket.socket:
    """The HTTP port.

    Raises:
        ConfigError: It is taken, or may not be used.
    """
    try:
        return socket.create_server((spec.host, spec.port), backlog=2048)
    except OSError as error:
        raise ConfigError(f"cannot listen on {spec.host}:{spec.port}: {error.strerror or error}") from error
