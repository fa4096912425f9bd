"""Compares the traces of several runs of one script, finds the first difference, and what it comes from. Pure.

The reference ran undisturbed on one worker; the other began with two workers, others joined, some were killed, some
left. From where the first difference is (initial state, batch, loss, gradient, update), on whom (a worker
that has just joined, or one that was there all the time), and whether a second undisturbed run has it too,
follows the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pliant.cli.verify_traces import Run
from pliant.wire.api import PlanEvent
from pliant.wire.trace import TraceShard

Where = Literal["initial", "batch", "loss", "gradient", "update"]
Cause = Literal[
    "unseeded",
    "data-varies",
    "nondeterministic",
    "own-generator",
    "data-depends",
    "counts-batches",
    "lost-at-join",
    "loop-body",
    "threads",
    "stream",
]
FOUNDERS = 2
GENERATOR = "(random generator)"


@dataclass(frozen=True)
class Difference:
    """The first thing in which a run differs from the reference."""

    where: Where
    step: int
    tensor: str | None = None
    """Initial state and update: the first tensor."""
    shard: int | None = None
    """Batch and loss: the first shard."""
    workers: tuple[str, ...] = ()
    """On whom; empty for a gradient, which all get alike."""
    newcomers: bool = False
    """All of these had joined the running job."""
    threads: tuple[int, int] | None = None
    """The reference's threads and those of a worker that has others."""
    changed: tuple[str, ...] = ()
    """Things that are not tracked and were changed: during these shards, or (newcomers, update) by the loop's body."""


@dataclass(frozen=True)
class Diagnosis:
    """What the traces say."""

    difference: Difference | None = None
    cause: Cause | None = None
    """None: identical, and nothing is wrong."""
    state: tuple[int, str] | None = None
    """The first step before which a tensor differs, and that tensor."""
    repeated: bool | None = None
    """Whether two undisturbed runs agree; None: there was only one."""

    @property
    def passed(self) -> bool:
        """Nothing is wrong."""
        return self.cause is None


