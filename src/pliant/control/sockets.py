"""The WebSockets of workers, servers and agents: frames in and out, nothing decided here.

A frame that is not understood, or not allowed now, is answered with ``Refused`` and ignored; after 20 of them on one
connection it is closed. No frame ever ends more than its own connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from pliant.control.inputs import (
    AgentDisconnected,
    AgentSaid,
    Input,
    ServerConnected,
    ServerDisconnected,
    ServerSaid,
    WorkerConnected,
    WorkerDisconnected,
    WorkerSaid,
)
from pliant.control.job import Job
from pliant.control.links import ProcessRecord
from pliant.control.registry import Registry
from pliant.errors import ProtocolError
from pliant.wire.agent_messages import AgentHello, AgentToCoordinator
from pliant.wire.codec import FROM_AGENT, FROM_SERVER, FROM_WORKER, MAX_ANSWER_BYTES, Decoder, encode
from pliant.wire.message import Message
from pliant.wire.messages import Refused, Retire, Taken, WorkerHello
from pliant.wire.server_messages import ServerHello

_log = logging.getLogger(__name__)
Incoming = TypeVar("Incoming")
_HELLO_S = 10.0
_MOST_REFUSALS = 20
_LONGEST_QUEUE = 10_000
_TAKEN_S = 0.02
"""Messages that come within so many seconds are acknowledged together."""
_NORMAL, _POLICY, _TRY_LATER = 1000, 1008, 1013


class SocketLink:
    """A :class:`~pliant.control.links.Link` over a WebSocket: a queue and the task that empties it."""

    def __init__(self, socket: WebSocket) -> None:
        """``socket`` has been accepted. Run :meth:`write` in a task."""
        self._socket = socket
        self._queue: asyncio.Queue[Message | tuple[int, str]] = asyncio.Queue(_LONGEST_QUEUE)
        self._closing = False
        self._taken = self._taken_said = 0

    def send(self, message: Message) -> None:
        """Queue ``message``; a receiver that is 10,000 messages behind is disconnected."""
        if not self._closing:
            try:
                self._queue.put_nowait(message)
            except asyncio.QueueFull:
                self._queue.get_nowait()
                self.close(_TRY_LATER, "too slow in reading")

    def send_taken(self, count: int) -> None:
        """Say that so many messages were handled: soon, and once for several."""
        if self._taken == self._taken_said:
            asyncio.get_running_loop().call_later(_TAKEN_S, self._say_taken)
        self._taken = count

    def _say_taken(self) -> None:
        self._taken_said = self._taken
        self.send(Taken(self._taken))

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued has been sent."""
        if not self._closing and not self._queue.full():
            self._closing = True
            self._queue.put_nowait((code, reason))

    async def write(self) -> None:
        """Send what is queued until the connection is closed."""
        with suppress(WebSocketDisconnect, RuntimeError):  # the other side has gone: reading notices as well
            while True:
                item = await self._queue.get()
                if isinstance(item, tuple):
                    # A close frame takes at most 123 bytes of reason.
                    await self._socket.close(item[0], item[1].encode()[:120].decode(errors="ignore"))
                    return
                await self._socket.send_text(_text(item))


_newest: tuple[Message, str] | None = None


def _text(message: Message) -> str:
    """As JSON. A generation is announced to all its members with one message, which is long: it is made once."""
    global _newest  # noqa: PLW0603 - remembers one message, whoever sends it
    if _newest is None or _newest[0] is not message:
        _newest = message, encode(message, limit_bytes=MAX_ANSWER_BYTES).decode()
    return _newest[1]


class Conversation(Generic[Incoming]):
    """One connection of a worker, a server or an agent: typed messages, refusals, the writing task."""

    def __init__(self, socket: WebSocket, decoder: Decoder[Incoming], registry: Registry) -> None:
        """``socket`` has been accepted."""
        self.link = SocketLink(socket)
        self._socket = socket
        self._decoder = decoder
        self._registry = registry
        self._refusals = 0

    async def hello(self, kind: type[Incoming]) -> Incoming | None:
        """The first message; None if it is another one, or none in time: the connection is closed then."""
        try:
            async with asyncio.timeout(_HELLO_S):
                message = self._decoder.decode(await self._receive())
            if isinstance(message, kind):
                return message
            raise ProtocolError(f"the first message must be {kind.__name__}, not {type(message).__name__}")
        except ProtocolError as error:
            self.refuse(str(error))
            self.link.close(_POLICY, str(error))
        except TimeoutError:
            self.link.close(_POLICY, f"no {kind.__name__} within {_HELLO_S:g} s")
        return None

    async def listen(self, take: Callable[[Incoming], None]) -> None:
        """Hand each message to ``take`` until the connection ends or too much was refused; say what was handled."""
        count = 0
        while self._refusals < _MOST_REFUSALS:
            data = await self._receive()
            try:
                take(self._decoder.decode(data))
            except ProtocolError as error:
                self.refuse(str(error))
            except Exception:
                _log.exception("handling a message failed; the connection goes on")
                self.refuse("internal error in the coordinator; its log has the details")
            count += 1
            self.link.send_taken(count)
            # Frames that are here already are returned without a pause: let others have a turn.
            await asyncio.sleep(0)
        self.link.close(_POLICY, f"{self._refusals} messages refused")

    async def _receive(self) -> bytes | str:
        event = await self._socket.receive()
        if event["type"] != "websocket.receive":
            raise WebSocketDisconnect(event.get("code", _NORMAL))
        text, data = event.get("text"), event.get("bytes")
        return str(text) if text is not None else bytes(data or b"")

    def refuse(self, reason: str) -> None:
        """Tell the other side, and count."""
        self._refusals += 1
        self._registry.refused_messages += 1
        _log.warning("refused a message: %s", reason)
        self.link.send(Refused(reason[:1000]))


