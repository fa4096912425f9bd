"""Sees that a job's agent on this machine is alive, and starts another one when it is not.

The workers need no agent to train, but somebody has to see them end, to signal them and to start new ones. The new
agent adopts the workers that there are (:mod:`pliant.control.agent_desk`).
"""

from __future__ import annotations

import logging
import socket
import subprocess

from pliant.backends.launch import read_launch, start_agent
from pliant.config import Home
from pliant.control.inputs import AgentDied
from pliant.control.job import Job
from pliant.errors import ConfigError
from pliant.processes import process_state

MOST_STARTS = 3
"""Agents of one job in a row that end before they say hello: more would, too."""
_COMING_S = 10.0
"""One that an earlier coordinator started before it died itself has this long to come."""

_log = logging.getLogger(__name__)


class AgentKeeper:
    """For the jobs of one home directory. Called on the event loop, a few times a second; never blocks for long."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._node = socket.gethostname()
        self._started: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._ended: list[subprocess.Popen[bytes]] = []

    def look(self, job: Job, now_s: float) -> AgentDied | None:
        """What has become of the agent, if that is news; starts another one if it has died."""
        agent = job.agent
        if agent.link is not None or agent.pid is None or agent.node != self._node:
            if agent.link is not None:
                self._forget(job.id)
            return None
        if agent.died_s is None:
            dead = not process_state(agent.pid).exists
            return AgentDied(agent.pid, replaced=not agent.leaving and self._start(job)) if dead else None
        mine = self._started.get(job.id, [])
        if agent.leaving:
            return None
        alone = not mine and now_s - agent.died_s > _COMING_S
        if alone or (mine and len(mine) < MOST_STARTS and mine[-1].poll() is not None):
            self._start(job)
        return None

    def _start(self, job: Job) -> bool:
        try:
            launch = read_launch(self._home, job.spec.name)
            if launch.spec.launch != job.spec.launch:
                return False
            self._started.setdefault(job.id, []).append(start_agent(self._home, launch))
        except (ConfigError, OSError) as error:
            _log.error("job %s: another agent could not be started: %s", job.spec.name, error)
            return False
        return True

    def collect(self) -> None:
        """Take note of agents that have ended: whoever started a process has to, or it stays as a zombie."""
        self._ended = [process for process in self._ended if process.poll() is None]

    def _forget(self, job_id: str) -> None:
        """One has come: starts are counted anew."""
        self._ended += self._started.pop(job_id, [])
