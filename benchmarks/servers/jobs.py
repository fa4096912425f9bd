"""``pliant run`` of this package's scripts, and the memory of its processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.launch import PATIENCE_S, PLIANT, end, finish, pliant_home, read_report
from benchmarks.servers.accounts import Footprint
from benchmarks.serving.usage import memory_of
from pliant.config import Home
from pliant.wire.api import JobStatus, Report
from pliant.wire.http import Client

HERE = Path(__file__).resolve().parent
JOB_LIMIT_S = 900.0


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


def start(env: Mapping[str, str], directory: Path, setup: Setup, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a script (the first of ``words``) in the background.

    Leaves ``log`` in ``directory``, and its report beside that directory: ``NAME.json``.
    """
    report = directory.with_name(f"{setup.name}.json")
    command = [*PLIANT, "run", "--no-live", "--name", setup.name, "--report", str(report), *setup.options]
    with (directory / "log").open("ab") as log:
        return subprocess.Popen([*command, str(HERE / words[0]), *words[1:]], env=env, stdout=log, stderr=log)


def status(env: Mapping[str, str], name: str) -> JobStatus:
    """What the coordinator knows of a running job."""
    with Client.of(Home(Path(env["PLIANT_HOME"]))) as client:
        return client.job(name)


def run(directory: Path, options: Sequence[str], words: Sequence[str]) -> Report:
    """Run a script to its end in a home of its own.

    Raises:
        RuntimeError: The run failed; the end of its log was printed.
        TimeoutExpired: It did not end in time, and was ended.
    """
    with pliant_home() as env:
        report, log = directory / "report.json", directory / "log"
        command = [*PLIANT, "run", "--no-live", "--report", str(report), *options, str(HERE / words[0]), *words[1:]]
        with log.open("ab") as file:
            process = subprocess.Popen(command, env=env, stdout=file, stderr=file)
        try:
            finish([process], timeout_s=JOB_LIMIT_S)
        except BaseException:
            print(log.read_text(errors="replace")[-3000:], flush=True)
            raise
        finally:
            end([process])
        return read_report(report)


def footprint(pids: Iterable[int | None]) -> Footprint | None:
    """The median of each number over these processes; None without any."""
    found = [_one(pid) for pid in pids if pid is not None]
    if not found:
        return None
    pss, rss, peak = (int(median(values)) for values in zip(*found, strict=True))
    return Footprint(pss, rss, peak)


def _one(pid: int) -> tuple[int, int, int]:
    pss_bytes = memory_of(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")).pss_bytes
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
    return pss_bytes, sizes["VmRSS"], sizes["VmHWM"]
