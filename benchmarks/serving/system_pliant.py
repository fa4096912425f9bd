"""Pliant: ``pliant serve``."""

from __future__ import annotations

import contextlib
import time
import urllib.request
from pathlib import Path

from benchmarks.peers.processes import Unit, environment, run_python
from benchmarks.serving.base import Server, StartError, System
from benchmarks.serving.order import Order

FILE = Path(__file__).resolve().parent / "server_pliant.py"
LOADED_LIMIT_S = 60.0
EXACT_BATCH = 8
"""Rows that every batch is padded to."""


class PliantServer(Server):
    """One service."""

    def start(self, order: Order) -> None:
        """A new service."""
        self.end()
        exact = "exact" in self.options
        batch = min(order.batch, EXACT_BATCH) if exact else order.batch
        words = ["-m", "pliant.cli.main", "serve", f"{FILE}:Served", f"--port={self.port}", f"--batch={batch}"]
        words += ["--exact"] if exact else []
        words += [f"--replicas={order.replicas}:{order.most or order.replicas}", f"--target={order.target}"]
        env = environment(**order.variables(), PLIANT_HOME=str(self.directory / "home"))
        self.units.append(Unit(run_python(*words), env, self.log()))

    def wait_until_loaded(self) -> None:
        """Until ``GET /v2/health/ready`` says so."""
        end_s = time.monotonic() + LOADED_LIMIT_S
        while time.monotonic() < end_s:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/health/ready"):
                return
            time.sleep(0.02)
        raise StartError(f"the model was not loaded within {LOADED_LIMIT_S:.0f} s: {self.tail()}")


SYSTEMS = (
    System(
        name="pliant",
        server=PliantServer,
        packages=("pliant", "uvicorn", "uvloop", "httptools"),
        settings={
            "options": "--replicas N --batch 32 (without batching: --batch 1); burst: --replicas 1:4 --target 8",
            "everything else": "its defaults",
        },
    ),
    System(
        name="pliant-exact",
        server=PliantServer,
        packages=("pliant", "uvicorn", "uvloop", "httptools"),
        settings={"options": f"--exact --batch {EXACT_BATCH} (without batching: --exact --batch 1)"},
        options={"exact": "yes"},
        variant=True,
        reported=("throughput",),
    ),
)
