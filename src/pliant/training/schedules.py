"""Learning-rate schedules where a worker computes only some of the steps: they go by the steps, not by the calls.

A scheduler that the script steps once in the body of the loop is at the step's number whenever the body begins,
whatever this worker has computed before. One that is stepped elsewhere, after each epoch say, is left alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

_Saved = tuple[dict[str, Any], list[Any]]


@dataclass(frozen=True)
class Progress:
    """How far the schedulers of a worker are.

    Attributes:
        step: whose body they have been through; -1: of none.
        in_body: of each, whether the body steps it; None: no body has been seen.
        origin: the step whose body they had been through when ``first`` was taken.
        first: the state of each, and the rates of its optimizer's groups, that all others follow from.
    """

    step: int = -1
    in_body: list[bool | None] = field(default_factory=list)
    origin: int = -1
    first: list[Any] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """The arguments of another one."""
        return {"step": self.step, "in_body": list(self.in_body), "origin": self.origin, "first": list(self.first)}


@dataclass
class _Schedule:
    scheduler: LRScheduler
    in_body: bool | None = None
    """Stepped once in each body; None: no body has been seen."""
    before: _Saved | None = None
    """As it was when the body of the newest step began."""
    first: _Saved | None = None
    """As it was before any step that a lease may be of."""
    undo: _Saved | None = None
    """As it was before anything was done to it here."""
    after: _Saved | None = None
    """As it is to be again when the body of an older step has ended."""


class Schedules:
    """Of one worker. Main thread.

    Args:
        tracked: whatever is.
        begun: how far they are.
    """

    def __init__(self, tracked: Mapping[str, object], begun: Progress) -> None:
        self._step = begun.step
        self._origin = begun.origin if begun.first else begun.step
        found = [item for item in tracked.values() if isinstance(item, LRScheduler)]
        self._all = [
            _Schedule(item, False if isinstance(item, ReduceLROnPlateau) else known, first=first)
            for item, known, first in zip_longest(found, begun.in_body[: len(found)], begun.first[: len(found)])
        ]

    @property
    def progress(self) -> Progress:
        """How far they are."""
        first = [None if each.first is None else list(each.first) for each in self._all]
        known = any(each is not None for each in first)
        return Progress(self._step, [each.in_body for each in self._all], self._origin, first if known else [])

    def body_begins(self, step: int) -> None:
        """Put every scheduler to where it is before this step."""
        for each in self._all:
            if each.in_body is False:
                continue
            if each.undo is None:
                each.undo = _saved(each.scheduler)
                each.first = each.first or each.undo
            if step < self._step or (step == self._step and each.before is None):
                self._go_back(each, step)
                continue
            if step == self._step and each.before is not None:  # another shard of the same step
                _restore(each.scheduler, each.before)
            for _ in range(self._step + 1, step):
                _advance(each.scheduler)
            each.before = _saved(each.scheduler)

    def body_ends(self, step: int) -> None:
        """See which schedulers the body has stepped."""
        for each in self._all:
            if each.after is not None:
                _restore(each.scheduler, each.after)
                each.after = None
                continue
            if each.in_body is None and each.before is not None:
                each.in_body = each.scheduler.last_epoch == each.before[0]["last_epoch"] + 1
                if not each.in_body and each.undo is not None:
                    _restore(each.scheduler, each.undo)
        self._step = max(self._step, step)

    def _go_back(self, each: _Schedule, step: int) -> None:
        """A lease that a lost worker had."""
        each.after = _saved(each.scheduler)
        if each.first is not None:
            _restore(each.scheduler, each.first)
        for _ in range(self._origin + 1, step):
            _advance(each.scheduler)


def _saved(scheduler: LRScheduler) -> _Saved:
    return dict(scheduler.state_dict()), [group["lr"] for group in scheduler.optimizer.param_groups]


def _restore(scheduler: LRScheduler, saved: _Saved) -> None:
    state, rates = saved
    scheduler.load_state_dict(state)
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _advance(scheduler: LRScheduler) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer was not stepped before: others have done these steps
        scheduler.step()
