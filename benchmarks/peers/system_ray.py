"""Ray Train: a head without CPUs, and one node of one CPU for each worker."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.peers.base import HERE, Job, StartError, System
from benchmarks.peers.processes import Unit, environment, free_port, run_python

RAY = str(Path(sys.executable).parent / "ray")
TUNED = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "2",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
}
STORE = "--object-store-memory=100000000"
NODE_LIMIT_S = 90.0


class RayJob(Job):
    """The last service is the driver, whose end is the job's."""

    port = 0

    def start(self, workers: int) -> None:
        """Begin with so many nodes, then the driver."""
        self.port = free_port()
        words = ["--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats"]
        words += [f"--temp-dir={self.directory / 'ray'}", "--node-ip-address=127.0.0.1"]
        self.services.append(self._node("head", words))
        self._wait_for("head")
        for number in range(workers):
            self.grow()
            self._wait_for(f"node{number}")  # nodes that start at once take each other's socket names
        env = self._environment(
            RAY_ADDRESS=f"127.0.0.1:{self.port}",
            WORKERS=f"{self.least}:{self.most}",
            RESIZE_MONITOR_S=self.options["resize_monitor_s"],
        )
        command = run_python(str(HERE / "train_ray.py"), *self.work.words(self.books))
        self.services.append(Unit(command, env, self.log()))

    def grow(self) -> None:
        """One more node."""
        words = [f"--address=127.0.0.1:{self.port}", "--num-cpus=1"]
        self.units.append(self._node(f"node{len(self.units) + len(self.gone)}", words))

    def leave(self) -> None:
        """Drain the newest node as before a preemption; Ray Train watches for that. Its processes stay to the end."""
        unit = self.units.pop()
        self.gone.append(unit)
        command = [RAY, "drain-node", f"--address=127.0.0.1:{self.port}", f"--node-id={_node_id(unit)}"]
        command += [
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=spot",
            "--deadline-remaining-seconds=10",
        ]
        self.services.insert(0, Unit(command, self._environment(), self.log()))

    @property
    def victims(self) -> list[Unit]:
        """Any."""
        return self.units

    def is_over(self) -> bool:
        """Whether the driver has ended."""
        return self.services[-1].process.poll() is not None

    def failed(self) -> bool:
        """Whether the driver has ended badly."""
        return self.is_over() and self.services[-1].process.returncode != 0

    def _environment(self, **more: str) -> dict[str, str]:
        return environment(**(TUNED if self.options["tuned"] == "yes" else {}), **more)

    def _wait_for(self, name: str) -> None:
        end_s = time.monotonic() + NODE_LIMIT_S
        log = self.directory / f"{name}.log"
        while "Ray runtime started" not in log.read_text(errors="replace"):
            if time.monotonic() > end_s:
                raise StartError(f"`ray start` of {name} was not up within {NODE_LIMIT_S:.0f} s")
            time.sleep(0.1)

    def _node(self, name: str, words: list[str]) -> Unit:
        command = [RAY, "start", "--block", STORE, "--min-worker-port=0", "--max-worker-port=0", *words]
        command += [f"--dashboard-agent-listen-port={free_port()}"]
        return Unit(command, self._environment(), self.directory / f"{name}.log")


def _node_id(unit: Unit) -> str:
    """As the raylet's own command line says it."""
    for pid in unit.pids():
        for word in Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0"):
            if word.startswith("--node_id="):
                return word.partition("=")[2]
    raise RuntimeError("no raylet with --node_id found in the node that is to leave")


SHARED = {
    "scaling": "ScalingConfig(num_workers=(MIN, MAX)), FailureConfig(max_failures=-1) (guide: Elastic training)",
    "checkpoint": "ray.train.report with a Checkpoint of rank 0 every 10 steps, on the local disk",
    "data": "prepare_data_loader of a shuffled DataLoader; batch / world size for each worker",
    "planned leave": "`ray drain-node` for preemption (guide: Handle failures and node preemption)",
}
SYSTEMS = (
    System(
        name="ray",
        job=RayJob,
        script="train_ray.py",
        packages=("ray",),
        settings={**SHARED, "time-outs": ", ".join(f"{k}={v}" for k, v in TUNED.items()), "resize monitor": "1 s"},
        options={"tuned": "yes", "resize_monitor_s": "1"},
        longer=3,
    ),
    System(
        name="ray-defaults",
        job=RayJob,
        script="train_ray.py",
        packages=("ray",),
        settings={**SHARED, "time-outs": "as they come", "resize monitor": "60 s, its default"},
        tuned=False,
        options={"tuned": "no", "resize_monitor_s": "60"},
        longer=5,
    ),
)
