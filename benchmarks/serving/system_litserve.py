"""LitServe: a fixed number of inference workers behind as many HTTP processes."""

from __future__ import annotations

from benchmarks.peers.processes import Unit, environment, run_python
from benchmarks.serving.base import Server, System
from benchmarks.serving.order import Order


class LitServer(Server):
    """A script with ``LitServer.run``."""

    def start(self, order: Order) -> None:
        """A new process."""
        self.end()
        env = environment(**order.variables(), LITSERVE_TUNED=self.options["tuned"])
        command = run_python("-m", "benchmarks.serving.server_litserve", str(self.port))
        self.units.append(Unit(command, env, self.log()))


FIXED = "the number of workers is fixed (workers_per_device)"
SHARED = {
    "workers": "workers_per_device=N for N replicas, as many HTTP processes (num_api_servers, its default)",
    "batching": "max_batch_size=32 (kills: 8), batch_timeout=0.001: with 0.0, its default, the worker polls without a "
    "pause and answers less",
}
SYSTEMS = (
    System(
        name="litserve",
        server=LitServer,
        packages=("litserve",),
        settings={
            **SHARED,
            "fast_queue": "True (0.2.19 hands it on under a name that its TransportConfig ignores: nothing changes)",
            "restart_workers": "True",
        },
        options={"tuned": "yes"},
        lacks={"burst": FIXED, "zero": FIXED},
    ),
    System(
        name="litserve-defaults",
        server=LitServer,
        packages=("litserve",),
        settings={**SHARED, "fast_queue": "False", "restart_workers": "False"},
        options={"tuned": "no"},
        most={"kill": 3},
        variant=True,
        reported=("kill",),
    ),
)
