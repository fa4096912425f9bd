"""Connections that break in the middle of letters: what arrived is a beginning, and both ends know of the break."""

import contextlib
import random
import re
import select
import socket
import threading

import pytest
from post_kit import check_connections, note


class Breaker:
    """Passes bytes on between clients and a server's port, and cuts each connection after a number of them."""

    def __init__(self, port, seed):
        self._port, self._random = port, random.Random(seed)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self.cuts = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _run(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            with near, socket.create_connection(("127.0.0.1", self._port)) as far, contextlib.suppress(OSError):
                self._pass_on(near, far, self._random.randint(1000, 400_000))
            self.cuts += 1

    def _pass_on(self, near, far, left):
        """Until ``left`` bytes have passed, or an end closes, or this is closed."""
        while left > 0:
            ready, _, _ = select.select([near, far, self._server], [], [])
            if self._server in ready:
                return
            for sock in ready:
                part = sock.recv(min(left, 10_000))
                if not part:
                    return
                (far if sock is near else near).sendall(part)
                left -= len(part)


@pytest.mark.parametrize("seed", range(3))
def test_what_arrives_before_a_connection_breaks_is_a_beginning(make_lab, seed):
    lab = make_lab("tcp")
    server, worker = lab.post("s1"), lab.post("w1", listens=False)
    rng = random.Random(seed)
    port = int(re.search(r":(\d+)$", server.post.endpoint)[1])
    sent = {"w1": 0, "s1": 0}
    with contextlib.closing(Breaker(port, seed)) as breaker:
        worker.post.connect("s1", breaker.endpoint)

        def busy():
            for _ in range(10):
                frames = [bytes(rng.choice([0, 10, 1000, 70_000])) for _ in range(rng.randint(0, 3))]
                sent["w1"] += worker.post.send("s1", note(str(sent["w1"])), frames) is not None
                sent["s1"] += server.post.answer("w1", note(str(sent["s1"])), frames) is not None
            return len(server.losses("w1")) >= 10 and len(worker.losses("s1")) >= 10

        lab.until(busy)
    assert breaker.cuts >= 10
    for desk, peer in ((server, "w1"), (worker, "s1")):
        arrived = check_connections(desk, peer)
        assert 0 < len(arrived) < sent[peer], "nothing was lost: the test shows nothing"
