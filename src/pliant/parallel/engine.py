"""The numeric side of a pass on one worker: shard gradients in, the mean gradient in ``param.grad`` out.

Who calls what: the training loop opens and closes each shard, reduces, and commits. A reduction that fails (a peer is
gone) leaves the partial sums as they were: more shards can be computed and the pass reduced again, in another group.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import nn

from pliant.comm.base import Group
from pliant.errors import ConnectionLostError
from pliant.parallel.buffer_exchange import BufferExchange
from pliant.parallel.buffers import BufferTracker
from pliant.parallel.divergence_plan import Check
from pliant.parallel.hooks import GradientHooks
from pliant.parallel.layout import Layout, in_use, trained
from pliant.parallel.partials import Collector, FlatCollector, ListCollector, Partials, scaled
from pliant.parallel.pass_messages import Flags, Post, Pre, pack_bits, union_bits
from pliant.parallel.reduce import Reduction, mean_factor, mean_loss
from pliant.parallel.staging import Staging
from pliant.parallel.tables.embedding import tables_in
from pliant.parallel.tables.merge import RowGrads
from pliant.parallel.tables.row_sums import RowSums
from pliant.parallel.tables.update import update_rows


@dataclass(frozen=True)
class PassResult:
    """What every member knows after the reduction of a pass."""

    factor: float
    """One over the sum of the shards' scales; 0 if no shard had a sample."""
    loss: float | None
    """Weighted mean of the shards' losses."""
    present: list[bool]
    """Per parameter: it has a gradient."""
    flags: list[Flags]
    """In rank order."""


@dataclass
class PassState:
    """What this worker has done in the pass so far."""

    number: int
    scales: dict[int, float] = field(default_factory=dict)
    losses: dict[int, torch.Tensor | float] = field(default_factory=dict)
    base: list[torch.Tensor | None] = field(default_factory=list)
    """Gradients that were there before the pass (no ``zero_grad``): the mean is added to them."""
    check: Check | None = None
    """Of this worker's state, to be compared with the others'."""


