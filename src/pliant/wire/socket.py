"""A WebSocket to the coordinator that outlives the coordinator: used by workers and agents, from plain threads.

Three daemon threads. One connects, says hello, and hands incoming messages to a callback; when the connection breaks it
connects again, forever, to wherever the coordinator is by then. One sends. One pings, and cuts a connection over which
no answer comes (half-open: the other machine or what lies between is gone, and nobody has said so); it also says a word
now and then when nothing else was said, so that silence means something.

A message leaves the queue only when the coordinator says ``Taken``: then it was handled, and what it changed is in the
journal. What was under way when a connection broke, or when the coordinator died, is sent again, in order, on the next
connection. So messages may arrive twice, and the coordinator takes that. One thing is lost on purpose: what the
coordinator closes the connection for (too large a message, too many refused, too slow in reading), and with it whatever
was sent in the same breath. :meth:`ControlSocket.send` refuses too large a message, so that it never gets that far.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Generic, TypeVar, cast

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from pliant.errors import ProtocolError
from pliant.timeouts import Timeouts
from pliant.wire.codec import MAX_ANSWER_BYTES, TO_WORKER, Decoder, encode
from pliant.wire.messages import Refused, Taken, WorkerProgress
from pliant.wire.server_messages import ServerProgress

Incoming = TypeVar("Incoming")

_log = logging.getLogger(__name__)
_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 1.0
_BATCH = 256
_POISON_CODES = frozenset({1003, 1007, 1008, 1009})
"""Close codes of a receiver that will never take what was just sent."""


class ControlSocket(Generic[Incoming]):
    """The worker's (or agent's) side of its conversation with the coordinator.

    Nothing here blocks or raises because the coordinator is away: training goes on, messages wait.
    """

    def __init__(
        self,
        url: str | Callable[[], str | None],
        token: str,
        hello: Callable[[], Any],
        on_message: Callable[[Incoming], None],
        *,
        decoder: Decoder[Incoming] | None = None,
    ) -> None:
        """Nothing happens before :meth:`start`.

        Args:
            url: ``ws://...``, or where to ask for it before each attempt (:func:`pliant.wire.address.workers_url`).
            token: Of :mod:`pliant.wire.token`.
            hello: Makes the first message of each connection. Called on the receiving thread.
            on_message: Called on the receiving thread for each message; an exception in it is logged, not raised.
            decoder: What may come in; default: what the coordinator says to workers.
        """
        self._timeouts = Timeouts()
        self.beat: Callable[[], Any] | None = None
        """Makes a message to send when nothing else was sent for a fifth of the patience."""
        self._said_s = time.monotonic()
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._hello = hello
        self._on_message = on_message
        self._decoder = decoder or cast("Decoder[Incoming]", TO_WORKER)
        self._queue: deque[bytes] = deque()
        self._under_way = 0
        """So many at the head of the queue were sent on this connection."""
        self._taken = 0
        """So many of this connection were handled."""
        self._connection: ClientConnection | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._receive_forever, name="pliant-control-receive", daemon=True),
            threading.Thread(target=self._send_forever, name="pliant-control-send", daemon=True),
            threading.Thread(target=self._watch_forever, name="pliant-control-watch", daemon=True),
        ]

    def start(self) -> None:
        """Begin to connect, in the background: call it once whatever the callbacks use is in its place."""
        for thread in self._threads:
            thread.start()

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._connection is not None

    def set_patience(self, patience_s: float) -> None:
        """What the user chose, as soon as it is known; until then it is the default."""
        self._timeouts = Timeouts(patience_s)
        connection = self._connection
        if connection is not None:
            self._tune(connection)

    def send(self, message: Any) -> None:
        """Queue ``message``; returns at once, from any thread. Ignored after :meth:`close`.

        Raises:
            ProtocolError: It is too large to ever be taken; nothing was queued.
        """
        data = encode(message)
        with self._changed:
            # Progress is only for the status: an old one is worth nothing to a coordinator that comes back.
            if self._connection is None and isinstance(message, WorkerProgress | ServerProgress):
                return
            if not self._stop.is_set():
                self._said_s = time.monotonic()
                self._queue.append(data)
                self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until the coordinator has handled all that was queued; False if ``timeout_s`` was too short."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue or self._stop.is_set(), timeout_s)

    def close(self, flush_s: float = 2.0) -> None:
        """Wait up to ``flush_s`` for queued messages to arrive, then disconnect for good. May be called twice."""
        self.flush(flush_s)
        with self._changed:
            self._stop.set()
            connection = self._connection
            self._changed.notify_all()
        if connection is not None:
            connection.close()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(timeout=2.0)

    # ------------------------------------------------------------ receiving thread

    def _receive_forever(self) -> None:
        delay_s = _FIRST_DELAY_S
        while not self._stop.is_set():
            url = self._url if isinstance(self._url, str) else self._url()
            if url is not None and self._converse(url):
                delay_s = _FIRST_DELAY_S
            self._stop.wait(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _converse(self, url: str) -> bool:
        """One connection, until it ends. True if it stood at all."""
        stood = False
        try:
            with connect(
                url,
                additional_headers=self._headers,
                proxy=None,
                compression=None,
                open_timeout=self._timeouts.pong_s,
                close_timeout=min(1.0, self._timeouts.pong_s),
                max_size=MAX_ANSWER_BYTES,
                ping_interval=None,
            ) as connection:
                self._tune(connection)
                connection.send(encode(self._hello()).decode())
                stood = True
                self._attach(connection)
                for data in connection:
                    self._deliver(data)
        except ConnectionClosed as error:
            code = None if error.rcvd is None else error.rcvd.code
            _log.info("connection to the coordinator closed: %s", error)
            if code in _POISON_CODES:
                self._drop_under_way()
        except (OSError, WebSocketException) as error:
            _log.info("no connection to the coordinator: %r", error)
        finally:
            self._attach(None)
        return stood

    def _tune(self, connection: ClientConnection) -> None:
        """Neither may sending block for ever: the coordinator always reads, so its window is never full for long."""
        limit_ms = int(1000 * (self._timeouts.ping_s + self._timeouts.pong_s)) + 1
        with contextlib.suppress(OSError):
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)

    def _attach(self, connection: ClientConnection | None) -> None:
        with self._changed:
            self._connection = None if self._stop.is_set() else connection
            self._under_way = self._taken = 0
            self._changed.notify_all()
        if connection is not None and self._stop.is_set():
            connection.close()

    def _on_taken(self, count: int) -> None:
        with self._changed:
            for _ in range(min(count - self._taken, self._under_way)):
                self._queue.popleft()
                self._under_way -= 1
                self._taken += 1
            self._changed.notify_all()

    def _drop_under_way(self) -> None:
        with self._changed:
            if self._under_way:
                _log.warning("dropped %d message(s) that the coordinator does not take", self._under_way)
            for _ in range(self._under_way):
                self._queue.popleft()
            self._under_way = 0
            self._changed.notify_all()

    def _deliver(self, data: bytes | str) -> None:
        try:
            message = self._decoder.decode(data)
        except ProtocolError:
            _log.exception("the coordinator sent something unknown; is it of another version?")
            return
        if isinstance(message, Taken):
            self._on_taken(message.count)
            return
        if isinstance(message, Refused):
            _log.warning("the coordinator refused a message: %s", message.reason)
            return
        try:
            self._on_message(message)
        except Exception:
            # The connection serves the whole process; one broken handler must not end it.
            _log.exception("handling %s failed", type(message).__name__)

    # ------------------------------------------------------------ sending thread

    def _send_forever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stop.is_set() or (self._connection and self._unsent()))
                if self._stop.is_set():
                    return
                connection = self._connection
                batch = list(islice(self._queue, self._under_way, self._under_way + _BATCH))
                self._under_way += len(batch)
            if connection is not None and not _send_batch(connection, batch):
                self._await_other_connection(connection)

    def _unsent(self) -> int:
        return len(self._queue) - self._under_way

    def _await_other_connection(self, old: ClientConnection) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or self._connection is not old)

    # ------------------------------------------------------------ watching thread

    def _watch_forever(self) -> None:
        pinged: ClientConnection | None = None
        pong: threading.Event | None = None
        pinged_s = 0.0
        while not self._stop.wait(self._timeouts.ping_s / 4):
            now_s, connection, times = time.monotonic(), self._connection, self._timeouts
            if connection is None:
                continue
            if self.beat is not None and now_s - self._said_s >= times.beat_s:
                self.send(self.beat())
            if connection is not pinged or pong is None or pong.is_set():
                if connection is not pinged or now_s - pinged_s >= times.ping_s:
                    pinged, pinged_s, pong = connection, now_s, _ping(connection)
            elif now_s - pinged_s > times.pong_s:
                _log.info("no answer from the coordinator for %.1f s; connecting anew", now_s - pinged_s)
                pong = None
                _cut(connection)


def _ping(connection: ClientConnection) -> threading.Event | None:
    """Set when the answer is here; None: the connection is broken, which the receiving thread notices."""
    try:
        return connection.ping()
    except (OSError, WebSocketException):
        return None


def _cut(connection: ClientConnection) -> None:
    """End the connection without a word: nobody would answer it."""
    with contextlib.suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that is blocked in sending
    connection.close_socket()


def _send_batch(connection: ClientConnection, batch: list[bytes]) -> bool:
    """False: the connection is broken."""
    try:
        for data in batch:
            connection.send(data.decode())
    except (OSError, WebSocketException):
        return False
    return True
