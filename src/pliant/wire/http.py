"""The coordinator's HTTP API as typed calls, on the standard library alone, so that the command line starts fast."""

from __future__ import annotations

import http.client
import time
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from pliant.config import Home
from pliant.errors import CoordinatorError
from pliant.wire.address import Address, last_address, read_address
from pliant.wire.api import (
    Event,
    JobSpec,
    JobStatus,
    MisbehaveRequest,
    Problem,
    Report,
    ScaleRequest,
    StopRequest,
    Weights,
    WeightsRequest,
)
from pliant.wire.token import read_token

Answer = TypeVar("Answer")
RETURN_S = 5.0
"""How long a coordinator that was killed is waited for."""


def is_alive(address: Address, *, timeout_s: float = 1.0) -> bool:
    """Whether a coordinator answers at ``address``. Blocks up to ``timeout_s``."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 204
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def find_coordinator(home: Home, *, timeout_s: float = 1.0) -> Address | None:
    """The address of this home's coordinator if it is up and answers, else None."""
    address = read_address(home)
    return address if address is not None and is_alive(address, timeout_s=timeout_s) else None


def await_coordinator(home: Home, *, patience_s: float = RETURN_S) -> Address | None:
    """As :func:`find_coordinator`, but one that was killed is waited for: the agents of its jobs start it again.

    Blocks up to ``patience_s``, and at once if the last one ended in peace.
    """
    deadline_s = time.monotonic() + patience_s
    while (found := find_coordinator(home)) is None and last_address(home) is not None:
        if time.monotonic() > deadline_s:
            return None
        time.sleep(0.05)
    return found


def no_coordinator(home: Home) -> str:
    """What to say when :func:`await_coordinator` found none."""
    killed = last_address(home)
    if killed is None:
        return f"no coordinator is running for {home.path}"
    return (
        f"no coordinator is running for {home.path}: the last one (pid {killed.pid}) was killed, "
        f"and no job has started it again within {RETURN_S:g} s"
    )


class Client:
    """Calls one coordinator over one kept-alive connection. Blocking; for one thread.

    Every call raises :class:`~pliant.errors.CoordinatorError`: with the coordinator's own text and ``status`` if it
    refused (nothing was changed then), with ``status`` 0 if it could not be reached (a changing call may or may
    not have taken effect then).
    """

    def __init__(self, address: Address, *, token: str, timeout_s: float = 10.0) -> None:
        """Connects at the first call."""
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)

    @classmethod
    def of(cls, home: Home, *, timeout_s: float = 10.0) -> Client:
        """A client of the coordinator of ``home``; one that was killed is waited for.

        Raises:
            CoordinatorError: None is running there.
            ConfigError: Its token cannot be read.
        """
        address = await_coordinator(home)
        if address is None:
            raise CoordinatorError(f"{no_coordinator(home)}; `pliant run` or `pliant up` starts one")
        return cls(address, token=read_token(home.token), timeout_s=timeout_s)

    def __enter__(self) -> Client:
        """The client itself; leaving closes the connection."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        self._connection.close()

    @property
    def address(self) -> Address:
        """Whom this client calls."""
        return self._address

    def health(self) -> bool:
        """Whether the coordinator answers (needs no token)."""
        return is_alive(self._address)

    def create_job(self, spec: JobSpec) -> JobStatus:
        """Create a job; it waits for its agent. Status 409: the name is taken; 422: the spec cannot work."""
        return self._call("POST", "/v1/jobs", answer=JobStatus, body=spec)

    def list_jobs(self) -> list[JobStatus]:
        """All jobs that the coordinator remembers, oldest first."""
        return self._call("GET", "/v1/jobs", answer=list[JobStatus])

    def job(self, name: str) -> JobStatus:
        """One job. Status 404: unknown."""
        return self._call("GET", _path(name), answer=JobStatus)

    def scale(self, name: str, workers: int | None = None, *, servers: int | None = None) -> JobStatus:
        """Ask for another number of workers, or of parameter servers; returns at once.

        Status 422: out of bounds; 409: the job is over.
        """
        body = ScaleRequest(workers=workers, servers=servers)
        return self._call("POST", _path(name, "/scale"), answer=JobStatus, body=body)

    def stop(self, name: str, *, now: bool = False) -> JobStatus:
        """Ask a job to stop at its next boundary, or kill it ``now``; returns at once. Harmless if it is over."""
        return self._call("POST", _path(name, "/stop"), answer=JobStatus, body=StopRequest(now=now))

    def misbehave(self, name: str, asked: MisbehaveRequest) -> JobStatus:
        """Have a worker misbehave; returns at once. Status 404: no such worker; 409: it or the job is over."""
        return self._call("POST", _path(name, "/misbehave"), answer=JobStatus, body=asked)

    def weights(self, name: str, asked: WeightsRequest) -> Weights:
        """The weights of a running job. Blocks up to ``asked.wait_s``: this client's ``timeout_s`` has to be longer.

        Status 404: unknown; 409: it is over; 503: they could not be written.
        """
        return self._call("POST", _path(name, "/weights"), answer=Weights, body=asked)

    def events(self, name: str, *, after: int = 0) -> list[Event]:
        """Events with ``seq > after``. An event's late numbers (``stall_s``) show when it is asked for again."""
        return self._call("GET", _path(name, f"/events?after={after}"), answer=list[Event])

    def report(self, name: str) -> Report:
        """The report so far, or the final one."""
        return self._call("GET", _path(name, "/report"), answer=Report)

    def _call(self, method: str, path: str, *, answer: type[Answer], body: Any = None) -> Answer:
        data = None if body is None else msgspec.json.encode(body)
        status, content = self._exchange(method, path, data)
        try:
            if status < 400:
                return msgspec.json.decode(content, type=answer)
            problem = msgspec.json.decode(content, type=Problem).error
        except msgspec.MsgspecError as error:
            problem = f"the coordinator answered {status} to {method} {path} with something else: {error}"
        if status == 401:
            problem = "the coordinator refused this token; is $PLIANT_HOME the one it was started with?"
        raise CoordinatorError(problem, status=status)

    def _exchange(self, method: str, path: str, data: bytes | None) -> tuple[int, bytes]:
        reused = self._connection.sock is not None
        try:
            return self._request(method, path, data)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            # The server may have closed an idle connection; a GET can simply be asked again.
            if not (reused and method == "GET"):
                raise self._unreachable(error) from error
        try:
            return self._request(method, path, data)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreachable(error) from error

    def _request(self, method: str, path: str, data: bytes | None) -> tuple[int, bytes]:
        self._connection.request(method, path, body=data, headers=self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def _unreachable(self, error: Exception) -> CoordinatorError:
        where = f"{self._address.host}:{self._address.port}"
        return CoordinatorError(f"the coordinator at {where} (pid {self._address.pid}) does not answer: {error!r}")


def _path(name: str, rest: str = "") -> str:
    return f"/v1/jobs/{quote(name, safe='')}{rest}"
