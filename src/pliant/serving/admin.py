"""What changes a service: new weights, promotion and roll-back, behind the service's own token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

import msgspec

from pliant.serving.answers import Answer, told
from pliant.serving.service import ChangeRefusedError, Service
from pliant.wire.service_api import BoundsRequest, Follow, PushRequest


class Admin:
    """``POST /admin/``: ``push``, ``follow``, ``promote``, ``rollback``, ``scale``, ``stop``.

    The answer is the status afterwards.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def handle(
        self, method: str, path: str, authorization: bytes, read: Callable[[], Awaitable[bytes]]
    ) -> Answer:
        """One call; answers when it has taken effect. The body is read for whoever has the token only."""
        token = self._service.spec.admin_token
        if not token or not hmac.compare_digest(authorization, b"Bearer " + token.encode()):
            return told(401, {"error": "the service's own token is wanted, which `pliant push` knows"})
        if method != "POST":
            return told(405, {"error": f"{method} does not go with {path[:200]}; use POST"})
        body = await read()
        try:
            match path:
                case "/admin/push":
                    await self._service.push(msgspec.json.decode(body, type=PushRequest))
                case "/admin/follow":
                    await self._service.follow(msgspec.json.decode(body, type=Follow))
                case "/admin/scale":
                    self._service.scale(msgspec.json.decode(body, type=BoundsRequest))
                case "/admin/stop":
                    self._service.ending.set()
                case "/admin/promote":
                    self._service.promote()
                case "/admin/rollback":
                    await self._service.roll_back()
                case _:
                    return told(404, {"error": f"there is nothing at {path[:200]}"})
        except msgspec.MsgspecError as error:
            return told(400, {"error": f"the body is not what this call takes: {error}"})
        except ChangeRefusedError as error:
            return told(409, {"error": str(error)})
        return told(200, self._service.status())
