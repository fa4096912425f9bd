"""One pass's reduction over a group: everybody's partial sums in, the same full gradient out, bit for bit.

Direct exchange in tree order: each member owns a slice of every bucket, receives the others' partial sums for it,
adds them in the tree's order, scales, and sends the result round: 2 (n-1) / n of the gradient's bytes per member, as
in a ring, in 2 (n-1) messages per bucket (docs/design/0003 compares the forms). Frames name their bucket, so members
need not keep in step. Partial sums stay untouched: a pass that fails half-way leaves them as they were.

Order on every connection: PRE first, ACK last; in between PART, POST, RESULT and BUFFER as they become ready. PART
frames of one sender come in bucket order, which makes the small ring of staging memory free of deadlock: bucket b can
always be folded before anything of bucket b + DEPTH is read. ACK says "I hold the full gradient"; a member commits
when it has everyone's.
"""

from __future__ import annotations

import msgspec
import torch

from pliant.comm.base import Group
from pliant.comm.tree import Node, fold, maximal_subtrees
from pliant.errors import DivergedError, ProtocolError, StateError
from pliant.parallel.buffer_exchange import BufferExchange
from pliant.parallel.divergence_plan import Check
from pliant.parallel.layout import as_bytes, slice_bounds
from pliant.parallel.partials import Partials, scaled
from pliant.parallel.pass_messages import ACK, BUFFER, MAX_MESSAGE_BYTES, NODE_BITS, PART, POST, PRE, RESULT, Post, Pre
from pliant.parallel.staging import DEPTH, Staging

_ENCODE = msgspec.msgpack.Encoder().encode
_PRE = msgspec.msgpack.Decoder(Pre)
_POST = msgspec.msgpack.Decoder(Post)


