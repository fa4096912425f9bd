"""The client of all systems: ``python -m benchmarks.serving.client``, a job on stdin, lines of JSON on stdout.

A closed loop over raw sockets with an epoll: each connection sends its request again as soon as it has the answer. The
request's bytes are made once. A line on stdin ends it: what is under way is waited for, nothing new is sent.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time

import msgspec

from benchmarks.serving.http_answer import Answer, AnswerReader, NoHttpError
from benchmarks.serving.load_records import Failure, Job, Note, Records, request_bytes

LOOK_S = 0.05
AGAIN_S = 0.02
"""After a failure, before the next try of the same connection."""


class Connection:
    """One of the concurrent requests. ``began_s``: when the request under way was sent, or its connection asked for."""

    def __init__(self, *, fresh: bool) -> None:
        self.fresh = fresh
        """Every request over a connection of its own."""
        self.socket: socket.socket | None = None
        self.reader = AnswerReader()
        self.began_s = 0.0
        self.connecting = False


class Client:
    """Runs one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._request = request_bytes(job)
        self._epoll = select.epoll()
        self._busy: dict[int, Connection] = {}
        """By descriptor: those that wait for an answer."""
        self._later: list[tuple[float, Connection]] = []
        self._records = Records()
        self._pids: set[int] = set()
        self._stopping = False

    def run(self) -> Records:
        """Until the time is over, or somebody says so."""
        job, records = self._job, self._records
        os.set_blocking(0, False)
        self._epoll.register(0, select.EPOLLIN)
        records.began_s = time.monotonic()
        tell(Note(records.began_s, "begun"))
        for number in range(job.connections):
            self._send(Connection(fresh=number < job.fresh))
        warm_end_s = records.began_s + job.warm_s
        phase_ends_s, look_s = [warm_end_s, warm_end_s + job.seconds] if job.seconds else [], 0.0
        while self._busy or self._later:
            self._take(self._epoll.poll(LOOK_S))
            now_s = time.monotonic()
            if now_s >= look_s:
                look_s = now_s + LOOK_S
                self._look(now_s, phase_ends_s)
        return records

    def _look(self, now_s: float, phase_ends_s: list[float]) -> None:
        """What time brings: the window's ends, requests that hang, connections to try again."""
        if phase_ends_s and now_s >= phase_ends_s[0]:
            phase_ends_s.pop(0)
            over = not phase_ends_s
            if over:
                self._records.window_end_s, self._stopping = now_s, True
                self._records.client_cpu_s += time.process_time()
            else:
                self._records.window_begin_s = now_s
                self._records.client_cpu_s -= time.process_time()
            tell(Note(now_s, "over" if over else "window"))
        for connection in [each for each in self._busy.values() if now_s - each.began_s > self._job.timeout_s]:
            self._fail(connection, "hung")
        due = [connection for at_s, connection in self._later if at_s <= now_s or self._stopping]
        self._later = [(at_s, connection) for at_s, connection in self._later if at_s > now_s and not self._stopping]
        for connection in due:
            self._send(connection)

    def _take(self, events: list[tuple[int, int]]) -> None:
        for descriptor, _ in events:
            if descriptor == 0:
                self._stopping = True
                self._epoll.unregister(0)
            elif (connection := self._busy.get(descriptor)) is not None:
                if connection.connecting:
                    self._connected(connection)
                else:
                    self._receive(connection)

    # ------------------------------------------------------------ one request

    def _send(self, connection: Connection) -> None:
        if self._stopping:
            self._close(connection)
            return
        connection.began_s = time.monotonic()
        if connection.socket is not None:
            self._write(connection)
            return
        connection.socket = socket.socket()
        connection.socket.setblocking(False)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connecting, connection.reader = True, AnswerReader()
        self._busy[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLOUT)
        connection.socket.connect_ex(("127.0.0.1", self._job.port))

    def _connected(self, connection: Connection) -> None:
        assert connection.socket is not None
        if connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._fail(connection, "refused")
            return
        connection.connecting = False
        self._epoll.modify(connection.socket, select.EPOLLIN)
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        assert connection.socket is not None
        try:
            sent = connection.socket.send(self._request)
        except OSError:
            self._fail(connection, "cut")
            return
        if sent != len(self._request):
            raise RuntimeError(f"{sent} of a request's {len(self._request)} bytes fit into the socket's buffer")

    def _receive(self, connection: Connection) -> None:
        assert connection.socket is not None
        try:
            data = connection.socket.recv(1 << 18)
            answer = connection.reader.feed(data) if data else None
        except (OSError, NoHttpError):
            data, answer = b"", None
        if not data:
            self._fail(connection, "cut")
        elif answer is not None:
            self._answered(connection, answer)

    def _answered(self, connection: Connection, answer: Answer) -> None:
        if answer.status != 200:
            self._fail(connection, f"status {answer.status}")
            return
        now_s = time.monotonic()
        self._records.ended_s.append(now_s)
        self._records.latency_s.append(now_s - connection.began_s)
        if self._job.pids and (pid := answer.pid) not in self._pids:
            self._pids.add(pid)
            tell(Note(now_s, "pid", pid))
        if connection.fresh or answer.closes:
            self._close(connection)
        self._send(connection)

    def _fail(self, connection: Connection, kind: str) -> None:
        now_s = time.monotonic()
        self._records.failures.append(Failure(kind, connection.began_s, now_s))
        self._close(connection)
        self._later.append((now_s + AGAIN_S, connection))

    def _close(self, connection: Connection) -> None:
        if connection.socket is not None:
            del self._busy[connection.socket.fileno()]
            connection.socket.close()
            connection.socket = None


def tell(what: msgspec.Struct) -> None:
    """A line of JSON to whoever started this."""
    os.write(1, msgspec.json.encode(what) + b"\n")


def main() -> int:
    """The process."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    records = Client(job).run()
    sys.stdout.buffer.write(msgspec.json.encode(records) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
