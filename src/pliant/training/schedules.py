"""Learning-rate schedules where a worker computes only some of the steps: they go by the steps, not by the calls.

A scheduler that the script steps once in the body of the loop is at the step's number whenever the body begins,
whatever this worker has computed before. One that is stepped elsewhere, after each epoch say, is left alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

_Saved = tuple[dict[str, Any], list[Any]]


@dataclass
class _Schedule:
    scheduler: LRScheduler
    in_body: bool | None = None
    """Stepped once in each body; None: no body has been seen."""
    before: _Saved | None = None
    """As it was when the body of the newest step began."""
    first: _Saved | None = None
    """As it was before anything was done to it here."""
    after: _Saved | None = None
    """As it is to be again when the body of an older step has ended."""


class Schedules:
    """Of one worker. Main thread.

    Attributes:
        step: whose body they have been through; -1: of none.
    """

    def __init__(self, tracked: Mapping[str, object], *, step: int) -> None:
        self.step = self._begun = step
        self._all = [_Schedule(item) for item in tracked.values() if isinstance(item, LRScheduler)]

    def body_begins(self, step: int) -> None:
        """Put every scheduler to where it is before this step."""
        for each in self._all:
            if each.in_body is False:
                continue
            if each.first is None:
                each.first = _saved(each.scheduler)
            if step < self.step:
                self._go_back(each, step)
                continue
            if step == self.step and each.before is not None:  # another shard of the same step
                _restore(each.scheduler, each.before)
            for _ in range(self.step + 1, step):
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
                if not each.in_body and each.first is not None:
                    _restore(each.scheduler, each.first)
        self.step = max(self.step, step)

    def _go_back(self, each: _Schedule, step: int) -> None:
        """A lease that a lost worker had. Of steps before this worker came it only knows the rate of that time."""
        each.after = _saved(each.scheduler)
        if each.first is not None:
            _restore(each.scheduler, each.first)
        for _ in range(self._begun + 1, step):
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
