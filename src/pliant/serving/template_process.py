"""The template's process, as the router sees it: forked from the zygote, forked again when it dies, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from pliant.serving.zygote import Zygote, tail_of
from pliant.wire.replica_messages import ForkTemplate
from pliant.wire.service_api import ServiceSpec

_AGAIN_S = 1.0


class TemplateProcess:
    """One version's. ``ended`` is called with the exit code and the end of the log whenever it ends unasked."""

    def __init__(
        self, zygote: Zygote, spec: ServiceSpec, directory: Path, version: int, ended: Callable[[int, str], None]
    ) -> None:
        self._zygote, self._ended, self._log = zygote, ended, directory / "template.log"
        tile = spec.batch if spec.exact else 0
        self._order = ForkTemplate(version, str(directory), spec.checkpoint, tile)
        self._there = self._ending = False
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Have it forked, and again whenever it dies."""
        self._again = None
        if not self._there:  # else one that was still loading when its zygote died has come
            self._zygote.fork(self._order, self)

    def came(self) -> None:
        """It has said hello."""
        self._there = True

    def lost(self) -> None:
        """Its connection has ended, and so has it. If its zygote lives, that one tells how."""
        self._there = False
        if not self._zygote.adopt(self._order.version, self):
            self._start_again()

    async def end(self) -> None:
        """End it."""
        self._ending = True
        if self._again is not None:
            self._again.cancel()
        await self._zygote.stop(self._order.version)

    def exited(self, exit_code: int, tail: str) -> None:
        """As :class:`~pliant.serving.zygote.Forked`."""
        if not self._ending:
            self._ended(exit_code, tail or tail_of(self._log))
            self._start_again()

    def orphaned(self) -> None:
        """As :class:`~pliant.serving.zygote.Forked`: if it is there, the end of its connection tells of its end."""
        if not self._there and not self._ending:
            self._start_again()

    def _start_again(self) -> None:
        if not self._ending and self._again is None:
            self._again = asyncio.get_running_loop().call_later(_AGAIN_S, self.start)
