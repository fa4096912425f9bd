"""Services as the command line finds them: by their directory, and asked over HTTP."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pliant.config import Home
from pliant.errors import CoordinatorError
from pliant.wire.service_api import ServiceEvent, ServiceSpec, ServiceStatus, read_events, read_spec

_LOOK_S = 2.0
CHANGE_S = 600.0
"""Loading a large model takes long."""


class _Refusal(msgspec.Struct):
    error: str


class ServiceClient:
    """One service of a home directory, which may have ended. Blocking."""

    def __init__(self, directory: Path, spec: ServiceSpec) -> None:
        self.directory = directory
        self.spec = spec

    def status(self) -> ServiceStatus | None:
        """None: it does not run, or does not answer now."""
        try:
            return self.look()
        except TimeoutError:
            return None

    def look(self) -> ServiceStatus | None:
        """None: it has ended.

        Raises:
            TimeoutError: It does not answer now: its router is busy, or another one takes over.
        """
        try:
            code, content = self._call("GET", "/status", None, timeout_s=_LOOK_S, token=self.spec.api_key)
            status = msgspec.json.decode(content, type=ServiceStatus) if code == 200 else None
        except (TimeoutError, ConnectionResetError) as error:
            raise TimeoutError(f"{self.spec.url} does not answer: {error}") from error
        except (OSError, http.client.HTTPException, msgspec.MsgspecError):
            return None  # nobody listens any more, or somebody else
        return status if status is not None and status.name == self.spec.name else None

    def change(self, what: str, body: msgspec.Struct | None = None) -> ServiceStatus:
        """``POST /admin/WHAT``; returns when it has taken effect.

        Raises:
            CoordinatorError: The service does not answer (``status`` 0), or refuses.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        try:
            code, content = self._call("POST", f"/admin/{what}", data, timeout_s=CHANGE_S, token=self.spec.admin_token)
        except (OSError, http.client.HTTPException) as error:
            where = f"{self.spec.host}:{self.spec.port}"
            raise CoordinatorError(f"service {self.spec.name} at {where} does not answer: {error}") from error
        if code == 200:
            return msgspec.json.decode(content, type=ServiceStatus)
        raise CoordinatorError(msgspec.json.decode(content, type=_Refusal).error, status=code)

    def events(self, *, after: int = 0) -> list[ServiceEvent]:
        """Those with a larger number."""
        return [event for event in read_events(self.directory / "events.jsonl") if event.seq > after]

    def _call(self, method: str, path: str, body: bytes | None, *, timeout_s: float, token: str) -> tuple[int, bytes]:
        headers: dict[str, Any] = {"Authorization": f"Bearer {token}"} if token else {}
        connection = http.client.HTTPConnection(self.spec.host, self.spec.port, timeout=timeout_s)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def find_service(home: Home, name: str) -> ServiceClient | None:
    """The service of this name that was started last; None if there never was one."""
    directory = home.service(name)
    try:
        return ServiceClient(directory, read_spec(directory))
    except (OSError, msgspec.MsgspecError):
        return None


def running_service(home: Home, name: str) -> ServiceClient | None:
    """The service of this name, if it runs."""
    service = find_service(home, name)
    return service if service is not None and service.status() is not None else None


def all_services(home: Home) -> Iterator[ServiceStatus]:
    """Those that run."""
    directory = home.service("x").parent
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        service = find_service(home, path.name)
        if service is not None and (status := service.status()) is not None:
            yield status
