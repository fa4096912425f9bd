"""``job.evaluate``: the exact mean of a function over a data set, dealt over the workers.

One pass without gradients: a worker computes whole shards, that is, shard v of every step. The values are summed in the
tree over the shards within each step and then in the order of the steps, in float64, so the result does not depend
on who computed what. A peer that dies costs its shards' recomputation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import torch
from torch import nn

from pliant.comm.base import Group
from pliant.comm.tree import fold
from pliant.data.base import Source
from pliant.data.streams import seed_streams
from pliant.errors import ConnectionLostError, UsageError
from pliant.parallel.pass_messages import Flags
from pliant.training.session import Session

Row = tuple[float, list[float]]
"""Weight of one batch and the values of its metrics."""


class _Share(msgspec.Struct, forbid_unknown_fields=True):
    """What one worker sends: per shard the rows of all steps, the names of the metrics, and its flags."""

    rows: dict[int, list[Row]]
    names: list[str] | None
    flags: Flags


class Evaluation:
    """One call of ``job.evaluate``. A :class:`pliant.training.session.Attempt`."""

    def __init__(
        self, session: Session, source: Source, function: Callable[[Any], Any], *, shards: int, seed: int
    ) -> None:
        self._session, self._source, self._function = session, source, function
        self.shards, self._seed = shards, seed
        self._rows: dict[int, list[Row]] = {}
        self._names: list[str] | None = None
        self._shares: list[_Share] | None = None

    @property
    def held(self) -> list[int]:
        """Shards computed here."""
        return sorted(self._rows)

    @property
    def full(self) -> bool:
        """Everybody's rows are here."""
        return self._shares is not None

    def restart(self) -> None:
        """Forget all."""
        self._rows, self._shares = {}, None

    def run(self) -> Any:
        """The mean: a float, or a dict of floats if the function gives a dict."""
        session = self._session
        number = session.position.passes
        while True:
            for shard in session.dealt(number, self.shards):
                self._rows[shard] = list(self._shard(shard))
            if self._exchange():
                break
        session.position.passes = number + 1
        assert self._shares is not None
        session.note_flags([share.flags for share in self._shares])
        return self._mean(self._shares)

    def share_of(self, shard: int) -> bytes:
        """Compute one shard, where workers do not wait for each other."""
        rows = {shard: list(self._shard(shard))}
        return msgspec.msgpack.encode(_Share(rows=rows, names=self._names, flags=Flags()))

    def mean_of(self, shares: Sequence[bytes]) -> Any:
        """The result, from what ``share_of`` gave for all shards."""
        return self._mean([msgspec.msgpack.decode(share, type=_Share) for share in shares])

    def _shard(self, shard: int) -> Iterator[Row]:
        step = 0
        while True:
            batch = self._source.batch(epoch=0, step=step, shard=shard)
            if batch is not None:
                seed_streams(self._seed, "evaluate", self._session.position.call, step, shard)
                yield float(batch.samples), self._values(self._function(batch.data))
            else:
                yield 0.0, []
            if not self._source.more(epoch=0, step=step, shard=shard):
                return
            step += 1

    def _values(self, result: Any) -> list[float]:
        named = result if isinstance(result, Mapping) else {"": result}
        names = [str(name) for name in named]
        if self._names is None:
            self._names = names
        if names != self._names:
            raise UsageError(f"the function given to job.evaluate returned {names}, before that {self._names}")
        try:
            return [float(value) for value in named.values()]
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                "the function given to job.evaluate must return a number (the mean over the batch) or a dict of them; "
                f"it returned {type(result).__name__}: {error}"
            ) from error

    def _exchange(self) -> bool:
        """Give and get everybody's rows. False: a peer was lost; more shards were dealt."""
        session = self._session
        group = session.usable_group()
        flags = session.crew.flags(more=[], samples=0, pace=session.pace)
        mine = msgspec.msgpack.encode(_Share(rows=self._rows, names=self._names, flags=flags))
        try:
            if group is not None:
                self._shares = _received(group, mine)
                group.exchange(b"")  # everyone has everything
                return True
        except ConnectionLostError as error:
            if group is not None:
                session.crew.broke(group, error)
        return session.recover(self)

    def _mean(self, shares: list[_Share]) -> Any:
        rows: dict[int, list[Row]] = {}
        for share in shares:
            rows.update(share.rows)
        names = next((share.names for share in shares if share.names is not None), None)
        if names is None:
            raise UsageError("job.evaluate found no sample in the data set")
        totals, weight = [0.0] * len(names), 0.0
        for step in range(max(len(each) for each in rows.values())):
            at = {shard: each[step] if step < len(each) else (0.0, []) for shard, each in rows.items()}
            weight += _tree_sum({shard: row[0] for shard, row in at.items()}, self.shards)
            for index in range(len(names)):
                values = {shard: row[0] * row[1][index] if row[1] else 0.0 for shard, row in at.items()}
                totals[index] += _tree_sum(values, self.shards)
        means = {name: total / weight for name, total in zip(names, totals, strict=True)}
        return means[""] if names == [""] else means


@contextmanager
def evaluating(tracked: Mapping[str, object]) -> Iterator[None]:
    """Modules in eval mode, no gradients; training flags come back afterwards."""
    modules = [module for item in tracked.values() if isinstance(item, nn.Module) for module in item.modules()]
    modes = [module.training for module in modules]
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for module in modules:
            module.training = False
        try:
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode


def _received(group: Group, mine: bytes) -> list[_Share]:
    return [msgspec.msgpack.decode(payload, type=_Share) for payload in group.exchange(mine)]


def _tree_sum(values: Mapping[int, float], shards: int) -> float:
    return fold({(shard, shard + 1): value for shard, value in values.items()}, shards, lambda a, b: a + b)
