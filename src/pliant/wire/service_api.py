"""What a service is asked to be, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from pliant.wire.private_file import write_private

OVER = "over"
"""File in a version's directory: no router will come any more."""
ServiceState = Literal["loading", "ready", "stopping", "broken"]
ReplicaState = Literal["starting", "ready", "leaving"]


class Follow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weights of a running job, whenever there are new ones. ``canary``: they answer this share at first."""

    job: str
    home: str
    """Home directory of the job's coordinator."""
    every: int = 100
    """Steps of the job."""
    canary: float = 0.0


class ServiceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that ``pliant serve`` was told. Times are in seconds, sizes in bytes."""

    name: str
    target: str
    """``FILE[:NAME]``, absolute."""
    python: str
    directory: str
    """Working directory of the template and the replicas."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    least: int = 0
    most: int = 4
    concurrency: float = 8.0
    """Requests that one replica should hold at a time."""
    batch: int = 32
    """Most rows of a batch."""
    batch_wait_s: float = 0.0
    exact: bool = False
    """Every batch is padded to ``batch`` rows, so that an answer does not depend on what else is in the batch."""
    idle_s: float = 10.0
    threads: int = 1
    checkpoint: str = ""
    most_waiting: int = 1024
    """Rows that may wait; more are refused with 429."""
    timeout_s: float = 30.0
    """A request that is not answered by then fails with 504; a replica that computes one batch for longer is killed."""
    most_body_bytes: int = 64 << 20
    api_key: str = ""
    """Empty: none is wanted."""
    admin_token: str = ""
    """Wanted by whatever changes the service."""
    version: int = 1
    previous: str = ""
    """The checkpoint before this one, for a roll-back; empty: there is none, or it was without one."""
    follow: Follow | None = None
    launch: str = ""
    """Which start of a service of this name: replicas of an earlier one are sent away."""

    @property
    def url(self) -> str:
        """Where it is found, once the port is known."""
        return f"http://{self.host}:{self.port}"


class ReplicaStatus(msgspec.Struct, frozen=True):
    """One replica. ``requests``: that it computes."""

    number: int
    pid: int
    """0: not known yet."""
    state: ReplicaState
    requests: int
    version: int
    batches: int = 0
    """That it has answered."""


class Canary(msgspec.Struct, frozen=True):
    """A version that answers a share of the requests."""

    version: int
    share: float
    checkpoint: str


class Following(msgspec.Struct, frozen=True):
    """A job whose weights the service takes. ``step``: of the last ones, which a canary may have on trial."""

    job: str
    every: int
    step: int | None


class ServiceEvent(msgspec.Struct, frozen=True):
    """Something that happened to a service."""

    seq: int
    unix_s: float
    kind: str
    message: str


class BoundsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Other bounds for the number of replicas."""

    least: int
    most: int


class PushRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """New weights. ``canary``: the share of the requests that they answer at first, 0 for all of them."""

    checkpoint: str
    canary: float = 0.0


class ServiceStatus(msgspec.Struct, frozen=True):
    """A service at one moment; the answer of ``GET /status``."""

    name: str
    state: ServiceState
    version: int
    """That answers; all but the canary's requests, if there is one."""
    replicas: list[ReplicaStatus]
    requests: int
    """At the front door: running and waiting."""
    answered: int
    failed: int
    refused: int
    problem: str = ""
    """Why it cannot answer."""
    checkpoint: str = ""
    canary: Canary | None = None
    following: Following | None = None
    least: int = 0
    most: int = 0
    url: str = ""
    target: str = ""
    waiting: int = 0
    """Of ``requests``, those that no replica computes yet."""
    p50_s: float | None = None
    """From a request's coming to its answer, of those answered in the last seconds; None: none was."""
    p99_s: float | None = None


class RouterReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line that the router's process prints for whoever looks after it."""

    loaded: bool = False
    problem: str = ""
    """It cannot serve, and ends."""


def split_target(target: str) -> tuple[str, str]:
    """``FILE[:NAME]`` as its parts; the name is empty where there is none."""
    file, colon, name = target.rpartition(":")
    return (file, name) if colon and name.isidentifier() else (target, "")


def write_spec(directory: Path, spec: ServiceSpec) -> None:
    """Put the spec where the router finds it; readable by its owner alone, because of the API key."""
    write_private(directory / "service.json", msgspec.json.encode(spec))


def read_spec(directory: Path) -> ServiceSpec:
    """What :func:`write_spec` wrote."""
    return msgspec.json.decode((directory / "service.json").read_bytes(), type=ServiceSpec)


def read_events(path: Path) -> list[ServiceEvent]:
    """All events that a service has had; a line that was cut short by a kill is left out."""
    found = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=ServiceEvent))
        except msgspec.MsgspecError:
            continue
    return found
