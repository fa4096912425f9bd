"""``pliant serve``: a model on as many replicas as its requests need, in the foreground.

This process holds the port and looks after the router, which does everything else: when the router is killed, the next
one finds the replicas that there are, and connections that come in between wait in the port's queue.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from pliant.cli.exit_codes import ERROR, OK
from pliant.cli.output import note, print_json_line, problem
from pliant.cli.serve_options import serve_parser, spec_of
from pliant.config import Home, home_dir
from pliant.errors import ConfigError
from pliant.serving.follower import first_weights
from pliant.serving.weights_store import WeightsStore
from pliant.wire.service_api import OVER, RouterReport, ServiceSpec, write_spec

_MOST_DEATHS = 3
"""Routers that may die within ``_CALM_S`` of their start, one after the other."""
_CALM_S = 10.0


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    given = serve_parser().parse_args(argv)
    spec = spec_of(given)
    directory = Home(home_dir()).service(spec.name)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(directory, spec.name) as lock, _listening(spec) as port, _weights_of(spec) as checkpoint:
        spec = msgspec.structs.replace(spec, port=port.getsockname()[1], checkpoint=checkpoint)
        note(f"service {spec.name} at {spec.url}: loading {spec.target}")
        write_spec(directory, spec)
        return _Supervisor(spec, directory, port, lock, as_json=given.json).run()


class _Supervisor:
    """Runs the router, again if it is killed, until it is told to end."""

    def __init__(self, spec: ServiceSpec, directory: Path, port: socket.socket, lock: int, *, as_json: bool) -> None:
        self._spec, self._directory, self._port, self._lock = spec, directory, port, lock
        self._json = as_json
        self._router: subprocess.Popen[str] | None = None
        self._ending = False
        self._told = False

    def run(self) -> int:
        """Returns the exit code."""
        try:
            return self._run()
        finally:
            for socket_of in (*self._directory.glob("v*"), *self._directory.glob("zygote")):
                (socket_of / OVER).touch(mode=0o600)

    def _run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)
        deaths = 0
        while True:
            began_s = time.monotonic()
            code = self._run_once()
            if code >= 0 or self._ending:
                break
            deaths = deaths + 1 if time.monotonic() - began_s < _CALM_S else 1
            how = signal.Signals(-code).name
            if deaths >= _MOST_DEATHS:
                note(f"error: the router was ended by {how} {deaths} times in a row; see {self._directory}/router.log")
                return ERROR
            note(f"the router was ended by {how}; another one takes over")
        if code == 0 or (self._ending and code == -signal.SIGTERM):  # told to end before it could listen for that
            note(f"service {self._spec.name} has ended")
            return OK
        return ERROR

    def _run_once(self) -> int:
        descriptor = self._port.fileno()
        command = [sys.executable, "-P", "-m", "pliant.serving.server", str(self._directory), str(descriptor)]
        with (self._directory / "router.log").open("ab") as log:
            self._router = subprocess.Popen(
                command,
                pass_fds=[descriptor, self._lock],  # the name is taken as long as either process lives
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C comes to this process, which passes it on once
            )
        with self._router:
            assert self._router.stdout is not None
            for line in self._router.stdout:
                self._tell(msgspec.json.decode(line, type=RouterReport))
            return self._router.wait()

    def _tell(self, report: RouterReport) -> None:
        if report.problem:
            note(f"error: {report.problem}")
        elif report.loaded and not self._told:
            self._told = True
            spec = self._spec
            bounds = f"{spec.least} to {spec.most} replicas, {spec.concurrency:g} requests each"
            note(f"service {spec.name} is ready: {bounds}; Ctrl-C ends it")
            if self._json:
                print_json_line({"name": spec.name, "url": spec.url, "pid": os.getpid()})

    def _end(self, *_: object) -> None:
        self._ending = True
        if self._router is not None and self._router.poll() is None:
            self._router.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def _locked(directory: Path, name: str) -> Iterator[int]:
    """One service of a name at a time. Yields the lock's descriptor."""
    with (directory / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                problem(f"a service {name} is running already", "give this one another --name, or end that one")
            ) from None
        yield lock.fileno()


@contextlib.contextmanager
def _weights_of(spec: ServiceSpec) -> Iterator[str]:
    """The checkpoint to begin with: of the job that is followed, as it is now, if one is. What is got of jobs is
    removed when the service is over.

    Raises:
        CoordinatorError: No such job, it is over, or its weights cannot be written.
        ConfigError: There is no place for them.
    """
    store = WeightsStore(Home(home_dir()), spec.name, launch=spec.launch)
    store.remove_earlier()
    try:
        if spec.follow is None:
            yield spec.checkpoint
            return
        try:
            store.make()
        except OSError as error:
            raise ConfigError(f"there is no place for the weights of job {spec.follow.job}: {error}") from error
        note(f"service {spec.name}: waiting for the weights of job {spec.follow.job} at its next step")
        yield first_weights(spec.follow, store.path, say=note).path
    finally:
        store.remove()


def _listening(spec: ServiceSpec) -> socket.socket:
    """The HTTP port.

    Raises:
        ConfigError: It is taken, or may not be used.
    """
    try:
        return socket.create_server((spec.host, spec.port), backlog=2048)
    except OSError as error:
        raise ConfigError(
            problem(
                f"cannot listen on {spec.host}:{spec.port}: {error.strerror or error}",
                "another --port, or none for any that is free",
            )
        ) from error
