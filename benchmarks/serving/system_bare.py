"""One FastAPI + uvicorn process, or several behind one port: the yardstick."""

from __future__ import annotations

from benchmarks.peers.processes import Unit, environment
from benchmarks.serving.base import BIN, Server, System
from benchmarks.serving.order import Order


class BareServer(Server):
    """``uvicorn --workers N``."""

    def start(self, order: Order) -> None:
        """A new process."""
        self.end()
        command = [
            str(BIN / "uvicorn"),
            "benchmarks.serving.server_bare:app",
            "--host=127.0.0.1",
            f"--port={self.port}",
        ]
        command += [f"--workers={order.replicas}", "--log-level=warning", "--no-access-log"]
        self.units.append(Unit(command, environment(**order.variables()), self.log()))


SYSTEMS = (
    System(
        name="bare",
        server=BareServer,
        packages=("fastapi", "uvicorn", "uvloop", "httptools"),
        batches=False,
        settings={
            "uvicorn": "uvicorn[standard] (uvloop, httptools), no access log, --workers N for N replicas",
            "model": "computed in the `async` route: there is nothing else to wait for",
        },
        lacks={"burst": "a fixed number of processes", "zero": "a fixed number of processes"},
    ),
)
