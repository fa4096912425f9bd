"""The service's zygote, as the router sees it: started, started again when it dies, told to fork templates."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Any, Protocol

from pliant.serving.links import Link, listen_for
from pliant.wire.replica_messages import (
    EndZygote,
    ForkTemplate,
    StopTemplate,
    TemplateExited,
    ZygoteHello,
    ZygoteToRouter,
)
from pliant.wire.service_api import ServiceSpec

_log = logging.getLogger(__name__)
_AGAIN_S = 1.0
_END_S = 5.0
_TAIL_BYTES = 4000


class Forked(Protocol):
    """A version's template, of whose process the zygote knows."""

    def exited(self, exit_code: int, tail: str) -> None:
        """Its process has ended, or there was none to fork it. ``tail``: the end of the zygote's log in that case."""

    def orphaned(self) -> None:
        """The zygote is gone, so that nobody tells of its end."""


class Zygote:
    """All methods belong to the event loop's thread."""

    def __init__(self, spec: ServiceSpec, directory: Path) -> None:
        """``directory``: of the service."""
        self._spec, self._directory = spec, directory / "zygote"
        self._path = self._directory / "router.sock"
        self._link: Link | None = None
        self._owners: dict[int, Forked] = {}
        """By version: those that want to hear of their end."""
        self._children: set[int] = set()
        """Versions that this zygote has forked."""
        self._waiting: dict[int, ForkTemplate] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._came, self._changed = asyncio.Event(), asyncio.Event()
        self._ending = False

    async def start(self) -> None:
        """Listen, and start it, unless that of an earlier router comes back."""
        self._server = await listen_for(self, self._path, ZygoteToRouter, came=self._came)
        if self._link is None:
            await self._launch()

    async def end(self) -> None:
        """End it; its templates have been ended before."""
        self._ending = True
        if self._link is not None:
            self._link.send(EndZygote())
        for task in self._tasks:
            task.cancel()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    # ------------------------------------------------------------ templates

    def fork(self, order: ForkTemplate, owner: Forked) -> None:
        """Have a template forked, now or as soon as the zygote is there."""
        self._owners[order.version] = owner
        if self._link is None:
            self._waiting[order.version] = order
        else:
            self._children.add(order.version)
            self._link.send(order)

    def adopt(self, version: int, owner: Forked) -> bool:
        """Be told of a template's end that an earlier router has had forked. False: this zygote is not its parent."""
        if version in self._children:
            self._owners[version] = owner
        return version in self._children

    async def stop(self, version: int) -> None:
        """End a template, wait until it has, and forget it; at once if it is not this zygote's."""
        self._owners.pop(version, None)
        self._waiting.pop(version, None)
        for kill in (False, True):
            if version not in self._children or self._link is None:
                return
            self._link.send(StopTemplate(version, kill))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    while version in self._children:
                        self._changed.clear()
                        await self._changed.wait()

    # ------------------------------------------------------------ what it says

    def received(self, link: Link, head: Any, payload: bytes) -> None:
        """A frame."""
        del payload
        match head:
            case ZygoteHello(launch=launch) if launch != self._spec.launch or self._link is not None:
                link.send(EndZygote())
            case ZygoteHello(pid, _, templates):
                link.introduce(0, pid)
                self._link = link
                self._children = set(templates)
                self._came.set()
                waiting, self._waiting = self._waiting, {}
                for order in waiting.values():
                    self.fork(order, self._owners[order.version])
            case TemplateExited(version, exit_code) if link is self._link:
                self._children.discard(version)
                self._changed.set()
                if (owner := self._owners.pop(version, None)) is not None:
                    owner.exited(exit_code, "")

    def closed(self, link: Link) -> None:
        """It is gone."""
        if link is not self._link:
            return
        self._link, orphans = None, self._children & self._owners.keys()
        self._children = set()
        self._changed.set()
        for version in orphans:
            self._owners.pop(version).orphaned()
        if self._process is None and not self._ending:  # of an earlier router: not watched
            self._do(self._launch())

    # ------------------------------------------------------------ its process

    def _do(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if self._waiting:
            tail = tail_of(self._directory / "zygote.log")
            for version in list(self._waiting):
                del self._waiting[version]
                self._owners.pop(version).exited(code, tail)
        await asyncio.sleep(_AGAIN_S)
        await self._launch()

    async def _launch(self) -> None:
        spec = self._spec
        words = ["-P", "-m", "pliant.serving.replica.zygote", "--target", spec.target, "--launch", spec.launch]
        words += ["--directory", str(self._directory), "--threads", str(spec.threads)]
        descriptor = os.open(self._directory / "zygote.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                spec.python,
                *words,
                cwd=spec.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": str(spec.threads)},
            )
        finally:
            os.close(descriptor)
        self._do(self._watch(self._process))


def tail_of(log: Path) -> str:
    """The end of a log, for a message; empty if it cannot be read."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace")
    return ""
