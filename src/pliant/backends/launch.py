"""How a job's agent is started: written down by the command that started the job, so that it can be done again.

``jobs/NAME/launch.json`` in the home directory, readable by its owner only (it holds the environment). The coordinator
uses it when the agent has died, ``pliant resume`` for a job that is over.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pliant.config import Home
from pliant.errors import ConfigError
from pliant.wire.api import JobSpec
from pliant.wire.private_file import write_private


class Launch(msgspec.Struct, frozen=True):
    """Everything that the agent's process is made from."""

    spec: JobSpec
    python: str
    directory: str
    """Working directory of the agent and of its workers."""
    environment: dict[str, str]
    entry: str | None = None
    """``module:function`` in place of the training worker; for tests."""
    preload: str = ""
    """Modules that the template imports before ``entry`` is called; for tests."""

    def command(self, home: Home) -> list[str]:
        """The agent's command line."""
        spec = self.spec
        # -P: the current directory, which may hold files named like library modules, stays out of the path.
        words = [self.python, "-P", "-m", "pliant.backends.agent", "--home", str(home.path), "--job", spec.name]
        words += ["--launch", spec.launch, "--script", spec.script, "--threads", str(spec.threads)]
        if self.entry is not None:
            words += ["--entry", self.entry, "--preload", self.preload]
        return [*words, "--", *spec.args]


def launch_here(
    spec: JobSpec, *, entry: str | None = None, preload: str = "", environment: Mapping[str, str] | None = None
) -> Launch:
    """With this process's interpreter, directory and (unless given) environment."""
    return Launch(
        spec=spec,
        python=sys.executable,
        directory=str(Path.cwd()),
        environment=dict(os.environ if environment is None else environment),
        entry=entry,
        preload=preload,
    )


def write_launch(home: Home, launch: Launch) -> None:
    """Keep it for later; readers see the old file or the new one."""
    directory = home.job(launch.spec.name)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory / "launch.json", msgspec.json.encode(launch))


def read_launch(home: Home, job: str) -> Launch:
    """The last launch of a job of this name.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    path = home.job(job) / "launch.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Launch)
    except FileNotFoundError:
        raise ConfigError(f"no job {job} was ever started in {home.path}: {path} does not exist") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"cannot read how job {job} was started: {path}: {error}") from error


def start_agent(home: Home, launch: Launch) -> subprocess.Popen[bytes]:
    """Start the job's agent in a session of its own: Ctrl-C does not reach it, and it outlives this process.

    Raises:
        OSError: It could not be started.
    """
    log = home.job(launch.spec.name) / "agent.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            _existing(launch.command(home)),
            cwd=launch.directory,
            env=launch.environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
        )
    finally:
        os.close(descriptor)


def _existing(command: Sequence[str]) -> list[str]:
    """With this process's interpreter if the one that was written down is gone (an environment made anew)."""
    return list(command) if Path(command[0]).exists() else [sys.executable, *command[1:]]
