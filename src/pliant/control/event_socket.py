"""WebSocket ``/v1/events``: what happened, what happens, and how the jobs stand, for pages and tools."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from pliant.control.registry import Registry
from pliant.control.streams import Follower
from pliant.wire.api import Event, JobStatus, Problem, StreamItem
from pliant.wire.codec import MAX_ANSWER_BYTES, encode

_STATUS_EVERY_S = 0.5
_POLICY, _TRY_LATER = 1008, 1013


async def serve_events(socket: WebSocket) -> None:
    """Frames are :class:`~pliant.wire.api.StreamItem`.

    First the events with ``seq`` above the query's ``after`` that are remembered, then new ones (and completed ones,
    under their old number); statuses twice a second if changed. ``job`` in the query restricts both to one job.
    """
    registry: Registry = socket.app.state.registry
    job = socket.query_params.get("job")
    after = socket.query_params.get("after", "0")
    if job is not None and job not in registry.jobs:
        await _refuse(socket, 404, f"there is no job named {job[:100]!r}")
        return
    if not (after.isascii() and after.isdecimal()):
        await _refuse(socket, 422, "the query's after must be a number")
        return
    await socket.accept()
    follower = registry.streams.follow(job)  # before looking back, so that nothing falls in between
    past = _past(registry, job, int(after))
    registry.open_sockets += 1
    writing = asyncio.create_task(_write(socket, registry, follower=follower, past=past))
    try:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass  # nothing is expected from this side; reading notices its end
    except (WebSocketDisconnect, RuntimeError):
        pass  # closed by the writing task
    finally:
        registry.open_sockets -= 1
        registry.streams.leave(follower)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


async def _refuse(socket: WebSocket, status: int, problem: str) -> None:
    """Answer the opening handshake with an error (a plain refusal from servers that cannot choose)."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        body = msgspec.json.encode(Problem(problem))
        await socket.send_denial_response(Response(body, status_code=status, media_type="application/json"))
    else:
        await socket.close(_POLICY, problem)


def _past(registry: Registry, job: str | None, after: int) -> list[Event]:
    jobs = [known for name, known in registry.jobs.items() if job in (None, name)]
    return sorted((event for known in jobs for event in known.events(after=after)), key=lambda event: event.seq)


async def _write(socket: WebSocket, registry: Registry, *, follower: Follower, past: list[Event]) -> None:
    shown: dict[str, JobStatus] = {}
    due_s = 0.0
    with suppress(WebSocketDisconnect, RuntimeError):  # the other side has gone: reading notices as well
        for event in past:
            await _send(socket, StreamItem(event=event))
        while not follower.overrun:
            now_s = registry.clock.monotonic()
            if now_s >= due_s:
                due_s = now_s + _STATUS_EVERY_S
                await _send_statuses(socket, registry, job=follower.job, shown=shown)
            next_event = await follower.next(max(0.0, due_s - now_s))
            if next_event is not None:
                await _send(socket, StreamItem(event=next_event))
        await socket.close(_TRY_LATER, "too slow in reading; connect again with the last seq")


async def _send_statuses(
    socket: WebSocket, registry: Registry, *, job: str | None, shown: dict[str, JobStatus]
) -> None:
    for name, known in list(registry.jobs.items()):
        if job not in (None, name):
            continue
        status = known.status()
        if shown.get(name) != status:
            shown[name] = status
            await _send(socket, StreamItem(status=status))


async def _send(socket: WebSocket, item: StreamItem) -> None:
    await socket.send_text(encode(item, limit_bytes=MAX_ANSWER_BYTES).decode())
