"""Plain DistributedDataParallel: the yardstick for steps. It knows no change of workers."""

from __future__ import annotations

from benchmarks.peers.base import HERE, Job, System
from benchmarks.peers.processes import Unit, environment, free_port, run_python


class DdpJob(Job):
    """One process for each rank."""

    def start(self, workers: int) -> None:
        """Begin with so many."""
        shared = {"WORLD_SIZE": str(workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        command = run_python(str(HERE / "train_ddp.py"), *self.work.words(self.books))
        self.units = [Unit(command, environment(RANK=str(n), **shared), self.log()) for n in range(workers)]

    def grow(self) -> None:
        """Not possible."""
        raise NotImplementedError("plain DDP has no notion of joining")


SYSTEMS = (
    System(
        name="ddp",
        job=DdpJob,
        script="train_ddp.py",
        packages=("torch",),
        settings={"as": "the PyTorch DDP tutorial: DistributedSampler, Gloo, batch / world size for each worker"},
        elastic=False,
    ),
)