@dataclass(frozen=True)
class _Speaker:
    """What one kind of process says hello with, and the inputs that its connection makes."""

    decoder: Decoder[Any]
    hello: type[Any]
    connected: Callable[[Any], Input]
    said: Callable[[str, Any], Input]
    disconnected: Callable[[str], Input]


_WORKER = _Speaker(FROM_WORKER, WorkerHello, WorkerConnected, WorkerSaid, WorkerDisconnected)
_SERVER = _Speaker(FROM_SERVER, ServerHello, ServerConnected, ServerSaid, ServerDisconnected)


async def serve_worker(socket: WebSocket) -> None:
    """WebSocket ``/v1/workers``."""
    await _serve_process(socket, _WORKER)


async def serve_server(socket: WebSocket) -> None:
    """WebSocket ``/v1/servers``."""
    await _serve_process(socket, _SERVER)


async def _serve_process(socket: WebSocket, speaker: _Speaker) -> None:
    registry: Registry = socket.app.state.registry
    conversation: Conversation[Any] = Conversation(socket, speaker.decoder, registry)

    async def talk() -> None:
        hello = await conversation.hello(speaker.hello)
        if hello is None:
            return
        job = registry.live(hello.job)
        record = None if job is None else _admit(registry, job, speaker.connected(hello), conversation)
        if job is None:
            conversation.link.send(Retire(f"the coordinator knows no running job {hello.job[:100]!r}"))
        if job is None or record is None:
            conversation.link.close(_NORMAL, "not wanted")
            return
        try:
            await conversation.listen(lambda message: _said(registry, job, speaker.said(record.name, message)))
        finally:
            if record.link is conversation.link:  # else a newer connection of the same process has replaced it
                registry.take(job, speaker.disconnected(record.name), link=conversation.link)

    await _serve(socket, conversation.link, talk, registry)


def _said(registry: Registry, job: Job, item: Input) -> None:
    registry.take(job, item)


def _admit(registry: Registry, job: Job, hello: Input, conversation: Conversation[Any]) -> ProcessRecord | None:
    try:
        return registry.take(job, hello, link=conversation.link)
    except ProtocolError as error:
        conversation.refuse(str(error))
        return None


async def serve_agent(socket: WebSocket) -> None:
    """WebSocket ``/v1/agents``."""
    registry: Registry = socket.app.state.registry
    conversation: Conversation[AgentToCoordinator] = Conversation(socket, FROM_AGENT, registry)

    async def talk() -> None:
        hello = await conversation.hello(AgentHello)
        if not isinstance(hello, AgentHello):
            return
        try:
            registry.agent_arrived(hello, conversation.link)
        except ProtocolError as error:
            conversation.refuse(str(error))
            conversation.link.close(_POLICY, str(error))
            return

        def take(message: AgentToCoordinator) -> None:
            job = registry.live(hello.job)  # looked up each time: the agent may be earlier than its job
            if job is None or job.agent.link is not conversation.link:
                raise ProtocolError("this agent has no job yet")
            registry.take(job, AgentSaid(message))

        try:
            await conversation.listen(take)
        finally:
            registry.agent_left(hello, conversation.link)
            job = registry.live(hello.job)
            if job is not None and job.agent.link is conversation.link:
                registry.take(job, AgentDisconnected(), link=conversation.link)

    await _serve(socket, conversation.link, talk, registry)


async def _serve(
    socket: WebSocket, link: SocketLink, talk: Callable[[], Coroutine[None, None, None]], registry: Registry
) -> None:
    """Run a conversation with its writing task, and end both in order."""
    await socket.accept()
    registry.open_sockets += 1
    writing = asyncio.create_task(link.write())
    try:
        with suppress(WebSocketDisconnect):
            await talk()
            link.close(_NORMAL, "over")
            async with asyncio.timeout(_HELLO_S):
                await asyncio.shield(writing)
    except TimeoutError:
        _log.info("a connection did not take its last messages")
    finally:
        registry.open_sockets -= 1
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
