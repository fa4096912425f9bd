"""``pliant run`` of this package's scripts, and the memory of its processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.launch import PATIENCE_S, PLIANT
from benchmarks.servers.accounts import Footprint
from benchmarks.serving.usage import memory_of
from pliant.config import Home
from pliant.wire.http import Client

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Setup:
    """A strategy and its processes; no servers: all-reduce."""

    workers: int
    servers: int = 0
    copies: int = 0

    @property
    def name(self) -> str:
        """Of the job."""
        return f"workers{self.workers}-servers{self.servers}-copies{self.copies}"

    @property
    def options(self) -> list[str]:
        """Of ``pliant run``; dealt evenly, so that noise does not change who computes what."""
        options = ["--workers", str(self.workers), "--deal", "even", "--patience", str(PATIENCE_S)]
        if not self.servers:
            return options
        return [
            *options,
            "--strategy",
            "parameter-server",
            "--servers",
            str(self.servers),
            "--copies",
            str(self.copies),
        ]


def start(
    env: Mapping[str, str], directory: Path, *, name: str, options: Sequence[str], words: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Start a script (the first of ``words``) in the background.

    Leaves ``log`` in ``directory``, and its report beside that directory: ``NAME.json``.
    """
    report = directory.with_name(f"{name}.json")
    command = [*PLIANT, "run", "--no-live", "--name", name, "--report", str(report), *options]
    with (directory / "log").open("ab") as log:
        return subprocess.Popen([*command, str(HERE / words[0]), *words[1:]], env=env, stdout=log, stderr=log)


def client_of(env: Mapping[str, str]) -> Client:
    """Of the coordinator that jobs in this environment have."""
    return Client.of(Home(Path(env["PLIANT_HOME"])))


def footprint(pids: Iterable[int | None]) -> Footprint | None:
    """The median of each number over those of these processes that there are still; None without any."""
    found = []
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError, KeyError):  # its job has ended; a zombie has no memory
            found += [] if pid is None else [_one(pid)]
    if not found:
        return None
    return Footprint(*(int(median(values)) for values in zip(*found, strict=True)))


def _one(pid: int) -> tuple[int, int, int, int]:
    now = memory_of(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
    return now.pss_bytes, now.private_bytes, sizes["VmRSS"], sizes["VmHWM"]
