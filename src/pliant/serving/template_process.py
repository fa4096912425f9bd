"""The template's process, as the router sees it: started, started again when it dies, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from pliant.wire.service_api import ServiceSpec

_AGAIN_S = 1.0
_END_S = 5.0
_TAIL_BYTES = 4000


class TemplateProcess:
    """One version's. ``ended`` is called with the exit code and the end of the log whenever it ends unasked."""

    def __init__(self, spec: ServiceSpec, directory: Path, version: int, ended: Callable[[int, str], None]) -> None:
        self._spec, self._directory, self._version, self._ended = spec, directory, version, ended
        self._log = directory / "template.log"
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and again whenever it dies."""
        await self._launch()
        self._watching = asyncio.create_task(self._watch())

    async def came_back(self, gone: asyncio.Event) -> None:
        """Another router has started it. It is no child of this one: that it dies is seen by its connection's end."""
        self._watching = asyncio.create_task(self._replace(gone))

    async def end(self) -> None:
        """End it."""
        if self._watching is not None:
            self._watching.cancel()
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _replace(self, gone: asyncio.Event) -> None:
        await gone.wait()
        await self._launch()
        await self._watch()

    async def _watch(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            self._ended(code, self._tail())
            await asyncio.sleep(_AGAIN_S)
            await self._launch()

    async def _launch(self) -> None:
        spec = self._spec
        words = ["-P", "-m", "pliant.serving.replica.template", "--target", spec.target]
        words += ["--socket", str(self._directory / "router.sock"), "--logs", str(self._directory)]
        words += ["--version", str(self._version), "--launch", spec.launch, "--threads", str(spec.threads)]
        words += ["--tile", str(spec.batch)] if spec.exact else []
        words += ["--checkpoint", spec.checkpoint] if spec.checkpoint else []
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
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

    def _tail(self) -> str:
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
        return ""