class Reduction:
    """The frames of one pass: a :class:`pliant.comm.base.Handler`.

    The computing thread calls ``bucket_ready`` as buckets fill and ``finish`` once; one thread calls ``run``. After
    ``run`` ``results`` hold the mean gradient and ``posts``, ``scales``, ``factor`` what everybody told. If ``run``
    raises, nothing is committed here, ``full`` says whether the gradient was complete (it may then be committed
    without another exchange).
    """

    def __init__(  # noqa: PLR0913 - made in one place only
        self,
        group: Group,
        partials: Partials,
        *,
        pre: Pre,
        exchange: BufferExchange,
        results: list[torch.Tensor],
        staging: Staging,
        check: Check | None = None,
    ) -> None:
        """``check``: whose body ``pre`` carries; the members' states are compared with it."""
        self.group, self.partials, self.pre, self.results = group, partials, pre, results
        self.full = False
        self.scales: dict[int, float] = dict(zip(pre.held, pre.scales, strict=True))
        self.posts: dict[int, Post] = {}
        self.held_by: dict[int, list[int]] = {group.rank: list(pre.held)}
        self.factor = 0.0
        self._layout, self._shards = partials.layout, partials.shards
        self._exchange, self._staging = exchange, staging
        self._peers = [rank for rank in range(group.size) if rank != group.rank]
        self._nodes: dict[int, list[Node]] = {group.rank: maximal_subtrees(pre.held, partials.shards)}
        count = len(self._layout.buckets)
        self._ready = [False] * count
        self._posted = 0
        self._parts: list[dict[Node, torch.Tensor]] = [{} for _ in range(count)]
        self._own: list[set[Node]] = [set() for _ in range(count)]
        self._folded = [False] * count
        self._results_left = len(self._peers) * count
        self._post: Post | None = None
        self._post_sent = self._ack_sent = False
        self._buffer_payloads: dict[int, memoryview] | None = None
        self._early_buffers: dict[int, memoryview] = {}
        self._buffers_done = False
        self._acks: set[int] = set()
        self._check_of, self._checks = check, {group.rank: pre.check}
        self._expected = 0
        """Partial sums that make up the whole, over all members; known once all PREs are here."""

    # ------------------------------------------------------------ computing thread

    def bucket_ready(self, bucket: int) -> None:
        """This worker's partial sums of ``bucket`` are in the flat buffers."""
        self._ready[bucket] = True
        self.group.wake()

    def finish(self, post: Post) -> None:
        """The last backward is over; all buckets are ready."""
        self._ready = [True] * len(self._ready)
        self._post = post
        self.group.wake()

    # ------------------------------------------------------------ driving thread

    def run(self) -> None:
        """Drive the pass to its end. Blocking.

        Raises:
            ConnectionLostError: (or GenerationOverError) a member is gone; see ``full``.
            StateError: members train models of different shapes.
            DivergedError, ProtocolError: members disagree about the pass or who holds which shard.
        """
        self._send_all(PRE, _ENCODE(self.pre))
        if not self._peers:
            self._all_said()
        self.group.drive(self, self._advance)

    def wants(self, peer: int) -> bool:
        """Frames are expected until the peer's ACK."""
        return peer not in self._acks

    def destination(self, peer: int, kind: int, index: int, size: int) -> memoryview | None:
        """Staging for partial sums, the result itself for results, fresh memory for messages."""
        if kind in (PRE, POST, BUFFER, ACK):
            if size > MAX_MESSAGE_BYTES:
                raise ProtocolError(f"rank {peer} announced a message of {size} bytes, at most {MAX_MESSAGE_BYTES}")
            return memoryview(bytearray(size))
        bucket, node = (index >> NODE_BITS, index & (1 << NODE_BITS) - 1) if kind == PART else (index, 0)
        if kind not in (PART, RESULT) or bucket >= len(self._folded) or peer not in self._nodes:
            raise ProtocolError(f"rank {peer} sent a frame of kind {kind} and index {index} out of order")
        if kind == PART and bucket >= DEPTH and not self._folded[bucket - DEPTH]:
            return None
        target = self._part(peer, bucket, node) if kind == PART else self._slice(self.results, bucket, peer)
        view = as_bytes(target)
        if len(view) != size:
            raise ProtocolError(f"rank {peer} sent {size} bytes of bucket {bucket}, {len(view)} were expected")
        return view

    def received(self, peer: int, kind: int, index: int, body: memoryview) -> None:
        """A frame is complete."""
        if kind == PRE:
            self._check(peer, _PRE.decode(body))
        elif kind == PART:
            bucket, node = index >> NODE_BITS, index & (1 << NODE_BITS) - 1
            self._parts[bucket][self._nodes[peer][node]] = self._part(peer, bucket, node)
        elif kind == RESULT:
            self._results_left -= 1
        elif kind == POST:
            self.posts[peer] = _POST.decode(body)
        elif kind == BUFFER:
            self._early_buffers[peer] = body
        else:
            self._acks.add(peer)

    # ------------------------------------------------------------ steps of the pass

    def _advance(self) -> bool:
        """Post and fold what can be; True when the pass can be committed."""
        while self._posted < len(self._ready) and self._ready[self._posted]:
            self._post_parts(self._posted)
            self._posted += 1
        self._fold_ready()
        if self._post is not None and not self._post_sent:
            self.posts[self.group.rank] = self._post
            self._send_all(POST, _ENCODE(self._post))
            self._post_sent = True
        self._advance_buffers()
        if self._buffers_done and self._gradient_complete() and not self._ack_sent:
            self.full = self._ack_sent = True
            self._send_all(ACK, b"")
        return self._ack_sent and len(self._acks) == len(self._peers)

    def _fold_ready(self) -> None:
        if len(self._nodes) < self.group.size:
            return
        for bucket in range(self._posted):
            if not self._folded[bucket] and len(self._parts[bucket]) == self._expected:
                self._fold(bucket)

    def _gradient_complete(self) -> bool:
        return all(self._folded) and not self._results_left

    def _post_parts(self, bucket: int) -> None:
        mine = self._nodes[self.group.rank]
        for position, node in enumerate(mine):
            flats = self.partials.flats[node]
            for peer in self._peers:
                body = as_bytes(self._slice(flats, bucket, peer))
                self.group.post(peer, PART, bucket << NODE_BITS | position, body)
            self._parts[bucket][node] = self._slice(flats, bucket, self.group.rank)
            self._own[bucket].add(node)

    def _fold(self, bucket: int) -> None:
        """Add up this member's slice and send it round. Own partial sums are read only."""
        own = {id(self._parts[bucket][node]) for node in self._own[bucket]}

        def add(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            if id(left) not in own:
                return left.add_(right)
            return right.add_(left) if id(right) not in own else left + right

        total = fold(self._parts[bucket], self._shards, add)
        out = self._slice(self.results, bucket, self.group.rank)
        scaled(total, self.factor, out)
        self._folded[bucket] = True
        self._parts[bucket] = {}
        for peer in self._peers:
            self.group.post(peer, RESULT, bucket, as_bytes(out))

    def _advance_buffers(self) -> None:
        if self._buffers_done or len(self.posts) < self.group.size or len(self._nodes) < self.group.size:
            return
        if self._buffer_payloads is None:
            indices = sorted({index for post in self.posts.values() for index in post.buffers})
            self._buffer_payloads = self._early_buffers
            payload = self._exchange.payload(indices)
            if not indices:
                self._buffers_done = True
                return
            self._send_all(BUFFER, payload)
        if len(self._buffer_payloads) == len(self._peers):
            self._exchange.fold(self._buffer_payloads, self._nodes)
            self._buffers_done = True

    def _check(self, peer: int, pre: Pre) -> None:
        if pre.layout != self.pre.layout:
            raise StateError(
                f"rank {peer} trains a model with other parameters than rank {self.group.rank}: their names, shapes or "
                "dtypes differ. Build the same model on every worker, whatever its rank."
            )
        if pre.pass_number != self.pre.pass_number:
            raise DivergedError(
                f"rank {peer} is in pass {pre.pass_number}, rank {self.group.rank} in pass {self.pre.pass_number}. "
                "The script must take the same steps on every worker, whatever its rank."
            )
        self._nodes[peer] = maximal_subtrees(pre.held, self._shards)
        self.held_by[peer] = list(pre.held)
        self._checks[peer] = pre.check
        self.scales.update(zip(pre.held, pre.scales, strict=True))
        if len(self._nodes) == self.group.size:
            self._all_said()

    def _all_said(self) -> None:
        """Everybody's PRE is here."""
        counted = sum(node[1] - node[0] for nodes in self._nodes.values() for node in nodes)
        if counted != self._shards or sorted(self.scales) != list(range(self._shards)):
            raise DivergedError(f"the members hold shards {sorted(self.scales)} of {self._shards}, {counted} in all")
        problem = None if self._check_of is None else self._check_of.problem(self._checks)
        if problem is not None:
            raise DivergedError(problem)
        self._expected = sum(len(nodes) for nodes in self._nodes.values())
        self.factor = mean_factor(self.scales, self._shards)

    def _part(self, peer: int, bucket: int, node: int) -> torch.Tensor:
        spec = self._layout.buckets[bucket]
        start, stop = slice_bounds(spec.numel, spec.dtype, self.group.rank, self.group.size)
        size_bytes = (stop - start) * spec.dtype.itemsize
        return self._staging.slab(bucket=bucket, peer=peer, node=node, size_bytes=size_bytes)

    def _slice(self, flats: list[torch.Tensor], bucket: int, rank: int) -> torch.Tensor:
        spec = self._layout.buckets[bucket]
        start, stop = slice_bounds(spec.numel, spec.dtype, rank, self.group.size)
        return flats[bucket][start:stop]

    def _send_all(self, kind: int, body: bytes) -> None:
        for peer in self._peers:
            self.group.post(peer, kind, 0, body)


def mean_factor(scales: dict[int, float], shards: int) -> float:
    """One over the sum of the scales, summed in the tree's order; 0 if all are 0."""
    total = fold({(shard, shard + 1): scales[shard] for shard in range(shards)}, shards, lambda a, b: a + b)
    return 1.0 / total if total else 0.0


def mean_loss(scales: dict[int, float], losses: dict[int, float], shards: int) -> float | None:
    """Weighted mean of the shards' losses, in the tree's order; None if there was no sample."""
    factor = mean_factor(scales, shards)
    leaves = {(shard, shard + 1): scales[shard] * losses[shard] if scales[shard] else 0.0 for shard in range(shards)}
    return fold(leaves, shards, lambda a, b: a + b) * factor if factor else None
