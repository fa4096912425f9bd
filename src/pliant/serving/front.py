"""The HTTP side of a service: an ASGI application. Paths, bodies, statuses; what they mean is the router's business."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from pliant.serving.admin import Admin
from pliant.serving.answers import Answer, failure, told
from pliant.serving.line import Line
from pliant.serving.metrics import metrics_text
from pliant.serving.openapi import MOST_DEADLINE_MS, VERSION, docs_page, openapi
from pliant.serving.pending import ServeError
from pliant.serving.protocol import encoding, npy, plain, v2
from pliant.serving.protocol.request import BadRequestError, InferRequest, Tensor, checked
from pliant.serving.service import Service
from pliant.wire.tensors import Signature

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)
DEADLINE = b"x-deadline-ms"
"""Header: the answer is of use for so many milliseconds from now."""
_DISCONNECT_S = 0.05
"""A request that takes longer is watched for its client's leaving."""
_VERSION = b"x-pliant-version"
_READS = ("GET", "HEAD")
"""An ASGI server leaves the body of an answer to HEAD out."""
_MORE_HEADERS = {
    408: [(b"connection", b"close")],
    415: [(b"accept-encoding", encoding.TAKEN.encode())],
}
"""By status (RFC 9110, sections 15.5.9 and 15.5.16)."""


