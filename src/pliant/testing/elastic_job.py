"""The faults: real signals to real processes of a running job."""

from __future__ import annotations

import os
import signal

from pliant.testing.processes import is_alive, is_stopped
from pliant.testing.waiting import wait_until
from pliant.testing.watched_job import WatchedJob
from pliant.wire.api import JobStatus, MisbehaveRequest

AGENT = "pliant.backends.agent"


class ElasticJob(WatchedJob):
    """One running job, and everything that can happen to it.

    Workers are named ``"w1"``, ``"w2"``, ... in the order in which they were started, parameter servers ``"s1"``,
    ``"s2"``, ...; a name is never used again. What is said here of workers goes for servers as well, except for ranks.
    """

    def kill(self, *workers: str, rank: int | None = None) -> list[str]:
        """SIGKILL to some workers at once, by name, or to the one that has a rank now; returns their names. Blocking.

        Returns once the processes are gone and the coordinator, if one answers, knows of it. What is left: the
        survivors finish the step in flight with the lost shards dealt out to them, and replacements are on their way,
        as the wanted number of workers has not changed.
        """
        names = self._named(workers, rank)
        pids = {name: self.signal(name, signal.SIGKILL) for name in names}
        for name, pid in pids.items():
            self._wait_gone(name, pid)
        return names

    def kill_all(self) -> list[str]:
        """SIGKILL to every worker that exists. Without a checkpoint the job is lost: ``end(4)``."""
        status = self.wait(lambda status: status, "the job exists")
        return self.kill(*(worker.worker for worker in status.workers if worker.pid))

    def hang(self, worker: str) -> None:
        """SIGSTOP: the process stays, its connections too, and nothing of it moves. Returns once it stands still.

        The others finish what they can without it, and wait.
        """
        pid = self.signal(worker, signal.SIGSTOP)
        wait_until(lambda: is_stopped(pid), f"{worker} (pid {pid}) stands still", deadline_s=self.lab.deadline_s)

    def wake(self, worker: str) -> None:
        """SIGCONT: it goes on where it was stopped. Without effect on one that is not stopped."""
        self.signal(worker, signal.SIGCONT)

    def leave(self, worker: str) -> None:
        """SIGTERM, as from a spot notice: the worker leaves at a step boundary. Returns once its process is gone.

        One worker less is wanted from then on, but never fewer than the minimum: then a replacement comes first.
        """
        self._wait_gone(worker, self.signal(worker, signal.SIGTERM))

    def scale_servers(self, servers: int) -> None:
        """Ask for another number of parameter servers; returns at once. ``wait_servers`` waits until they are there."""
        self.lab.ask(lambda client: client.scale(self.name, servers=servers))

    def scale(self, workers: int) -> None:
        """Ask for another number of workers; returns at once. ``wait_workers`` waits until they are there."""
        self.lab.ask(lambda client: client.scale(self.name, workers))

    def slow(self, worker: str, *, factor: float) -> None:
        """From now on the worker takes ``factor`` times as long for each shard; 1 ends it. Returns at once.

        It is no fault: nobody is expelled for it, and not a bit changes.
        """
        self._misbehave(MisbehaveRequest(worker, slow=factor))

    def isolate(self, worker: str) -> None:
        """No byte moves any more on any connection of the worker, nor is one closed, as if its cable were pulled.

        Returns at once. The process lives on; the others find out by its silence, and go on without it.
        """
        self._misbehave(MisbehaveRequest(worker, isolated=True))

    def kill_coordinator(self) -> int:
        """SIGKILL to the coordinator; returns its pid once it is gone. Training goes on.

        The job's agent starts another one, which takes the job up where it was. Calls that find no coordinator
        meanwhile fail with :class:`~pliant.errors.CoordinatorError`; the waits wait on.
        """
        return self.lab.kill_coordinator()

    def kill_agent(self) -> int:
        """SIGKILL to the process that starts the workers and sees them end; returns its pid once it is gone.

        Training goes on. The coordinator starts another one, which takes the workers over.
        """
        agents = [pid for pid, words in self.processes().items() if AGENT in words]
        if len(agents) != 1:
            raise AssertionError(f"the job {self.name} has {len(agents)} agents: {agents}")
        os.kill(agents[0], signal.SIGKILL)
        wait_until(lambda: not is_alive(agents[0]), f"the agent (pid {agents[0]}) is gone")
        return agents[0]

    def signal(self, worker: str, number: int) -> int:
        """Send any signal to a worker's or server's process; returns its pid."""
        pid = self.process_of(worker)
        os.kill(pid, number)
        return pid

    def _misbehave(self, asked: MisbehaveRequest) -> None:
        self.process_of(asked.worker)  # it has to be there
        self.lab.ask(lambda client: client.misbehave(self.name, asked))

    def _named(self, workers: tuple[str, ...], rank: int | None) -> list[str]:
        if bool(workers) == (rank is not None):
            raise TypeError('name the workers, job.kill("w2"), or give one rank, job.kill(rank=0)')
        if rank is None:
            return list(workers)

        def look(status: JobStatus) -> str | None:
            return next((each.worker for each in status.workers if each.rank == rank), None)

        return [self.wait(look, f"a worker has rank {rank}")]

    def _wait_gone(self, worker: str, pid: int) -> None:
        wait_until(lambda: not is_alive(pid), f"{worker} (pid {pid}) is gone", deadline_s=self.lab.deadline_s)

        def known() -> bool:
            status = self.status()
            if status is None:
                return True
            return worker not in {*(each.worker for each in status.workers), *(each.server for each in status.servers)}

        wait_until(known, f"the coordinator knows that {worker} is gone", deadline_s=self.lab.deadline_s)
