"""Whether a job, as asked for, can work at all. Pure; reports all problems at once."""

from __future__ import annotations

import math
import re

from pliant.control.schedule_plan import ACTIONS, actions
from pliant.errors import ConfigError
from pliant.wire.api import JobSpec, PlanEvent
from pliant.wire.messages import UNBOUNDED

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST_WORKERS = 4096
_MOST_SLOW = 1000
_MOST_SERVERS = 64
_MOST_COPIES = 2
_MOST_STALENESS = 1000
_LEAST_SERVER_MEMORY = 1 << 20
"""Bytes. Less is a number without its unit."""
_OF_SERVERS = ("scale_servers", "kill_server", "stop_server")
_COUNTED = ("scale", "kill", "leave", "stop", "partition", *_OF_SERVERS)


def check_spec(spec: JobSpec) -> None:
    """Refuse what cannot work.

    Raises:
        ConfigError: With every problem, each naming the value and the fix.
    """
    problems = []
    if not _NAME.fullmatch(spec.name):
        # The name is also that of the directory with the job's logs.
        problems.append(
            f"job name {spec.name[:100]!r}: use up to 100 letters, digits, '.', '_' and '-', "
            "beginning with a letter or a digit"
        )
    low, high, start = spec.min_workers, spec.max_workers, spec.start_workers
    if low < 1:
        problems.append(f"min_workers is {low}; a job needs at least 1")
    if high < low:
        problems.append(f"max_workers ({high}) is below min_workers ({low}); swap them or raise the maximum")
    if high > _MOST_WORKERS:
        problems.append(f"max_workers is {high}; at most {_MOST_WORKERS} are supported")
    if low <= high and not low <= start <= high:
        problems.append(f"start_workers is {start}; choose one from {low} to {high}")
    if not (math.isfinite(spec.patience_s) and spec.patience_s > 0):
        problems.append(f"patience_s is {spec.patience_s}; it must be above 0")
    if spec.checkpoint_every < 0:
        problems.append(f"checkpoint_every is {spec.checkpoint_every}; it must be at least 0, which is never")
    if spec.keep < 1:
        problems.append(f"keep is {spec.keep}; at least 1 checkpoint must be kept")
    if not spec.checkpoints and (spec.checkpoint_every or spec.resume):
        problems.append("checkpoint_every and resume need a directory in checkpoints")
    if spec.strategy == "parameter-server":
        problems += _server_problems(spec)
    if spec.staleness is not None:
        problems += _staleness_problems(spec, spec.staleness)
    if spec.server_memory_bytes is not None:
        problems += _memory_problems(spec, spec.server_memory_bytes)
    for number, event in enumerate(spec.plan, start=1):
        found = [*_plan_problems(event, low=low, high=high), *_server_plan_problems(event, spec)]
        problems += [f"plan event {number}: {problem}" for problem in found]
    if problems:
        raise ConfigError(problems)


def _server_problems(spec: JobSpec) -> list[str]:
    problems = []
    low, high = spec.min_servers, spec.max_servers
    if low < 1:
        problems.append(f"min_servers is {low}; a job with parameter servers needs at least 1")
    if high < low:
        problems.append(f"max_servers ({high}) is below min_servers ({low}); swap them or raise the maximum")
    if high > _MOST_SERVERS:
        problems.append(f"max_servers is {high}; at most {_MOST_SERVERS} are supported, one for each slot")
    if not 1 <= spec.copies <= _MOST_COPIES:
        problems.append(f"copies is {spec.copies}; choose 1, or 2 so that the death of a server loses nothing")
    return problems


def _staleness_problems(spec: JobSpec, staleness: int) -> list[str]:
    problems = []
    if staleness != UNBOUNDED and not 0 <= staleness <= _MOST_STALENESS:
        problems.append(
            f"staleness is {staleness}; choose one from 0 to {_MOST_STALENESS}, {UNBOUNDED} for no bound, or null so "
            "that all workers take each step together"
        )
    if spec.strategy != "parameter-server":
        problems.append(
            f"staleness is {staleness}, which needs the strategy parameter-server; this job's is {spec.strategy}"
        )
    if spec.trace:
        problems.append(
            f"trace is {spec.trace}, to compare bits, which differ each time with a staleness (here {staleness}); "
            "leave one of the two out"
        )
    return problems


def _memory_problems(spec: JobSpec, memory_bytes: int) -> list[str]:
    problems = []
    if memory_bytes < _LEAST_SERVER_MEMORY:
        problems.append(
            f"server_memory_bytes is {memory_bytes}; give at least {_LEAST_SERVER_MEMORY}, or null for no limit"
        )
    if spec.strategy != "parameter-server":
        problems.append(
            f"server_memory_bytes is {memory_bytes}, which needs the strategy parameter-server; this job's is "
            f"{spec.strategy}"
        )
    return problems


def _server_plan_problems(event: PlanEvent, spec: JobSpec) -> list[str]:
    given = [name for name in _OF_SERVERS if getattr(event, name) is not None]
    if given and spec.strategy != "parameter-server":
        return [f"{given[0]} needs the strategy parameter-server; this job's is {spec.strategy}"]
    wanted = event.scale_servers
    if wanted is not None and wanted >= 1 and not spec.min_servers <= wanted <= spec.max_servers:
        return [f"scale_servers is {wanted}, outside the job's {spec.min_servers} to {spec.max_servers} servers"]
    return []


def _plan_problems(event: PlanEvent, *, low: int, high: int) -> list[str]:
    problems = []
    given = actions(event)
    counts: dict[str, int] = {name: value for name, value in given.items() if name in _COUNTED}
    if event.slow is not None:
        counts["slow.workers"] = event.slow.workers
        if not 1 <= event.slow.factor <= _MOST_SLOW:
            problems.append(f"slow.factor is {event.slow.factor}; choose one from 1 to {_MOST_SLOW}")
    if event.kill_coordinator is False:
        problems.append("kill_coordinator is false; give true, or leave it out")
    if event.at_step < 0:
        problems.append(f"at_step is {event.at_step}; steps are counted from 0")
    if len(given) != 1:
        problems.append(f"has {sorted(given) or 'nothing'}; give exactly one of {', '.join(ACTIONS)}")
    for name, value in counts.items():
        if value < 1:
            problems.append(f"{name} is {value}; it must be at least 1")
    if event.scale is not None and event.scale >= 1 and not low <= event.scale <= high:
        problems.append(f"scale is {event.scale}, outside the job's {low} to {high} workers")
    return problems