@dataclass
class Call:
    """One HTTP request."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    receive: Receive
    send: Send


class Front:
    """``app`` for an ASGI server. One service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._spec = service.spec
        self._admin = Admin(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entry."""
        if scope["type"] != "http":
            return
        call = Call(scope["method"], scope["path"], dict(scope["headers"]), receive, send)
        try:
            _check_host(scope)
            answer = await self._handle(call)
        except BadRequestError as error:
            answer = told(error.status, {"error": str(error)})
            answer.headers += _MORE_HEADERS.get(error.status, [])
        except ServeError as error:
            answer = failure(error)
        except _ClientGoneError:
            return
        except Exception:
            number = secrets.token_hex(6)
            _log.exception("error %s while answering %s %s", number, call.method, call.path)
            answer = told(500, {"error": f"a mistake in the router (error id {number}; see its log)"})
        if answer is not None:
            await answer.send(send)

    # ------------------------------------------------------------ paths

    async def _handle(self, call: Call) -> Answer | None:
        path = call.path.rstrip("/") or "/"
        if path in ("/v2/health/live", "/healthz"):
            return told(200, {"live": True}) if call.method in _READS else _wrong_method(call, *_READS)
        if path.startswith("/admin/"):
            authorization, read = call.headers.get(b"authorization", b""), partial(self._body, call, for_model=False)
            return await self._admin.handle(call.method, path, authorization, read)
        if self._spec.api_key and not self._has_key(call):
            answer = told(401, {"error": "an API key is wanted, as in `Authorization: Bearer KEY`"})
            answer.headers.append((b"www-authenticate", b"Bearer"))
            return answer
        if path == "/predict":
            return await self._predict(call) if call.method == "POST" else _wrong_method(call, "POST")
        parts = path.strip("/").split("/")
        if parts[:2] == ["v2", "models"] and len(parts) >= 3:
            return await self._model(call, parts[2:])
        signature = self._service.line.signature
        pages: dict[str, Callable[[], Answer]] = {
            "/v2": lambda: told(200, _server()),
            "/v2/health/ready": lambda: self._ready(self._service.line, live=True),
            "/metrics": lambda: Answer(200, [metrics_text(self._service).encode()], b"text/plain; version=0.0.4"),
            "/status": lambda: told(200, self._service.status()),
            "/openapi.json": lambda: told(200, openapi(self._spec, signature)),
            "/docs": lambda: Answer(200, [docs_page(self._spec, signature).encode()], b"text/html; charset=utf-8"),
        }
        if path not in pages:
            return told(404, {"error": f"there is nothing at {call.path[:200]}; see /docs"})
        return pages[path]() if call.method in _READS else _wrong_method(call, *_READS)

    async def _model(self, call: Call, parts: list[str]) -> Answer | None:
        name, *rest = parts
        if name != self._spec.name:
            return told(404, {"error": f"there is no model {name[:200]!r}; this service serves {self._spec.name!r}"})
        there = [each for each in (self._service.line, self._service.trial) if each is not None]
        lines = {str(each.version): each for each in sorted(there, key=lambda each: each.version)}
        line = None
        if rest[:1] == ["versions"] and len(rest) >= 2:
            if rest[1] not in lines:
                known = ", ".join(lines)
                return told(404, {"error": f"there is no version {rest[1][:40]!r} of {name}; there is {known}"})
            line, rest = lines[rest[1]], rest[2:]
        about = line or self._service.line
        match rest:
            case []:
                content = v2.metadata(about.signature or Signature(), model=name, versions=list(lines))
                return told(200, content) if call.method in _READS else _wrong_method(call, *_READS)
            case ["ready"]:
                return self._ready(about, name=name) if call.method in _READS else _wrong_method(call, *_READS)
            case ["infer"]:
                return await self._infer(call, line) if call.method == "POST" else _wrong_method(call, "POST")
        return told(404, {"error": f"there is nothing at {call.path[:200]}; see /docs"})

    def _ready(self, line: Line, **more: str | bool) -> Answer:
        """Ready to answer, which a service without replicas is as well. ``more`` stands in the answer."""
        if line.state.broken or line.state.stopping or line.signature is None:
            why = line.state.broken or ("stopping" if line.state.stopping else "the model is being loaded")
            return told(503, {**more, "ready": False, "error": why})
        return told(200, {**more, "ready": True})

    # ------------------------------------------------------------ requests for the model

    async def _infer(self, call: Call, line: Line | None) -> Answer | None:
        body = await self._body(call)
        length = call.headers.get(v2.HEADER_LENGTH)
        if length is not None and not (length.isdigit() and len(length) < 20):
            text = length[:40].decode("latin-1")
            raise BadRequestError(f"Inference-Header-Content-Length is {text!r}; expected a number of bytes")
        parsed = v2.parse(body, header_bytes=None if length is None else int(length))
        line = line or self._service.choose()  # nothing may be awaited between this and handing it the request
        request = self._checked(line, parsed)
        if _streams(line):
            return await self._stream(call, line, request)
        outputs = await self._answer(call, line, request)
        parts, json_bytes = v2.respond(request, outputs, model=self._spec.name, version=str(line.version))
        answer = Answer(200, parts, b"application/json", _version(line))
        if json_bytes is not None:
            answer.kind = b"application/octet-stream"
            answer.headers.append((v2.HEADER_LENGTH, str(json_bytes).encode()))
        return answer

    async def _predict(self, call: Call) -> Answer | None:
        body = await self._body(call)
        line = self._service.choose()  # nothing may be awaited between this and handing it the request
        signature = line.signature or Signature()
        kind = call.headers.get(b"content-type", b"application/json").partition(b";")[0].strip()
        if kind in (b"application/octet-stream", b"application/x-npy") or body.startswith(npy.MAGIC):
            request = plain.parse_npy(body, signature)
        else:
            request = plain.parse_json(body, signature)
        request = self._checked(line, request)
        if _streams(line):
            return await self._stream(call, line, request)
        outputs = await self._answer(call, line, request)
        wanted = call.headers.get(b"accept", b"")
        if b"application/x-npy" in wanted or b"application/octet-stream" in wanted:
            return Answer(200, [npy.respond(outputs)], b"application/octet-stream", _version(line))
        return Answer(200, [plain.respond_json(outputs)], b"application/json", _version(line))

    async def _answer(self, call: Call, line: Line, request: InferRequest) -> list[Tensor]:
        """Waits; gives up when the client has left."""
        task = asyncio.current_task()
        assert task is not None
        watcher: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_DISCONNECT_S, lambda: watcher.append(loop.create_task(_watch(call.receive, task))))
        try:
            return await line.answer(request, deadline_s=self._deadline(call))
        except asyncio.CancelledError:
            if watcher and watcher[0].done():
                task.uncancel()
                raise _ClientGoneError from None
            raise
        finally:
            timer.cancel()
            for each in watcher:
                each.cancel()

    async def _stream(self, call: Call, line: Line, request: InferRequest) -> Answer | None:
        """Server-Sent Events, one for each part. (https://html.spec.whatwg.org/multipage/server-sent-events.html)"""
        parts = line.stream(request, deadline_s=self._deadline(call))
        task = asyncio.current_task()
        assert task is not None
        watcher = asyncio.create_task(_watch(call.receive, task))
        started = False
        try:
            async with contextlib.aclosing(parts):
                async for outputs in parts:
                    if not started:
                        started = True
                        await call.send(_stream_head(_version(line)))
                    await _event(call.send, plain.respond_json(outputs))
        except ServeError as error:
            if not started:
                raise
            await _event(call.send, msgspec.json.encode({"error": str(error)}), name=b"error")
            await call.send({"type": "http.response.body", "body": b""})
            return None
        except asyncio.CancelledError:
            if watcher.done():
                task.uncancel()
                raise _ClientGoneError from None
            raise
        finally:
            watcher.cancel()
        if not started:
            await call.send(_stream_head(_version(line)))
        await call.send({"type": "http.response.body", "body": b"event: end\ndata: {}\n\n"})
        return None

    # ------------------------------------------------------------ parts

    def _checked(self, line: Line, request: InferRequest) -> InferRequest:
        most = 1 if _streams(line) else self._spec.batch
        return checked(request, line.signature or Signature(), most_rows=most)

    async def _loaded(self) -> None:
        """Waits for a model to be loaded for the first time, which says what it takes."""
        line = await self._service.loaded()
        if line.signature is None and line.state.broken:
            raise ServeError("broken", line.state.broken)
        if line.signature is None:
            raise ServeError("stopping", "the service ends before its model is loaded")

    async def _body(self, call: Call, *, for_model: bool = True) -> bytes:
        """``for_model``: left with its sender until there is one."""
        most = self._spec.most_body_bytes
        length = call.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > most:
            raise BadRequestError(f"the body has {int(length)} bytes; at most {most} are taken", status=413)
        if for_model:
            await self._loaded()
        timeout_s = self._spec.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                body = await _read(call.receive, most)
        except TimeoutError:
            raise BadRequestError(f"the body did not come within {timeout_s:g} s", status=408) from None
        return encoding.decoded(body, call.headers.get(b"content-encoding", b"").decode("latin-1"), most_bytes=most)

    def _deadline(self, call: Call) -> float | None:
        given = call.headers.get(DEADLINE)
        if given is None:
            return None
        try:
            left_ms = float(given)
        except ValueError:
            left_ms = -1.0
        if not 0 < left_ms < MOST_DEADLINE_MS:
            text = given[:40].decode("latin-1")
            raise BadRequestError(f"X-Deadline-Ms is {text!r}; expected milliseconds from now, more than 0")
        return time.monotonic() + left_ms / 1000

    def _has_key(self, call: Call) -> bool:
        given = call.headers.get(b"authorization", b"")
        return hmac.compare_digest(given, b"Bearer " + self._spec.api_key.encode())


def _streams(line: Line) -> bool:
    return line.signature is not None and line.signature.streams


def _version(line: Line) -> list[tuple[bytes, bytes]]:
    return [(_VERSION, str(line.version).encode())]


class _ClientGoneError(Exception):
    """Nobody is left to answer."""


async def _read(receive: Receive, most: int) -> bytes:
    """The whole body, of ``most`` bytes at most."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise BadRequestError(f"the body has more than {most} bytes, which are taken at most", status=413)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _watch(receive: Receive, task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()


async def _event(send: Send, data: bytes, *, name: bytes = b"") -> None:
    head = b"event: " + name + b"\n" if name else b""
    await send({"type": "http.response.body", "body": head + b"data: " + data + b"\n\n", "more_body": True})


def _stream_head(version: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), *version]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _check_host(scope: Scope) -> None:
    """RFC 9112, section 3.2. What has several may mean another one to a proxy in front of this."""
    hosts = sum(name == b"host" for name, _ in scope["headers"])
    if hosts != 1 and scope["http_version"] != "1.0":
        raise BadRequestError(f"the request has {hosts} Host headers; expected one")


def _wrong_method(call: Call, *right: str) -> Answer:
    answer = told(405, {"error": f"{call.method[:40]} does not go with {call.path[:200]}; use {right[0]}"})
    answer.headers.append((b"allow", ", ".join(right).encode()))
    return answer


def _server() -> dict[str, Any]:
    return {"name": "pliant", "version": VERSION, "extensions": ["binary_tensor_data"]}
