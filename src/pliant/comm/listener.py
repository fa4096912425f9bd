"""A worker's door: accepts mesh connections for its whole life, and forms groups from them.

Of two members the younger (higher worker number) connects and the older accepts, so every pair has exactly one
connection per generation. Connections that come before this worker has heard of their generation wait here.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence

from pliant.comm import handshake
from pliant.comm.mesh import MeshGroup
from pliant.errors import ConnectionLostError, GenerationOverError, ProtocolError
from pliant.ids import WorkerId, worker_number
from pliant.timeouts import Timeouts
from pliant.wire.messages import Member

MAX_STRANGERS = 64
LOOK_S = 0.5


class MeshListener:
    """Listens on ``host`` (port chosen by the kernel); ``port`` says which."""

    def __init__(self, *, job: str, worker: str, key: bytes, host: str = "127.0.0.1") -> None:
        self.job, self.worker, self.host = job, worker, host
        self.timeouts = Timeouts()
        """Replaced once the user's choice is known."""
        self._key = key
        self._server = socket.create_server((host, 0), backlog=1024)
        self.port: int = self._server.getsockname()[1]
        self._waiting: dict[tuple[int, str], socket.socket] = {}
        self._changed = threading.Condition()
        self._strangers = threading.BoundedSemaphore(MAX_STRANGERS)
        self._closed = False
        threading.Thread(target=self._accept_forever, name="pliant-mesh", daemon=True).start()

    def form(
        self,
        generation: int,
        members: Sequence[Member],
        *,
        timeout_s: float,
        cancelled: Callable[[], bool] = lambda: False,
        missing: set[str] | None = None,
    ) -> MeshGroup:
        """Connect to all members of a generation. Blocking; any thread.

        Args:
            generation: its number.
            members: all of them, this worker included.
            timeout_s: for each of them.
            cancelled: asked now and then.
            missing: kept up to date: the members that are not connected yet, for other threads to read.

        Raises:
            ConnectionLostError: a member could not be reached or did not come within ``timeout_s``.
            GenerationOverError: ``cancelled()`` became true. Connections made so far are closed in both cases.
        """
        rank = next(member.rank for member in members if member.worker == self.worker)
        mine = worker_number(WorkerId(self.worker))
        sockets: dict[int, socket.socket] = {}
        missing = set() if missing is None else missing
        missing.update(member.worker for member in members if member.rank != rank)
        try:
            for member in members:
                if worker_number(WorkerId(member.worker)) < mine:
                    sockets[member.rank] = self._connect(generation, member, timeout_s)
                    missing.discard(member.worker)
            for member in members:
                if worker_number(WorkerId(member.worker)) > mine:
                    sockets[member.rank] = self._await(generation, member, timeout_s, cancelled)
                    missing.discard(member.worker)
        except BaseException:
            for sock in sockets.values():
                sock.close()
            raise
        self._forget_before(generation)
        names = {member.rank: member.worker for member in members}
        return MeshGroup(generation, rank, sockets, names=names, timeouts=self.timeouts)

    def poke(self) -> None:
        """Have a waiting ``form`` look at ``cancelled`` again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stop listening and drop connections that nobody fetched."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._forget_before(1 << 62)

    def _connect(self, generation: int, member: Member, timeout_s: float) -> socket.socket:
        hello = handshake.MeshHello(
            job=self.job,
            generation=generation,
            sender=self.worker,
            receiver=member.worker,
            nonce=handshake.new_nonce(),
        )
        sock: socket.socket | None = None
        try:
            sock = socket.create_connection((member.host, member.port), timeout=timeout_s)
            handshake.introduce(sock, self._key, hello)
        except (OSError, ProtocolError) as error:
            if sock is not None:
                sock.close()
            raise ConnectionLostError(
                f"{member.worker} at {member.host}:{member.port} does not answer: {error}", peer=member.worker
            ) from error
        return sock

    def _await(self, generation: int, member: Member, timeout_s: float, cancelled: Callable[[], bool]) -> socket.socket:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (generation, member.worker) not in self._waiting:
                if cancelled():
                    raise GenerationOverError(f"generation {generation} was called off")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ConnectionLostError(
                        f"{member.worker} did not connect within {timeout_s:g} s", peer=member.worker
                    )
                self._changed.wait(min(left, LOOK_S))
            return self._waiting.pop((generation, member.worker))

    def _accept_forever(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            if not self._strangers.acquire(blocking=False):
                sock.close()
                continue
            threading.Thread(target=self._welcome, args=(sock,), name="pliant-hello", daemon=True).start()

    def _welcome(self, sock: socket.socket) -> None:
        try:
            sock.settimeout(self.timeouts.handshake_s)
            hello = handshake.accept(sock, self._key)
            if hello.job != self.job or hello.receiver != self.worker:
                raise ProtocolError(f"meant for {hello.receiver} of job {hello.job}")
        except (OSError, ProtocolError):
            sock.close()
            return
        finally:
            self._strangers.release()
        with self._changed:
            dropped = self._waiting.pop((hello.generation, hello.sender), None)
            if self._closed:  # during the handshake: nobody will fetch it any more
                dropped = sock
            else:
                self._waiting[hello.generation, hello.sender] = sock
            self._changed.notify_all()
        if dropped is not None:
            dropped.close()

    def _forget_before(self, generation: int) -> None:
        with self._changed:
            stale = [key for key in self._waiting if key[0] < generation]
            dropped = [self._waiting.pop(key) for key in stale]
        for sock in dropped:
            sock.close()
