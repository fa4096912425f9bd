"""The coordinator's ASGI application: routes, gate and clockwork put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute

from pliant.control import http_api
from pliant.control.auth import TokenGate
from pliant.control.event_socket import serve_events
from pliant.control.openapi import OPERATIONS, Operation
from pliant.control.registry import Registry
from pliant.control.sockets import serve_agent, serve_server, serve_worker
from pliant.errors import CoordinatorError

_log = logging.getLogger(__name__)
_TICK_S = 0.25


def make_app(registry: Registry, *, token: str) -> Starlette:
    """An application that serves ``registry`` to holders of ``token`` and, while it runs, lets its time pass."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        ticking = asyncio.create_task(_tick_forever(registry))
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking

    app = Starlette(
        routes=[
            *(_route(call) for call in sorted(OPERATIONS, key=lambda call: -call.path.count("/"))),
            WebSocketRoute("/v1/events", serve_events),
            WebSocketRoute("/v1/workers", serve_worker),
            WebSocketRoute("/v1/servers", serve_server),
            WebSocketRoute("/v1/agents", serve_agent),
        ],
        middleware=[Middleware(TokenGate, token=token, used=registry.touch)],
        exception_handlers={
            CoordinatorError: http_api.on_refusal,
            HTTPException: http_api.on_http_error,
            500: http_api.on_bug,
        },
        lifespan=lifespan,
    )
    app.state.registry = registry
    return app


def _route(call: Operation) -> Route:
    """Longer paths come first: a name may hold slashes, so that asking for such a job says that there is none."""
    return Route(call.path.replace("{name}", "{name:path}"), getattr(http_api, call.name), methods=[call.method])


async def _tick_forever(registry: Registry) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
        try:
            registry.tick()
        except Exception:
            # The clockwork must go on whatever happens.
            _log.exception("tick failed")
