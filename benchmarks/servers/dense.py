"""Dense models: the step time and the memory of parameter servers beside all-reduce's, on equal and on more processes.

All strategies of a case are alive at once and train in turns. The batch grows with the workers, four shards for each of
the case's smaller number of workers, so that everybody's shards make one subtree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.launch import read_report
from benchmarks.servers import jobs
from benchmarks.servers.accounts import DenseResult, Footprint
from benchmarks.servers.contest import Entry, Processes, contest
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


@dataclass(frozen=True)
class Case:
    """One model and the strategies to compare."""

    group: str
    model: str
    shards: int
    setups: tuple[Setup, ...]
    rounds: int

    @property
    def text(self) -> str:
        """For a line of progress."""
        return f"{self.group}: {self.model}, {self.setups[0].workers} workers"


def cases(*, quick: bool) -> list[Case]:
    """All of them; ``quick``: few rounds, and the crossover on one model, at its ends."""
    rounds = 2 if quick else 8
    strategies = (Setup(2), Setup(4), Setup(2, 2, 1), Setup(2, 2, 2))
    found = [Case("strategies", model, 8, strategies, rounds) for model in SIZES]
    for model in ("wide",) if quick else ("mlp", "wide"):
        for workers in (1, 4) if quick else (1, 2, 3, 4):
            setups = (Setup(workers), Setup(workers, 1, 1), Setup(workers, 2, 2))
            found.append(Case("crossover", model, 4 * workers, setups, rounds))
    return found


def measure(case: Case) -> list[DenseResult]:
    """Run one case.

    Raises:
        RuntimeError: A process failed or a turn took longer than five minutes.
    """
    footprints: dict[str, tuple[Footprint | None, Footprint | None]] = {}
    shas: dict[str, str | None] = {}

    def look(env: Mapping[str, str]) -> None:
        with jobs.client_of(env) as client:
            for setup in case.setups:
                status = client.job(setup.name)
                workers = jobs.footprint(worker.pid for worker in status.workers)
                footprints[setup.name] = workers, jobs.footprint(server.pid for server in status.servers)

    def ended(directory: Path) -> None:
        shas.update({setup.name: read_report(directory / f"{setup.name}.json").weights_sha256 for setup in case.setups})

    times_s = contest([_entry(case, setup) for setup in case.setups], rounds=case.rounds, look=look, ended=ended)
    return list(_results(case, times_s, footprints, shas))


def _entry(case: Case, setup: Setup) -> Entry:
    size = SIZES[case.model]
    steps = WARM_UP + size.turn_steps * case.rounds
    words = ["train.py", f"--model={case.model}", f"--shards={case.shards}", f"--per-shard={size.samples}"]
    words += [f"--steps={steps}", f"--turn-steps={size.turn_steps}", f"--warm-up={WARM_UP}"]
    words += [f"--context={size.context}"] if size.context else []

    def start(env: Mapping[str, str], directory: Path) -> Processes:
        found = [*words, f"--turns={directory}"]
        return [jobs.start(env, directory, name=setup.name, options=setup.options, words=found)]

    return Entry(setup.name, start)


def _results(
    case: Case,
    times_s: Mapping[str, list[list[float]]],
    footprints: Mapping[str, tuple[Footprint | None, Footprint | None]],
    shas: Mapping[str, str | None],
) -> Iterator[DenseResult]:
    parameters = sum(value.numel() for value in build(case.model, samples=1).model.parameters())
    plain = {setup.workers: setup.name for setup in case.setups if not setup.servers}
    for setup in case.setups:
        worker, server = footprints[setup.name]
        assert worker is not None

        def over(processes: int, setup: Setup = setup) -> Spread | None:
            other = plain.get(processes)
            return None if other in (None, setup.name) else ratio(times_s[setup.name], times_s[other])

        yield DenseResult(
            group=case.group,
            model=case.model,
            parameters=parameters,
            workers=setup.workers,
            servers=setup.servers,
            copies=setup.copies,
            batch=f"{case.shards} x {SIZES[case.model].text}",
            step_s=spread([value for turn in times_s[setup.name] for value in turn]),
            over_workers=over(setup.workers),
            over_processes=over(setup.workers + setup.servers) if setup.servers else None,
            worker=worker,
            server=server,
            sha256=shas[setup.name],
        )


def ratio(ours: list[list[float]], theirs: list[list[float]]) -> Spread:
    """Round by round, of the median steps."""
    return spread([spread(one).median / spread(other).median for one, other in zip(ours, theirs, strict=True)])
