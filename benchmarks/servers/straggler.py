"""One of three workers becomes 5 times slower: what synchronous and asynchronous training still get done.

A plan makes it slow (it sleeps after each shard) in the middle of a run. Every run trains on the same samples in the
same order; useful ones are those of committed steps, from the report. A round is one run of each way to train, every
other round in the opposite order.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.launch import PATIENCE_S, end, finish, pliant_home, read_report
from benchmarks.servers import jobs
from benchmarks.servers.straggler_accounts import MODES, StragglerRun, run_of

SHARDS = 12
FACTOR = 5.0
WORKERS, SERVERS = 3, 2
MODEL = "mlp"
LIMIT_S = 600.0
OPTIONS = ("--workers", str(WORKERS), "--strategy", "parameter-server", "--servers", str(SERVERS))
PATIENCE = ("--patience", str(PATIENCE_S))
"""Nobody counts as lost because it is slow."""


@dataclass(frozen=True)
class Trial:
    """One run. ``settled``: steps that are left out from the plan's event on, until the deal has followed."""

    mode: str
    number: int
    """Of its round."""
    steps: int = 90
    slow_at: int = 20
    settled: int = 30
    per_shard: int = 192

    @property
    def text(self) -> str:
        """For a line of progress."""
        return f"{MODES[self.mode].text}, round {self.number + 1}"

    @property
    def samples(self) -> int:
        """Of a step."""
        return SHARDS * self.per_shard


def trials(*, quick: bool) -> list[Trial]:
    """All rounds."""
    found: list[Trial] = []
    for number in range(1 if quick else 3):
        order = list(MODES) if number % 2 == 0 else list(reversed(MODES))
        found += [Trial(mode, number) for mode in order]
    return [replace(trial, steps=45, slow_at=12, settled=15, per_shard=48) for trial in found] if quick else found


def measure(trial: Trial) -> StragglerRun:
    """Run it.

    Raises:
        RuntimeError: The run failed, or the plan's event did not happen; the end of its log was printed.
        TimeoutExpired: It did not end in time, and was ended.
    """
    words = ["train_straggler.py", f"--model={MODEL}", f"--shards={SHARDS}", f"--per-shard={trial.per_shard}"]
    plan = f"[[event]]\nat_step = {trial.slow_at}\nslow = {{ workers = 1, factor = {FACTOR:g} }}\n"
    with tempfile.TemporaryDirectory(prefix="pliant-straggler-") as name, pliant_home() as env:
        directory, file = Path(name, "job"), Path(name, "plan.toml")
        directory.mkdir()
        file.write_text(plan, encoding="utf-8")
        options = [*OPTIONS, *PATIENCE, *MODES[trial.mode].options, "--plan", str(file)]
        process = jobs.start(
            env, directory, name="straggler", options=options, words=[*words, f"--steps={trial.steps}"]
        )
        try:
            finish([process], timeout_s=LIMIT_S)
        except BaseException:
            print((directory / "log").read_text(errors="replace")[-3000:], flush=True)
            raise
        finally:
            end([process])
        report = read_report(Path(name, "straggler.json"))
    return run_of(report, mode=trial.mode, number=trial.number, settled=trial.settled, samples=trial.samples)
