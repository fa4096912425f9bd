"""Processes that the harness starts, each with a mark in its environment by which whatever came of it is found."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "PEERS_UNIT"
POLL_S = 0.02


def environment(**more: str) -> dict[str, str]:
    """This process's, one intra-op thread, the checkout importable, nothing leaves the machine."""
    fixed = {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "GLOO_SOCKET_IFNAME": "lo",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_AUTH_MODE": "disabled",  # a local `serve run` leaves a token at home that later clusters would ask for
        "PYTHONWARNINGS": "ignore",
    }
    return {**os.environ, **fixed, **more}


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Unit:
    """One process and all that descend from it: what would be lost with one machine."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.mark = uuid.uuid4().hex
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, env={**env, MARK: self.mark}, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True, cwd=ROOT,
            )  # fmt: skip

    def pids(self) -> list[int]:
        """Live processes of this unit, the started one first: by their environment, or by their session (some
        write their title over their environment).
        """
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (
                    wanted in (entry / "environ").read_bytes().split(b"\0") or _session(entry) == self.process.pid
                ):
                    found.append(int(entry.name))
        return sorted(found, key=lambda pid: (pid != self.process.pid, pid))

    def kill(self) -> None:
        """SIGKILL to all of them, as if the machine were gone."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs; returns when nothing is left."""
        end_s = time.monotonic() + 30
        while self.pids() and time.monotonic() < end_s:
            self.kill()
            self.process.poll()
            time.sleep(POLL_S)
        self.process.wait(10)


def _session(entry: Path) -> int:
    """Of a process in /proc; 0 if it has ended."""
    state, _, _, session = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:4]
    return int(session) if state != b"Z" else 0


def run_python(*words: str) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, *words]
