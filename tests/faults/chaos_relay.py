"""Stands between workers and coordinator, and does to their bytes what a bad network does."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable


class ChaosRelay:
    """Passes TCP connections on to ``port``; what it does to them may be changed at any time."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._deaf: set[socket.socket] = set()
        self.delay_s = 0.0
        self.delayed = self.swallowed = 0
        """Pieces so far."""
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, target: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    @property
    def count(self) -> int:
        """Connections so far."""
        return len(self._pairs)

    def reset(self) -> None:
        """Both ends of every connection get a reset."""
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    with contextlib.suppress(OSError):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        end.shutdown(socket.SHUT_RD)  # wakes the thread that reads
                    end.close()

    def go_deaf(self) -> None:
        """Half-open: from now on whatever comes over the connections that there are is swallowed, both ways."""
        with self._lock:
            self._deaf.update(end for pair in self._pairs for end in pair)

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        self.reset()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._behind))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                self._run(self._pump, source, sink)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source in self._deaf:
                    self.swallowed += 1
                    continue
                if self.delay_s:
                    time.sleep(self.delay_s)
                    self.delayed += 1
                sink.sendall(data)
        if source not in self._deaf:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
