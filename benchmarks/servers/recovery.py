"""What the death and the addition of a server cost the workers of a long job: from its report."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import jobs
from benchmarks.servers.accounts import ServerChange, changes_of
from benchmarks.servers.dense import SIZES
from benchmarks.workload import build

WARM_UP = 60
SHARDS = 4
ADAMW = 3
"""Numbers that AdamW keeps for each parameter, itself included."""
BYTES = 4


@dataclass(frozen=True)
class Long:
    """A job of 2 workers and 2 servers, one of which is killed again and again; then a third comes and goes."""

    model: str
    repeats: int
    gap_steps: int
    """Between events; a plan's event waits until those before have had their effect, too."""

    @property
    def steps(self) -> int:
        """Of the whole job."""
        return WARM_UP + (3 * self.repeats + 2) * self.gap_steps


def longs(*, quick: bool) -> list[Long]:
    """Both jobs."""
    repeats = 3 if quick else 10
    return [Long("mlp", repeats, 200), Long("wide", repeats, 30)]


def plan(long: Long) -> str:
    """Its TOML."""
    actions = ["kill_server = 1"] * long.repeats + ["scale_servers = 3", "scale_servers = 2"] * long.repeats
    return "".join(
        f"[[event]]\nat_step = {WARM_UP + number * long.gap_steps}\n{action}\n" for number, action in enumerate(actions)
    )


def measure(long: Long) -> list[ServerChange]:
    """Run it.

    Raises:
        RuntimeError: It failed, or an event did not happen.
    """
    options = ["--workers", "2", "--strategy", "parameter-server", "--servers", "2:3", "--deal", "even"]
    words = ["train.py", f"--model={long.model}", f"--shards={SHARDS}", f"--per-shard={SIZES[long.model].samples}"]
    with tempfile.TemporaryDirectory(prefix="pliant-servers-") as name:
        file = Path(name, "plan.toml")
        file.write_text(plan(long), encoding="utf-8")
        report = jobs.run(Path(name), [*options, "--plan", str(file)], [*words, f"--steps={long.steps}"])
    parameters = sum(value.numel() for value in build(long.model, samples=1).model.parameters())
    changes = changes_of(report, model=long.model, state_bytes=parameters * ADAMW * BYTES)
    if len(changes) != 2 * long.repeats:
        raise RuntimeError(f"{2 * long.repeats} deaths and additions were planned, {len(changes)} are in the report")
    return changes
