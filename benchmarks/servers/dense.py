"""Dense models: the step time and the memory of parameter servers beside all-reduce's, on equal and on more processes.

All strategies of a case are alive at once and train in turns. The batch grows with the workers, four shards for each of
the case's smaller number of workers, so that everybody's shards make one subtree. Three questions: what each strategy
costs; how that changes with computing (samples of a shard) and with the model's size; and with the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.launch import read_report
from benchmarks.memory import read_peaks
from benchmarks.servers import jobs
from benchmarks.servers.accounts import DenseResult, Footprint
from benchmarks.servers.contest import GATE, Entry, Processes, contest
from benchmarks.servers.jobs import Setup
from benchmarks.spread import Spread, spread
from benchmarks.workload import build

WARM_UP = 3


@dataclass(frozen=True)
class Size:
    """Of a shard and of a turn."""

    samples: int
    context: int
    turn_steps: int

    @property
    def text(self) -> str:
        """With its unit; a context of 0 is none."""
        return f"{self.samples * self.context} tokens" if self.context else f"{self.samples} samples"


SIZES = {"mlp": Size(16, 0, 40), "gpt": Size(1, 32, 5), "wide": Size(8, 0, 8)}
"""Of which all strategies are compared: little computing for each parameter."""
COMPUTING = (
    ("mlp", Size(64, 0, 20)),
    ("mlp", Size(256, 0, 8)),
    ("wide", Size(32, 0, 5)),
    ("wide", Size(128, 0, 3)),
    ("gpt", Size(1, 128, 3)),
    ("huge", Size(8, 0, 3)),
    ("huge", Size(32, 0, 3)),
)
"""More of it: from where on is a parameter server's step as fast?"""
CROWDS = (4, 6)
"""So many workers; two are among the strategies."""


@dataclass(frozen=True)
class Case:
    """One model and the strategies to compare."""

    group: str
    model: str
    shards: int
    size: Size
    setups: tuple[Setup, ...]
    rounds: int

    @property
    def batch(self) -> str:
        """Of a step, in words."""
        return f"{self.shards} x {self.size.text}"

    @property
    def text(self) -> str:
        """For a line of progress."""
        return f"{self.group}: {self.model}, {self.batch}, {self.setups[0].workers} workers"


def cases(*, quick: bool) -> list[Case]:
    """All of them; ``quick``: few rounds, and of each group one or two."""
    most, fewer = (2, 2) if quick else (6, 5)
    strategies = (Setup(2), Setup(4), Setup(2, 2, 1), Setup(2, 2, 2))
    found = [Case("strategies", model, 8, size, strategies, most) for model, size in SIZES.items()]
    computing = [Case("computing", model, 8, size, (Setup(2), Setup(2, 2, 2)), fewer) for model, size in COMPUTING]
    crowds = [
        Case("workers", model, 4 * n, SIZES[model], (Setup(n), Setup(n, 2, 1), Setup(n, 2, 2)), fewer)
        for model in ("mlp", "wide")
        for n in CROWDS
    ]
    return [found[0], found[2], computing[0], crowds[0]] if quick else [*found, *computing, *crowds]


def measure(case: Case) -> list[DenseResult]:
    """Run one case.

    Raises:
        RuntimeError: A process failed or a turn took longer than five minutes.
    """
    footprints: dict[str, tuple[Footprint | None, Footprint | None]] = {}
    shas: dict[str, str | None] = {}
    peaks: dict[str, list[int]] = {}

    def look(env: Mapping[str, str]) -> None:
        with jobs.client_of(env) as client:
            for setup in case.setups:
                status = client.job(setup.name)
                workers = jobs.footprint(worker.pid for worker in status.workers)
                footprints[setup.name] = workers, jobs.footprint(server.pid for server in status.servers)

    def ended(directory: Path) -> None:
        for name in (setup.name for setup in case.setups):
            shas[name] = read_report(directory / f"{name}.json").weights_sha256
            peaks[name] = read_peaks(directory / name, GATE)

    times_s = contest([_entry(case, setup) for setup in case.setups], rounds=case.rounds, look=look, ended=ended)
    found = {name: _Found(turns, *footprints[name], peaks[name], shas[name]) for name, turns in times_s.items()}
    return list(_results(case, found))


@dataclass(frozen=True)
class _Found:
    """What the job of one strategy gave."""

    times_s: list[list[float]]
    worker: Footprint | None
    server: Footprint | None
    peaks: list[int]
    sha256: str | None


def _entry(case: Case, setup: Setup) -> Entry:
    size = case.size
    steps = WARM_UP + size.turn_steps * case.rounds
    words = ["train.py", f"--model={case.model}", f"--shards={case.shards}", f"--per-shard={size.samples}"]
    words += [f"--steps={steps}", f"--turn-steps={size.turn_steps}", f"--warm-up={WARM_UP}"]
    words += [f"--context={size.context}"] if size.context else []

    def start(env: Mapping[str, str], directory: Path) -> Processes:
        found = [*words, f"--turns={directory}"]
        return [jobs.start(env, directory, name=setup.name, options=setup.options, words=found)]

    return Entry(setup.name, start)


def _results(case: Case, found: Mapping[str, _Found]) -> Iterator[DenseResult]:
    parameters = sum(value.numel() for value in build(case.model, samples=1).model.parameters())
    plain = {setup.workers: setup.name for setup in case.setups if not setup.servers}
    for setup in case.setups:
        here = found[setup.name]
        assert here.worker is not None

        def over(processes: int, name: str = setup.name) -> Spread | None:
            other = plain.get(processes)
            return None if other in (None, name) else ratio(found[name].times_s, found[other].times_s)

        yield DenseResult(
            group=case.group,
            model=case.model,
            parameters=parameters,
            workers=setup.workers,
            servers=setup.servers,
            copies=setup.copies,
            batch=case.batch,
            samples=case.shards * case.size.samples * max(1, case.size.context),
            step_s=spread([value for turn in here.times_s for value in turn]),
            over_workers=over(setup.workers),
            over_processes=over(setup.workers + setup.servers) if setup.servers else None,
            worker=here.worker,
            server=here.server,
            beyond_bytes=int(median(here.peaks)) if here.peaks else None,
            sha256=here.sha256,
        )


def ratio(ours: list[list[float]], theirs: list[list[float]]) -> Spread:
    """Round by round, of the median steps."""
    return spread([spread(one).median / spread(other).median for one, other in zip(ours, theirs, strict=True)])
