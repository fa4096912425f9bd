"""The gate before everything: without the token nobody learns anything, not even which paths exist."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pliant.wire.token import token_matches

HEALTH_PATH = "/healthz"


class TokenGate:
    """ASGI middleware: 401 with an empty body unless ``Authorization: Bearer TOKEN`` fits; health needs none."""

    def __init__(self, app: ASGIApp, *, token: str, used: Callable[[], None]) -> None:
        """``used`` is called for each call that passes with the token."""
        self._app = app
        self._token = token
        self._used = used

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        kind = scope["type"]
        if kind == "lifespan" or (kind == "http" and scope["path"] == HEALTH_PATH):
            await self._app(scope, receive, send)
        elif kind in ("http", "websocket") and self._may_pass(scope):
            self._used()
            await self._app(scope, receive, send)
        elif kind == "http":
            await Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)
        elif kind == "websocket":
            await _refuse_upgrade(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        values = Headers(scope=scope).getlist("authorization")
        kind, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        return kind.lower() == "bearer" and token_matches(token.strip(), self._token)


async def _refuse_upgrade(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the opening handshake with 401 (403 from servers that cannot choose)."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})
