"""What the scripts wrote down, worker by worker: digests after each step, and the samples of each shard."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Trace:
    """All workers' books of one run."""

    digests: dict[int, dict[int, list[str]]] = field(default_factory=dict)
    """pid -> step -> digest of the weights, digest of everything tracked."""
    shards: dict[int, list[tuple[int, int, tuple[int, ...]]]] = field(default_factory=dict)
    """pid -> (epoch, step, samples) of each shard computed, in order."""
    values: list[tuple[int, list]] = field(default_factory=list)
    """(pid, what the script noted)."""

    @property
    def steps(self) -> int:
        """Steps that anyone has completed."""
        return 1 + max((step for steps in self.digests.values() for step in steps), default=-1)

    def at(self, step: int) -> list[str]:
        """What everybody wrote after this step; they must agree."""
        found = {tuple(steps[step]) for steps in self.digests.values() if step in steps}
        assert len(found) == 1, f"step {step}: the workers wrote {found}"
        return list(found.pop())

    def noted(self, key: str) -> list:
        """Values noted under ``key``, over all workers."""
        return [value for _, (name, value) in self.values if name == key]


def read_traces(directory: Path) -> Trace:
    """Read all books below ``directory``."""
    trace = Trace()
    for path in sorted(directory.glob("book-*.jsonl")):
        pid = int(path.stem.partition("-")[2])
        for line in path.read_text().splitlines():
            kind, *rest = json.loads(line)
            if kind == "digest":
                trace.digests.setdefault(pid, {})[rest[0]] = rest[1:]
            elif kind == "shard":
                trace.shards.setdefault(pid, []).append((rest[0], rest[1], tuple(rest[2])))
            else:
                trace.values.append((pid, rest))
    return trace


def assert_same_bits(trace: Trace, reference: Trace) -> None:
    """Every worker had the reference's weights and state after every step that it took part in.

    A step that only a worker which died has completed is no exception: it was committed then.
    """
    assert trace.steps > 0, "nothing was trained"
    assert trace.steps <= reference.steps, f"the reference has {reference.steps} steps, the run {trace.steps}"
    for step in range(trace.steps):
        assert trace.at(step) == reference.at(step), f"step {step} is the first that differs"


def assert_exactly_once(trace: Trace, reference: Trace, *, steps: int, recomputed: int = 0) -> None:
    """The shards of all committed steps have the samples of the reference run, each once.

    Args:
        trace: The run.
        reference: The undisturbed one: it computed every shard of every step exactly once.
        steps: Committed steps.
        recomputed: Shards that may have been computed more than once, because somebody died.
    """
    expected = Counter(shard for shards in reference.shards.values() for shard in shards if shard[1] < steps)
    assert set(expected.values()) == {1}
    found = Counter(shard for shards in trace.shards.values() for shard in shards if shard[1] < steps)
    assert set(found) == set(expected), "shards that are missing or have other samples: " + str(
        sorted(set(found) ^ set(expected))[:4]
    )
    again = {shard: times for shard, times in found.items() if times > 1}
    assert sum(times - 1 for times in again.values()) <= recomputed, f"computed more than once: {again}"


def assert_epochs_complete(trace: Trace, *, size: int, epochs: int) -> None:
    """In each epoch, the committed shards hold every sample of the data set exactly once."""
    for epoch in range(epochs):
        distinct = {(step, samples) for shards in trace.shards.values() for e, step, samples in shards if e == epoch}
        counts = Counter(sample for _, samples in distinct for sample in samples)
        assert sorted(counts) == list(range(size)), f"epoch {epoch} has {len(counts)} of {size} samples"
        assert set(counts.values()) == {1}, f"epoch {epoch} has samples more than once"