class PassEngine:
    """Reusable across passes, steps and generations."""

    def __init__(self, models: Mapping[str, nn.Module], shards: int) -> None:
        self._models = models
        self.shards = shards
        self.buffers = BufferTracker(models)
        self._hooks = GradientHooks()
        self._driver = ThreadPoolExecutor(1, thread_name_prefix="pliant-reduce")
        self._layout: Layout | None = None
        self._partials: Partials | None = None
        self._results: list[torch.Tensor] | None = None
        self._staging: Staging | None = None
        self._state = PassState(0)
        self._collector: Collector | None = None
        self._reduction: Reduction | None = None
        self._running: Future[None] | None = None
        self._exchange = BufferExchange(self.buffers, shards)
        self._rows = RowSums(tables_in(models.values()), shards)

    @property
    def held(self) -> list[int]:
        """Shards of the current pass whose gradients are kept here."""
        return sorted(self._state.scales)

    @property
    def full(self) -> bool:
        """This worker holds the full gradient of the current pass."""
        return self._reduction is not None and self._reduction.full

    # ------------------------------------------------------------------ a pass

    def begin(self, number: int, *, check: Check | None = None) -> None:
        """Start pass ``number``: put earlier gradients aside, remember the buffers.

        ``check``: the pass's reduction compares it with the other members' and raises DivergedError if they differ.
        """
        self._use_parameters()
        partials = self._current_partials()
        partials.reset()
        self._reduction = self._running = self._collector = None
        self._state = PassState(number, check=check)
        params = partials.layout.params
        if any(param.grad is not None for param in params):
            self._state.base = [None if p.grad is None else p.grad.detach().clone() for p in params]
            for param in params:
                param.grad = None
        self.buffers.begin()
        self._rows.begin(number)

    def restart(self) -> None:
        """Forget all shards of the current pass."""
        self._current_partials().reset()
        self._rows.restart()
        self._state.scales, self._state.losses = {}, {}
        self._reduction = None

    def open_shard(self, shard: int, *, scale: float, group: Group | None) -> None:
        """Before the backward of a shard.

        ``group``: this is the last shard, and its gradients can stream into the reduction over that group.
        """
        partials = self._current_partials()
        if partials.flats:  # inherited after a crash: its sums are made when it is closed
            return
        if group is not None and self._has_peers(group):
            reduction = self._new_reduction(group, {**self._state.scales, shard: scale})
            held = {*self._state.scales, shard}
            self._collector = FlatCollector(partials, shard, held, reduction.bucket_ready)
            self._running = self._driver.submit(reduction.run)
        else:
            self._collector = ListCollector(partials, shard)
            if not self._collector.merges:
                self._collector = None
                return
        self._hooks.listen(partials.layout, self._collector.ready)

    def close_shard(self, shard: int, *, scale: float, loss: torch.Tensor | float) -> None:
        """After a shard's backward (or for a shard without samples, scale 0): take its gradients and buffers."""
        collector, self._collector = self._collector, None
        if collector is not None:
            self._hooks.silence()
            collector.finish()
        else:
            self._current_partials().take_leaf(shard)
        self.buffers.take(shard, scale)
        self._rows.take(shard)
        self._state.scales[shard] = scale
        self._state.losses[shard] = loss

    def reduce(self, group: Group, flags: Flags) -> PassResult:
        """Sum over all members. Blocking.

        Raises:
            ConnectionLostError: a member is gone. The partial sums are kept; ``full`` says if the gradient is here.
        """
        if not self._has_peers(group):
            return self._alone(flags)
        post = Post(self._loss_values(), pack_bits(self._current_partials().present), self.buffers.changed(), flags)
        running, self._running = self._running, None
        if running is not None and self._reduction is not None and self._reduction.group is group:
            self._reduction.finish(post)
            running.result()
        else:
            if running is not None:
                self._settle(running)
            self._current_partials().flatten()
            self._new_reduction(group, self._state.scales)
            assert self._reduction is not None
            self._reduction.finish(post)
            self._reduction.run()
        return self._result()

    def result(self) -> PassResult:
        """The result of a reduction that is ``full`` although it was interrupted."""
        return self._result()

    def abandon(self) -> None:
        """Wait until an interrupted streaming reduction has let go of the memory."""
        running, self._running = self._running, None
        if running is not None:
            self._settle(running)

    def commit(self, result: PassResult, *, skip: bool = False) -> None:
        """Put the mean gradient into ``param.grad`` and the combined buffers into the models.

        ``skip``: drop the gradients (all ``None``) and leave the buffers as they were.
        """
        partials = self._current_partials()
        if skip:
            for param, base in zip(
                partials.layout.params, self._state.base or [None] * len(result.present), strict=True
            ):
                param.grad = base
            return
        self._place_means(result)
        for param, base in zip(partials.layout.params, self._state.base, strict=False):
            if base is not None:
                param.grad = base if param.grad is None else base.add_(param.grad)
        self._exchange.commit(result.factor)
        self._update_rows(result)

    def warm(self) -> None:
        """Touch the memory that the first reduction will need (a newcomer, before it is admitted)."""
        self._use_parameters()
        partials = self._current_partials()
        self._results = partials.layout.new_flats()
        spare = partials.layout.new_flats()
        for flat in (*self._results, *spare):
            flat.zero_()
        partials.give(spare)

    def shrink(self) -> None:
        """The generation changed: give back memory that its size no longer needs."""
        if self._staging is not None:
            self._staging.clear()
        if self._partials is not None:
            self._partials.release()

    def close(self) -> None:
        """Remove the hooks and end the driving thread.

        A pass that still streams (the script raised within it) will never be finished: its group is aborted, because
        a thread that waits for peers would keep the process, and the peers, waiting.
        """
        self._hooks.remove()
        if self._running is not None and self._reduction is not None:
            self._reduction.group.abort()
        self._driver.shutdown(wait=True, cancel_futures=True)

    # ------------------------------------------------------------------ parts

    def _has_peers(self, group: Group) -> bool:
        """The sums have to go somewhere else."""
        return group.size > 1

    def _place_means(self, result: PassResult) -> None:
        for index, param in enumerate(self._current_partials().layout.params):
            param.grad = self._mean(index) if result.present[index] else None

    def _update_rows(self, result: PassResult) -> None:
        """The tables' own optimizers, on the mean gradient of the pass's rows. Here: one worker has all of them."""
        for name, table in self._rows.tables.items():
            total = self._rows.nodes[0, self.shards][name]
            mean = scaled(total.grads, result.factor, torch.empty_like(total.grads))
            update_rows(table.store, RowGrads(total.ids, mean), step=self._state.number + 1)
            table.step = self._state.number + 2

    def _use_parameters(self) -> None:
        named = trained(self._models)
        if self._layout is None or not self._layout.matches([param for _, param in named]):
            self._hooks.remove()
            self._layout = Layout(named)
            self._partials = Partials(self._layout, self.shards)
            self._results, self._staging = None, Staging(self._layout)

    def _current_partials(self) -> Partials:
        if self._partials is None:
            raise AssertionError("begin() comes first")
        return self._partials

    def _new_reduction(self, group: Group, scales: dict[int, float]) -> Reduction:
        partials = self._current_partials()
        held, state = sorted(scales), self._state
        weights = [scales[shard] for shard in held]
        body = b"" if state.check is None else state.check.body
        self._exchange = BufferExchange(self.buffers, self.shards)
        self._reduction = self._reduction_over(
            group, partials, Pre(state.number, partials.layout.fingerprint, held, weights, body)
        )
        return self._reduction

    def _reduction_over(self, group: Group, partials: Partials, pre: Pre) -> Reduction:
        assert self._staging is not None
        if self._results is None or any(in_use(flat) for flat in self._results):
            self._results = partials.layout.new_flats()  # never overwrite a gradient that the script has kept
        return Reduction(
            group,
            partials,
            pre=pre,
            exchange=self._exchange,
            results=self._results,
            staging=self._staging,
            check=self._state.check,
        )

    def _settle(self, running: Future[None]) -> None:
        error = running.exception()
        if error is None:
            raise AssertionError("a reduction ended although its pass had not")
        if not isinstance(error, ConnectionLostError):
            raise error

    def _loss_values(self) -> list[float]:
        return [float(self._state.losses[shard]) for shard in self.held]

    def _alone(self, flags: Flags) -> PassResult:
        partials = self._current_partials()
        self.abandon()
        self._reduction = None
        self._exchange = BufferExchange(self.buffers, self.shards)
        self._exchange.payload(self.buffers.changed())
        self._exchange.fold({}, {})
        losses = dict(zip(self.held, self._loss_values(), strict=True))
        scales = self._state.scales
        return PassResult(
            mean_factor(scales, self.shards), mean_loss(scales, losses, self.shards), list(partials.present), [flags]
        )

    def _result(self) -> PassResult:
        reduction = self._reduction
        assert reduction is not None
        posts = [reduction.posts[rank] for rank in range(reduction.group.size)]
        losses: dict[int, float] = {}
        for rank, post in enumerate(posts):
            losses.update(zip(reduction.held_by[rank], post.losses, strict=True))
        return PassResult(
            reduction.factor,
            mean_loss(reduction.scales, losses, self.shards),
            union_bits([post.present for post in posts], len(self._current_partials().present)),
            [post.flags for post in posts],
        )

    def _mean(self, index: int) -> torch.Tensor:
        """Parameter ``index``'s mean gradient, on its device."""
        partials, param = self._current_partials(), self._current_partials().layout.params[index]
        if self._reduction is not None:
            assert self._results is not None
            return partials.layout.view(self._results, index).to(param.device)
        factor = mean_factor(self._state.scales, self.shards)
        if partials.flats:
            source = partials.layout.view(partials.flats[0, self.shards], index)
            return scaled(source, factor, torch.empty_like(param, device=source.device)).to(param.device)
        total = partials.lists[0, self.shards][index]
        assert total is not None
        return scaled(total, factor, total)
