"""Tables: rows pulled and pushed a second, beside torch in one process and beside a dict behind torch's RPC."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.servers import jobs
from benchmarks.servers.accounts import TableResult
from benchmarks.servers.aims import BAG
from benchmarks.servers.contest import Entry, Processes, contest
from benchmarks.servers.dense import ratio
from benchmarks.servers.jobs import Setup
from benchmarks.servers.lookups import BATCH, zipf_batches
from benchmarks.spread import spread
from pliant.parallel.tables.lookup import find_unique

WARM_UP, TURN_STEPS = 17, 6
"""The warm-up sees every batch of the pool, so that all its rows are there."""
WORKERS, SERVERS = 1, 2
PLIANT, STORE = "pliant", "dict"


@dataclass(frozen=True)
class Size:
    """Of the table, and of the comparison."""

    rows: int
    rounds: int

    @property
    def steps(self) -> int:
        """Of each system, after what fills the table."""
        return WARM_UP + TURN_STEPS * self.rounds

    @property
    def words(self) -> list[str]:
        """For all the scripts."""
        sizes = [f"--rows={self.rows}", f"--steps={self.steps}", f"--turn-steps={TURN_STEPS}", f"--warm-up={WARM_UP}"]
        return sizes


@dataclass(frozen=True)
class Rival:
    """One of the other systems."""

    system: str
    what: str
    words: tuple[str, ...]
    processes: int = 1


RIVALS = (
    Rival(BAG, "torch.nn.EmbeddingBag(sparse=True) and Adagrad, in one process", ("table_bag.py",)),
    Rival(STORE, "a dict of rows behind torch.distributed.rpc", ("table_dict.py",), 2),
    Rival(f"{STORE}-whole", "such a dict that computes on whole batches", ("table_dict.py", "--whole"), 2),
)


def size(*, quick: bool) -> Size:
    """What to measure."""
    return Size(200_000, 3) if quick else Size(10_000_000, 8)


def measure(size: Size) -> list[TableResult]:
    """Run all systems.

    Raises:
        RuntimeError: A process failed or a turn took longer than five minutes.
    """
    setups = {f"{PLIANT}-{copies}": Setup(WORKERS, SERVERS, copies) for copies in (1, 2)}
    entries = [_job(name, setup, size) for name, setup in setups.items()]
    entries += [_plain(rival, size) for rival in RIVALS]
    times_s = contest(entries, rounds=size.rounds)
    unique = fmean(find_unique(batch).ids.numel() for batch in zipf_batches(size.rows))
    copies = {f"{PLIANT}-{n}": f"{n} {'copy' if n == 1 else 'copies'}" for n in (1, 2)}
    told = {name: f"Pliant, {SERVERS} servers, {text}" for name, text in copies.items()}
    told |= {rival.system: rival.what for rival in RIVALS}
    return [
        TableResult(
            system=system,
            what=told[system],
            rows=size.rows,
            ids=BATCH,
            unique=unique,
            step_s=spread([value for turn in turns for value in turn]),
            ahead={text: ratio(turns, times_s[name]) for name, text in copies.items() if system not in copies},
        )
        for system, turns in times_s.items()
    ]


def _job(name: str, setup: Setup, size: Size) -> Entry:
    def start(env: Mapping[str, str], directory: Path) -> Processes:
        words = ["train_table.py", *size.words, f"--turns={directory}"]
        return [jobs.start(env, directory, name=setup.name, options=setup.options, words=words)]

    return Entry(name, start)


def _plain(rival: Rival, size: Size) -> Entry:
    script, *more = rival.words

    def start(env: Mapping[str, str], directory: Path) -> Processes:
        command = [sys.executable, str(jobs.HERE / script), *size.words, *more, f"--turns={directory}"]
        with (directory / "log").open("ab") as log:
            ranks = [[*command, f"--rank={rank}"] for rank in range(rival.processes)]
            return [subprocess.Popen(words, env=env, stdout=log, stderr=log) for words in ranks]

    return Entry(rival.system, start)
