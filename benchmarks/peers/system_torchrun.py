"""``torch.distributed.run --nnodes MIN:MAX``: one agent for each worker, as on machines that come and go."""

from __future__ import annotations

from benchmarks.peers.base import HERE, Job, System
from benchmarks.peers.processes import Unit, environment, free_port, run_python

TUNED = "join_timeout=60,last_call_timeout=1,close_timeout=5,keep_alive_interval=1,keep_alive_max_attempt=3"

OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


class TorchrunJob(Job):
    """The first agent hosts the rendezvous, so it is never the one that is lost."""

    port = 0

    def start(self, workers: int) -> None:
        """Begin with so many."""
        self.port = free_port()
        for _ in range(workers):
            self.grow()

    def grow(self) -> None:
        """One more agent."""
        conf = f"is_host={'false' if self.units else 'true'}"
        conf += f",{self.options['conf']}" if self.options.get("conf") else ""
        words = ["-m", "torch.distributed.run", f"--nnodes={self.least}:{self.most}", "--nproc-per-node=1"]
        words += ["--max-restarts=100", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{self.port}"]
        words += ["--rdzv-id=peers", f"--rdzv-conf={conf}", "--local-addr=127.0.0.1"]
        words += self.options.get("agent", "").split()
        own_store = {OWN_STORE: "1"} if self.options.get("own_store") else {}
        words += [str(HERE / "train_torchrun.py"), *self.work.words(self.books)]
        self.units.append(Unit(run_python(*words), environment(**own_store), self.log()))


SHARED = {
    "launcher": "--nnodes MIN:MAX --nproc-per-node 1, c10d rendezvous hosted by the first agent, which is never lost",
    "snapshot": "torch.save by rank 0 every 10 steps, renamed into place (tutorial: Fault-tolerant Training)",
    "data": "torch.distributed.elastic's ElasticDistributedSampler(start_index); batch / world size for each worker",
    "planned leave": "SIGTERM to one agent",
}
SYSTEMS = (
    System(
        name="torchrun",
        job=TorchrunJob,
        script="train_torchrun.py",
        packages=("torch",),
        settings={
            **SHARED,
            "time-outs": f"--rdzv-conf {TUNED} --monitor-interval 0.1",
            "store": f"{OWN_STORE}=1: with the shared one, its default, a trial run hung after a kill",
        },
        options={"conf": TUNED, "agent": "--monitor-interval=0.1", "own_store": "1"},
    ),
    System(
        name="torchrun-defaults",
        job=TorchrunJob,
        script="train_torchrun.py",
        packages=("torch",),
        settings={**SHARED, "time-outs": "as they come"},
        tuned=False,
    ),
)
