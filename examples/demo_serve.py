"""``make demo-serve``: train the digits, serve them to traffic that rises and falls, kill a replica, push new weights.

Every half second a line: clients, replicas, answers a second, latency, failures (none), accuracy of the answers. Exit
code 0 if every request was answered and the pushed weights answered at the end.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import msgspec
from sklearn.datasets import load_digits

from pliant.wire.service_api import ServiceStatus

EXAMPLES = Path(__file__).resolve().parent
PLIANT = (sys.executable, "-m", "pliant.cli.main")
Phase = tuple[float, int, str]
PHASES: tuple[Phase, ...] = (
    (4.0, 2, ""),
    (6.0, 48, ""),
    (4.0, 48, "kill"),
    (4.0, 48, "push"),
    (3.0, 48, ""),
    (4.0, 4, ""),
    (6.0, 0, ""),
)
"""Seconds, concurrent clients, and what is done at the beginning."""


class Traffic:
    """Clients that ask for one digit after the other, each over its own connection."""

    def __init__(self, port: int) -> None:
        images, labels = load_digits(return_X_y=True)
        self._port = port
        self._bodies = [json.dumps([[(row / 16).reshape(8, 8).tolist()]]).encode() for row in images[1500:]]
        self._labels = labels[1500:]
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.wanted = 0
        self.latencies_s: list[float] = []
        self.right = self.answered = self.failed = 0
        self.versions: set[str] = set()

    def scale(self, clients: int) -> None:
        """From now on there are so many."""
        self.wanted = clients
        while len(self._threads) < clients:
            thread = threading.Thread(target=self._ask, args=(len(self._threads),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self) -> tuple[list[float], int]:
        """Latencies since the last time, and how many of these answers were right."""
        with self._lock:
            taken = self.latencies_s, self.right
            self.latencies_s, self.right = [], 0
        return taken

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        turn = number
        while True:
            if number >= self.wanted:
                time.sleep(0.05)
                continue
            turn = (turn + 7) % len(self._bodies)
            began_s = time.monotonic()
            try:
                connection.request("POST", "/predict", self._bodies[turn], {"Content-Type": "application/json"})
                answer = connection.getresponse()
                content = answer.read()
                good = answer.status == 200
            except OSError:
                good = False
            with self._lock:
                self.answered += good
                self.failed += not good
                if good:
                    row = json.loads(content)[0]
                    self.right += row.index(max(row)) == self._labels[turn]
                    self.latencies_s.append(time.monotonic() - began_s)
                    self.versions.add(answer.headers["x-pliant-version"])


def status_of(port: int) -> ServiceStatus:
    """``GET /status``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/status")
    found = msgspec.json.decode(connection.getresponse().read(), type=ServiceStatus)
    connection.close()
    return found


def heading(text: str) -> None:
    """A line between two parts of the demo."""
    print(f"\n=== {text}", flush=True)


def train(directory: Path) -> list[Path]:
    """Two epochs, with a checkpoint in the middle of the first and at the end."""
    words = ["run", "--name", "digits", "--workers", "1:2", "--no-live", "--checkpoint-every", "8", "--keep", "9"]
    words += ["--checkpoints", str(directory), str(EXAMPLES / "digits_cnn.py"), "--epochs", "3"]
    if code := subprocess.run([*PLIANT, *words], check=False).returncode:
        raise SystemExit(code)
    return sorted(directory.glob("step-*"))


def kill_one(port: int) -> str:
    """SIGKILL to a replica that answers."""
    ready = [replica for replica in status_of(port).replicas if replica.state == "ready" and replica.pid]
    if not ready:
        return "there is no replica to kill"
    os.kill(ready[0].pid, signal.SIGKILL)
    return f"replica r{ready[0].number} (pid {ready[0].pid}) is killed"


def line_of(traffic: Traffic, port: int, since_s: float) -> str:
    """What the last half second was like."""
    latencies_s, right = traffic.take()
    status = status_of(port)
    ready = sum(replica.state == "ready" for replica in status.replicas)
    parts = [f"{traffic.wanted:3} clients", f"{ready} replicas", f"version {status.version}"]
    if len(latencies_s) > 1:
        cuts = quantiles(latencies_s, n=100)
        parts.append(f"{len(latencies_s) / since_s:5.0f} answers/s")
        parts.append(f"p50 {cuts[49] * 1e3:4.0f} ms, p99 {cuts[98] * 1e3:4.0f} ms")
        parts.append(f"{right / len(latencies_s):4.0%} right")
    return "  ".join([*parts, f"{traffic.failed} failed"])


def drive(port: int, newest: Path, phases: Sequence[Phase]) -> Traffic:
    """One phase after the other."""
    traffic = Traffic(port)
    pushing: list[subprocess.Popen[bytes]] = []
    for lasts_s, clients, what in phases:
        heading(f"{clients} clients" + {"kill": ", and a SIGKILL", "push": ", and new weights", "": ""}[what])
        traffic.scale(clients)
        if what == "kill":
            print(kill_one(port), flush=True)
        elif what == "push":  # loading takes as long as importing torch does on a busy machine
            print(f"pliant push digits --checkpoint {newest}", flush=True)
            pushing.append(subprocess.Popen([*PLIANT, "push", "digits", "--checkpoint", str(newest)]))
        end_s = time.monotonic() + lasts_s
        while time.monotonic() < end_s or any(push.poll() is None for push in pushing):
            began_s = time.monotonic()
            time.sleep(0.5)
            print(line_of(traffic, port, time.monotonic() - began_s), flush=True)
    return traffic


def serve(first: Path, newest: Path, phases: Sequence[Phase] = PHASES) -> int:
    """Serve one checkpoint, and the newer one when its phase comes; says what came of it, as an exit code too."""
    heading(f"Serving {first.name} on 0 to 3 replicas")
    words = ["serve", str(EXAMPLES / "digits_service.py"), "--name", "digits", "--replicas", "0:3", "--idle", "3"]
    serving = subprocess.Popen(
        [*PLIANT, *words, "--checkpoint", str(first), "--json"], stdout=subprocess.PIPE, text=True
    )
    with serving:
        try:
            assert serving.stdout is not None
            line = serving.stdout.readline()
            if not line:
                return 1
            port = int(json.loads(line)["url"].rpartition(":")[2])
            traffic = drive(port, newest, phases)
            status = status_of(port)
        finally:
            serving.terminate()
            serving.wait(60)
    heading("What came of it")
    print(f"{traffic.answered} answers, {traffic.failed} failures, versions {', '.join(sorted(traffic.versions))}")
    print(f"{len(status.replicas)} replicas at the end, without clients")
    good = traffic.failed == 0 and traffic.versions == {"1", "2"} and status.version == 2
    print("no request has failed" if good else "NOT as it should be: this is a bug, please report it")
    return 0 if good else 1


def main() -> int:
    """Train, then serve."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="pliant-demo-") as home:
        os.environ["PLIANT_HOME"] = home
        heading("Training the digits, with checkpoints")
        checkpoints = train(Path(home, "checkpoints"))
        subprocess.run([*PLIANT, "down", "--force"], check=False, capture_output=True)
        return serve(checkpoints[0], checkpoints[-1])


if __name__ == "__main__":
    sys.exit(main())
