"""A group of loader processes that makes the batches a prefetch plan orders, in that order.

The processes are those of :class:`torch.utils.data.DataLoader`, forked once and kept: its sampler is an endless
iterator that asks the plan each time there is room for another order. So a resize changes what is ordered next, and
nothing else.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset, Sampler

from pliant.data.base import Batch, Key
from pliant.data.fetch import Fetcher
from pliant.data.prefetch_plan import PrefetchPlan

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Made:
    """What a loader process answers to one order."""

    batch: Batch | None
    more: bool
    error: ExceptionWrapper | None = None


class Lane:
    """One group of loader processes with its plan. Use from the main thread of the process that made it.

    Args:
        fetcher: Copied into each process when the processes start.
        plan: Whose orders are carried out.
        workers: How many processes.
        prefetch_factor: Orders under way for each process.
    """

    def __init__(self, fetcher: Fetcher, *, plan: PrefetchPlan, workers: int, prefetch_factor: int) -> None:
        self.plan = plan
        self._here: dict[Key, Made] = {}
        self._more: dict[Key, bool] = {}
        self._answers: Any = None
        self._loader = DataLoader(
            _Workshop(fetcher),
            batch_size=None,
            sampler=_Orders(plan),
            num_workers=workers,
            prefetch_factor=prefetch_factor,
            collate_fn=_as_it_is,
            worker_init_fn=_Init(os.getpid()),
            # Fork: any dataset will do, and nothing is imported again.
            multiprocessing_context="fork" if sys.platform == "linux" else None,
            # DataLoader draws a seed when it starts; from a generator of its own, not from the script's stream.
            generator=torch.Generator(),
        )

    @property
    def started(self) -> bool:
        """Whether the processes run."""
        return self._answers is not None

    def start(self) -> None:
        """Fork the processes and give them their first orders; again: nothing."""
        if self._answers is None:
            with warnings.catch_warnings():
                # From Python 3.12 on forking beside threads warns. DataLoader forks in any process with threads.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._answers = iter(self._loader)

    def give(self, key: Key) -> Made | None:
        """The answer for this batch if it is here or under way (then waits for it), else None: make it yourself."""
        while key not in self._here and self.plan.is_coming(key):
            self._receive()
        made = self._here.pop(key, None)
        if made is not None:
            self._more[key] = made.more
        return made

    def know_more(self, key: Key) -> bool | None:
        """Whether the shard goes on after this batch, if a loader process has said so."""
        if key in self._here:
            return self._here[key].more
        return self._more.get(key)

    def tidy(self) -> None:
        """Throw away what training will not ask for, so that its room is used for what it will."""
        if self._answers is not None and self.plan.shards:
            # Once round at most: with nothing to order, a bubble thrown away brings another one.
            for _ in self.plan.under_way:
                if not self.plan.idle_head():
                    break
                self._receive()
        self._here = {key: made for key, made in self._here.items() if self.plan.is_of_use(key)}
        self._more = {key: more for key, more in self._more.items() if not self.plan.is_behind(key)}

    def close(self) -> None:
        """End the processes; again: nothing."""
        answers, self._answers = self._answers, None
        if answers is not None:
            # What deleting the iterator does, but at a known moment.
            answers._shutdown_workers()
        self._here.clear()

    def _receive(self) -> None:
        order = self.plan.arrived()
        made = next(self._answers)
        if order is None:
            return
        if made.batch is None and made.error is None:
            self.plan.ended(order)
        if self.plan.is_of_use(order):
            self._here[order] = made


class _Orders(Sampler[Key | None]):
    """Endless: DataLoader takes the next order whenever an answer has made room for one."""

    def __init__(self, plan: PrefetchPlan) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[Key | None]:
        while True:
            yield self._plan.next_order()


class _Workshop(Dataset[Made | None]):
    """The far side: carries out one order in a loader process."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def __getitem__(self, order: Key | None) -> Made | None:
        if order is None:
            return None
        try:
            return Made(self._fetcher.fetch(order), self._fetcher.more(order))
        except Exception as error:
            where = f"in a loader process, at shard {order.shard} of step {order.step} of epoch {order.epoch}"
            return Made(None, False, _wrapped(error, where))


def _wrapped(error: Exception, where: str) -> ExceptionWrapper:
    """The error with its traceback as text, of its own type where that can be sent between processes."""
    wrapper = ExceptionWrapper(where=where)  # type: ignore[no-untyped-call]
    try:
        pickle.dumps(type(error))
    except Exception:
        wrapper.exc_type = RuntimeError
    return wrapper


@dataclass(frozen=True)
class _Init:
    """First thing in a loader process: tie its life to the worker's."""

    parent: int

    def __call__(self, _number: int) -> None:
        # Ctrl-C goes to the whole group; the worker decides what it means and ends its loader processes.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if sys.platform == "linux":
            # A killed worker's sockets stay open as long as a fork of it lives, and its peers would not notice the
            # loss. DataLoader's own watchdog looks every 5 s; the kernel acts at once.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self.parent:
                os.kill(os.getpid(), signal.SIGKILL)


def _as_it_is(made: Any) -> Any:
    return made
