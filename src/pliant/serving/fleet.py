"""The processes of one version of a service, and the sockets to them: its template and its replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pliant.serving.links import Link, listen_for
from pliant.serving.template_process import TemplateProcess
from pliant.serving.zygote import Zygote
from pliant.wire.replica_messages import (
    BatchAnswer,
    BatchRaised,
    EndReplica,
    EndTemplate,
    ForkReplica,
    Frame,
    Part,
    ReplicaExited,
    ReplicaHello,
    TemplateFailed,
    TemplateHello,
    ToRouter,
)
from pliant.wire.service_api import OVER, ServiceSpec

_log = logging.getLogger(__name__)
_TEMPLATE = 0


class FleetOwner(Protocol):
    """Who is told what becomes of them. Called in the event loop."""

    def model_loaded(self, hello: TemplateHello) -> None:
        """A template is there: replicas can be forked."""

    def cannot_load(self, why: str) -> None:
        """There will be none."""

    def replica_found(self, replica: int) -> None:
        """An earlier router has started it; it will come, or it is gone."""

    def replica_came(self, replica: int) -> None:
        """It can compute."""

    def replica_gone(self, replica: int, how: str) -> None:
        """Its process or its connection has ended. May be said twice, and of one that never came."""

    def answered(self, replica: int, head: BatchAnswer, payload: bytes) -> None:
        """A batch, or a part of a stream."""

    def raised(self, replica: int, head: BatchRaised) -> None:
        """``predict`` did, over a batch."""


class Fleet:
    """All methods belong to the event loop's thread."""

    def __init__(self, owner: FleetOwner, spec: ServiceSpec, directory: Path, zygote: Zygote, *, version: int) -> None:
        self._owner = owner
        self._path = directory / "router.sock"
        self._launch = spec.launch
        self._process = TemplateProcess(zygote, spec, directory, version, self._template_ended)
        self._template: Link | None = None
        self._loaded = False
        self._links: dict[int, Link] = {}
        self._to_fork: list[int] = []
        self._asked: set[int] = set()
        """Of the template that is there: they have not come yet."""
        self._unwanted: set[int] = set()
        self._server: asyncio.Server | None = None
        self._came = asyncio.Event()

    # ------------------------------------------------------------ from the start to the end

    async def start(self) -> None:
        """Listen for replicas, and start the template, unless that of an earlier router comes back."""
        self._server = await listen_for(self, self._path, ToRouter, came=self._came)
        if self._template is None:
            self._process.start()

    async def end(self) -> None:
        """End whatever still runs."""
        for link in self._links.values():
            link.kill()
        if self._template is not None:
            self._template.send(EndTemplate())
        await self._process.end()
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)
        (self._path.parent / OVER).touch(mode=0o600)  # for a replica that is only on its way

    # ------------------------------------------------------------ replicas

    @property
    def can_fork(self) -> bool:
        """Whether a template is there."""
        return self._template is not None

    def pid(self, replica: int) -> int:
        """Of a replica that is there, else 0."""
        link = self._links.get(replica)
        return 0 if link is None else link.pid

    def send(self, replica: int, head: Frame, payload: Sequence[Part] = ()) -> None:
        """To a replica; dropped if it is gone."""
        if (link := self._links.get(replica)) is not None:
            link.send(head, payload)

    def fork(self, replica: int) -> None:
        """Start one, at once or as soon as a template is there."""
        if self._template is None:
            self._to_fork.append(replica)
        else:
            self._asked.add(replica)
            self._template.send(ForkReplica(replica))

    def retire(self, replica: int) -> None:
        """End one that owes nothing, wherever it is on its way."""
        if replica in self._to_fork:
            self._to_fork.remove(replica)
        elif replica in self._links:
            self._links.pop(replica).send(EndReplica())
        else:
            self._asked.discard(replica)
            self._unwanted.add(replica)

    def forget(self, replica: int) -> None:
        """It is gone."""
        self._asked.discard(replica)
        self._unwanted.discard(replica)
        self._links.pop(replica, None)

    def kill(self, replica: int) -> None:
        """SIGKILL."""
        link = self._links.pop(replica, None)
        if link is not None:
            link.kill()
            link.close()

    # ------------------------------------------------------------ what they say

    def received(self, link: Link, head: Any, payload: bytes) -> None:
        """A frame, from one that has said hello or does so now."""
        match head:
            case BatchAnswer() if link.who:
                self._owner.answered(link.who, head, payload)
            case BatchRaised() if link.who:
                self._owner.raised(link.who, head)
            case ReplicaHello(launch=launch) if launch != self._launch:
                link.send(EndReplica())
            case TemplateHello(launch=launch) if launch != self._launch or self._template is not None:
                link.send(EndTemplate())
            case ReplicaHello(replica, pid):
                link.introduce(replica, pid)
                self._replica_came(link, replica)
            case TemplateHello():
                link.introduce(_TEMPLATE, head.pid)
                self._template_came(link, head)
            case TemplateFailed(_, error):
                self._cannot_load(f"the model could not be loaded: {error.strip()}")
            case ReplicaExited(replica, exit_code) if link.who == _TEMPLATE:
                self._owner.replica_gone(replica, f"it ended with exit code {exit_code}")
            case _:
                _log.error("%s of somebody who has not said hello", type(head).__name__)
                link.close()

    def closed(self, link: Link) -> None:
        """A connection has ended: a replica that is gone, or a template."""
        if link is self._template:
            self._template = None
            self._process.lost()
            asked, self._asked = self._asked, set()
            for replica in asked:
                self._owner.replica_gone(replica, "its template has died")
                self._unwanted.add(replica)  # should it have been forked at the last moment
        elif link.who and self._links.get(link.who) is link:
            self._owner.replica_gone(link.who, "its connection has ended")

    def _replica_came(self, link: Link, replica: int) -> None:
        self._asked.discard(replica)
        if replica in self._unwanted or replica in self._links:
            self._unwanted.discard(replica)
            link.send(EndReplica())
            return
        self._links[replica] = link
        self._owner.replica_came(replica)

    def _template_came(self, link: Link, hello: TemplateHello) -> None:
        self._template, self._loaded = link, True
        self._process.came()
        self._came.set()
        for replica in sorted(hello.replicas.keys() - self._links.keys()):
            self._owner.replica_found(replica)
        waiting, self._to_fork = self._to_fork, []
        for replica in waiting:
            self.fork(replica)
        self._owner.model_loaded(hello)

    def _template_ended(self, exit_code: int, tail: str) -> None:
        """Called by :class:`TemplateProcess`, which then starts another one."""
        if not self._loaded:
            self._cannot_load(f"the model could not be loaded: its process ended with exit code {exit_code}\n{tail}")

    def _cannot_load(self, why: str) -> None:
        self._to_fork.clear()
        self._owner.cannot_load(why)