def disturbances(steps: int, most: int) -> list[PlanEvent]:
    """Joins, kills and leaves spread over ``steps`` steps, for up to ``most`` workers, beginning with two."""
    grow = [PlanEvent(0, scale=most)] if most > FOUNDERS else []
    wanted = [*grow, PlanEvent(0, kill=1), PlanEvent(0, leave=1), PlanEvent(0, scale=most), PlanEvent(0, kill=most - 1)]
    fitting = wanted[: max(1, (steps - 2) // 3)]
    first, last = max(1, steps // 10), max(2, steps * 3 // 4)
    gap = (last - first) / max(1, len(fitting) - 1)
    places = [first + round(index * gap) for index in range(len(fitting))]
    return [
        PlanEvent(step, scale=event.scale, kill=event.kill, leave=event.leave)
        for step, event in zip(places, fitting, strict=True)
    ]


def needs_second(reference: Run, run: Run) -> bool:
    """Whether the cause cannot be told without running undisturbed once more."""
    found = first_difference(reference, run)
    return found is not None and found.where != "initial" and found.threads is None


def diagnose(reference: Run, run: Run, second: Run | None = None) -> Diagnosis:
    """Compare ``run`` (disturbed) with ``reference``; ``second``: undisturbed as well."""
    found = first_difference(reference, run)
    again = None if second is None else first_difference(reference, second)
    repeated = None if second is None else again is None
    if found is None and again is None:
        return Diagnosis(cause=_silent_cause(reference, run), repeated=repeated)
    # What already differs without any disturbance is the simpler story.
    shown = again or found
    assert shown is not None
    if shown.newcomers or shown.where == "update":
        shown = replace(shown, changed=_changed_between(reference, shown.step))
    state = first_state_difference(reference, run) or (first_state_difference(reference, second) if second else None)
    return Diagnosis(shown, _cause(shown, varies=again is not None), state, repeated)


def first_difference(reference: Run, run: Run) -> Difference | None:
    """In the order in which a step is computed: state, then for each pass batches, losses, gradient."""
    steps = sorted(reference.states.keys() | run.states.keys())
    for step in steps:
        state = _state(reference, run, step)
        if state is not None:
            return state
        for key in sorted(key for key in reference.shards if key[0] == step):
            theirs = run.shards.get(key, {})
            for where in ("batch", "loss"):
                found = _shards(reference.shards[key], theirs, where=where, run=run)
                if found is not None:
                    return found
            gradients = {*reference.means.get(key, {}).values()}, {*run.means.get(key, {}).values()}
            if all(gradients) and len(gradients[0] | gradients[1]) > 1:
                lines = [line for of_shard in theirs.values() for line in of_shard.values()]
                return Difference("gradient", step, threads=_threads(reference, lines), changed=_changed(lines))
    return None


def first_state_difference(reference: Run, run: Run) -> tuple[int, str] | None:
    """The first step before which a tensor differs, and its name."""
    for step in sorted(reference.states.keys() & run.states.keys()):
        found = _state(reference, run, step)
        if found is not None:
            return step, found.tensor or ""
    return None


def _state(reference: Run, run: Run, step: int) -> Difference | None:
    mine, theirs = reference.states.get(step), run.states.get(step)
    if not mine or not theirs:
        return None
    right = next(iter(mine.values()))
    deviating = {worker: state for worker, state in theirs.items() if state.digests != right.digests}
    if not deviating:
        return None
    names = [_first_name(right.digests, state.digests) for state in deviating.values()]
    order = list(right.digests)
    tensor = min(names, key=lambda name: order.index(name) if name in order else len(order))
    first = min(reference.states) == step
    others = [state.threads for state in deviating.values() if state.threads != right.threads]
    return Difference(
        "initial" if first else "update",
        step if first else step - 1,
        tensor=tensor,
        workers=tuple(deviating),
        newcomers=_newcomers(run, deviating, step),
        threads=(right.threads, others[0]) if others else None,
    )


def _first_name(right: Mapping[str, str], wrong: Mapping[str, str]) -> str:
    for name in [*right, *wrong]:
        if right.get(name) != wrong.get(name):
            return name
    return next(iter(right))


def _shards(
    mine: Mapping[int, Mapping[str, TraceShard]],
    theirs: Mapping[int, Mapping[str, TraceShard]],
    *,
    where: Literal["batch", "loss"],
    run: Run,
) -> Difference | None:
    wrong: list[tuple[str, TraceShard, TraceShard]] = []
    for shard in sorted(mine.keys() & theirs.keys()):
        right = next(iter(mine[shard].values()))
        wrong += [
            (worker, line, right)
            for worker, line in theirs[shard].items()
            if getattr(line, where) != getattr(right, where)
        ]
    if not wrong:
        return None
    _, first, _ = wrong[0]
    workers = tuple(dict.fromkeys(worker for worker, _, _ in wrong))
    other_threads = [(right.threads, line.threads) for _, line, right in wrong if line.threads != right.threads]
    return Difference(
        where,
        first.step,
        shard=first.shard,
        workers=workers,
        newcomers=_newcomers(run, workers, first.step),
        threads=other_threads[0] if other_threads else None,
        changed=_changed([each for _, line, right in wrong for each in (line, right)]),
    )


def _newcomers(run: Run, workers: Iterable[str], step: int) -> bool:
    joined = [run.joined_at(worker) for worker in workers]
    return bool(joined) and all(at is not None and at <= step for at in joined)


def _threads(reference: Run, lines: Iterable[TraceShard]) -> tuple[int, int] | None:
    usual = next(iter(next(iter(reference.states.values())).values())).threads
    return next(((usual, line.threads) for line in lines if line.threads != usual), None)


def _changed(lines: Iterable[TraceShard]) -> tuple[str, ...]:
    return tuple(sorted({name for line in lines for name in line.changed}))


def _changed_between(reference: Run, step: int) -> tuple[str, ...]:
    """What the body of the loop changed up to ``step``: a worker that joined there has not seen it."""
    states = [state for at, of_step in reference.states.items() if at <= step + 1 for state in of_step.values()]
    return tuple(sorted({name for state in states for name in state.changed}))


def _cause(found: Difference, *, varies: bool) -> Cause:
    if found.where == "initial":
        return "unseeded"
    if found.threads is not None:
        return "threads"
    if any(GENERATOR in name for name in found.changed):
        return "own-generator"
    if varies:
        return "data-varies" if found.where == "batch" else "nondeterministic"
    if found.where == "batch":
        return "data-depends"
    if found.newcomers:
        return "lost-at-join"
    return "loop-body" if found.where == "update" else "counts-batches"


def _silent_cause(reference: Run, run: Run) -> Cause | None:
    """What is wrong although all bits are the same."""
    if _same_batches(reference):
        return "stream"
    if any(_threads(reference, lines) is not None for lines in _by_pass(run)):
        return "threads"
    return None


def _by_pass(run: Run) -> Iterator[list[TraceShard]]:
    for of_pass in run.shards.values():
        yield [line for of_shard in of_pass.values() for line in of_shard.values()]


def _same_batches(run: Run) -> bool:
    """In every step some shards of a stream have the very same batch: real data does not do that."""
    passes = [lines for lines in _by_pass(run) if all(line.stream for line in lines) and len(lines) > 1]
    return bool(passes) and all(len({line.batch for line in lines}) < len(lines) for lines in passes)
