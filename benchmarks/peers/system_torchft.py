"""torchft: a lighthouse, and one replica group of one worker under torchrun for each worker, as its README has it."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.base import HERE, Job, System
from benchmarks.peers.processes import Unit, environment, free_port, run_python

README_FLAGS = "--min_replicas 1 --quorum_tick_ms 100 --join_timeout_ms 10000"
TUNED_FLAGS = "--min_replicas 1 --quorum_tick_ms 10 --join_timeout_ms 1000 --heartbeat_timeout_ms 500"


class TorchftJob(Job):
    """Replica group numbers are never used twice."""

    port = 0
    started = 0

    def start(self, workers: int) -> None:
        """Begin with so many."""
        self.port = free_port()
        binary = Path(sys.executable).parent / "torchft_lighthouse"
        command = [str(binary), "--bind", f"127.0.0.1:{self.port}", *self.options["lighthouse"].split()]
        self.services.append(Unit(command, environment(RUST_BACKTRACE="1"), self.log()))
        for _ in range(workers):
            self.grow()

    def grow(self) -> None:
        """One more replica group."""
        env = environment(
            TORCHFT_LIGHTHOUSE=f"http://127.0.0.1:{self.port}",
            REPLICA_GROUP_ID=str(self.started),
            NUM_REPLICA_GROUPS=str(self.most),
            HEARTBEAT_MS=self.options["heartbeat_ms"],
        )
        self.started += 1
        words = ["-m", "torch.distributed.run", f"--master-port={free_port()}", "--nnodes=1", "--nproc-per-node=1"]
        words += [str(HERE / "train_torchft.py"), *self.work.words(self.books)]
        self.units.append(Unit(run_python(*words), env, self.log()))

    @property
    def victims(self) -> list[Unit]:
        """Any."""
        return self.units


SHARED = {
    "script": "its train_ddp.py: ProcessGroupGloo(5 s), Manager(min_replica_size=1, timeout 30 s), PGTransport(10 s)",
    "data": "torchft.DistributedSampler over a fixed number of replica groups, torchdata's StatefulDataLoader",
    "planned leave": "SIGTERM to one replica; it has no message for that",
}
SYSTEMS = (
    System(
        name="torchft",
        job=TorchftJob,
        script="train_torchft.py",
        packages=("torchft-nightly", "torchft", "torchdata"),
        settings={**SHARED, "lighthouse": TUNED_FLAGS, "heartbeat_interval": "50 ms"},
        options={"lighthouse": TUNED_FLAGS, "heartbeat_ms": "50"},
    ),
    System(
        name="torchft-readme",
        job=TorchftJob,
        script="train_torchft.py",
        packages=("torchft-nightly", "torchft", "torchdata"),
        settings={**SHARED, "lighthouse": README_FLAGS, "heartbeat_interval": "100 ms, its default"},
        options={"lighthouse": README_FLAGS, "heartbeat_ms": "100"},
        tuned=False,
    ),
)
