"""``pliant verify``: the user's own script, undisturbed and disturbed, compared bit for bit."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from pliant.cli import exit_codes
from pliant.cli.output import note, print_json, problem
from pliant.cli.verify_causes import describe
from pliant.cli.verify_options import VerifyOptions, check_verify_options, verify_parser
from pliant.cli.verify_plan import Diagnosis, diagnose, disturbances, needs_second
from pliant.cli.verify_runs import Finished, Runs
from pliant.errors import ConfigError

_JOINED, _KILLED, _LEFT = ("workers_joined",), ("worker_lost",), ("worker_left", "workers_shrunk")


class Verdict(msgspec.Struct, frozen=True):
    """What ``--json`` prints."""

    identical: bool
    steps: int
    joined: int
    killed: int
    left: int
    weights_sha256: str | None
    cause: str | None
    """None: nothing is wrong."""
    first_step: int | None
    """In which the runs first differ."""
    first_tensor: str | None
    explanation: list[str]


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = check_verify_options(verify_parser().parse_args(argv))
    directory = options.keep or Path(tempfile.mkdtemp(prefix="pliant-verify-"))
    directory.mkdir(parents=True, exist_ok=True)
    runs = Runs(directory, options.run)
    code = exit_codes.ERROR
    try:
        code = _verify(runs, options)
    finally:
        runs.close()
        if options.keep is None and code in (exit_codes.OK, exit_codes.DIVERGED):
            shutil.rmtree(directory, ignore_errors=True)
        else:
            note(f"verify: traces and logs are in {directory}")
    return code


def _verify(runs: Runs, options: VerifyOptions) -> int:
    alone = _phase("undisturbed, on one worker", lambda: runs.run("undisturbed", steps=options.steps))
    if alone.code != exit_codes.OK:
        return _failed(alone, "undisturbed")
    steps, shards = alone.report.steps, alone.status.shards or 1
    if shards < 2:
        hint = "give pliant.Loader more shards"
        raise ConfigError(problem("the loader has 1 shard: there is nothing to deal out to other workers", hint))
    most = min(options.workers, shards)
    plan = disturbances(steps, most) if options.plan is None else options.plan
    storm = _phase(
        f"with joins, leaves and kills, on up to {most} workers",
        lambda: runs.run("disturbed", steps=steps, workers=most, plan=plan),
    )
    if storm.code not in (exit_codes.OK, exit_codes.DIVERGED):
        return _failed(storm, "disturbed")
    again = None
    if needs_second(alone.run, storm.run):
        again = _phase("undisturbed once more, to find the cause", lambda: runs.run("again", steps=steps))
        if again.code != exit_codes.OK:
            return _failed(again, "second undisturbed")
    return _tell(alone, storm, diagnose(alone.run, storm.run, again.run if again else None), options)


def _tell(alone: Finished, storm: Finished, diagnosis: Diagnosis, options: VerifyOptions) -> int:
    same = alone.report.weights_sha256 == storm.report.weights_sha256 and diagnosis.difference is None
    joined, killed, left = storm.happened(*_JOINED), storm.happened(*_KILLED), storm.happened(*_LEFT)
    explanation = describe(diagnosis)
    if not same and diagnosis.difference is None:
        explanation.append(
            "all steps were the same, the weights at the end are not: something behind the last loop over job.steps "
            "changes them"
        )
    verdict = Verdict(
        identical=same,
        steps=storm.report.steps,
        joined=joined,
        killed=killed,
        left=left,
        weights_sha256=storm.report.weights_sha256,
        cause=diagnosis.cause if diagnosis.cause or same else "after-the-loop",
        first_step=diagnosis.difference.step if diagnosis.difference else None,
        first_tensor=_first_tensor(diagnosis),
        explanation=explanation,
    )
    events = f"{_count(joined, 'join')}, {_count(killed, 'kill')}, {_count(left, 'planned leave')}"
    if same:
        head = f"identical{', but' if diagnosis.cause else ''}: {verdict.steps} steps, {events}, "
        head += f"weights {(verdict.weights_sha256 or '')[:16]}"
    else:
        head = f"not identical: the runs differ from step {verdict.first_step} on ({events})"
    if options.json:
        print_json(verdict)
    else:
        print("\n  ".join([head, *explanation]), flush=True)
    if verdict.cause is not None:
        return exit_codes.DIVERGED
    if not joined + killed + left:
        note("error: nothing happened in the disturbed run, so this proves nothing")
        note("  hint: use more --steps, or a --plan whose events come earlier")
        return exit_codes.ERROR
    return exit_codes.OK


def _first_tensor(diagnosis: Diagnosis) -> str | None:
    if diagnosis.difference is not None and diagnosis.difference.tensor is not None:
        return diagnosis.difference.tensor
    return diagnosis.state[1] if diagnosis.state is not None else None


def _phase(what: str, run: Callable[[], Finished]) -> Finished:
    """A line of progress before and after."""
    note(f"verify: {what} ...")
    begin_s = time.monotonic()
    finished = run()
    note(f"verify: {finished.report.steps} steps in {time.monotonic() - begin_s:.1f} s")
    return finished


def _failed(finished: Finished, which: str) -> int:
    """The run session has told why."""
    for line in finished.output:
        note(f"  {line}")
    note(f"error: the {which} run did not come to its end, so there is nothing to compare")
    return finished.code or exit_codes.ERROR


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
