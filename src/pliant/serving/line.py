"""Carries out what the deciders decide: sends batches, delivers answers, starts and ends replicas."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pliant.processes import process_state
from pliant.serving.autoscale_plan import Autoscaler, ScaleRules, Sight
from pliant.serving.batch_plan import BatchRules
from pliant.serving.fleet import Fleet
from pliant.serving.meter import Meter
from pliant.serving.pending import Flight, Pending, ServeError, batch_frame, outputs_of, whole_outputs
from pliant.serving.protocol.request import InferRequest, Tensor
from pliant.serving.route_events import (
    Cancel,
    Compute,
    Decision,
    Fail,
    KillReplica,
    Refuse,
    Request,
    RetireReplica,
    StartReplica,
)
from pliant.serving.route_state import RouteState
from pliant.serving.shape_plan import batch_key
from pliant.serving.zygote import Zygote
from pliant.wire.replica_messages import (
    BatchAnswer,
    BatchRaised,
    CancelBatch,
    TemplateHello,
)
from pliant.wire.service_api import ReplicaState, ReplicaStatus, ServiceSpec
from pliant.wire.tensors import Signature

_log = logging.getLogger(__name__)
_WATCH_S = 0.25
_WARM_S = 0.01
_STOPPED_S = 1.0
"""A batch that takes so long is a reason to look whether its replica's process was stopped."""
_START_LIMIT_S = 30.0
"""From asking for a replica, with the model loaded, to its hello."""


class Line:
    """One version of a service: its requests, its processes. All methods belong to the event loop's thread."""

    def __init__(
        self,
        spec: ServiceSpec,
        directory: Path,
        zygote: Zygote,
        *,
        version: int,
        record: Callable[[str, str], None],
    ) -> None:
        self.spec = spec
        self.signature: Signature | None = None
        """None before the model was loaded for the first time."""
        self.meter = Meter()
        self._record = record
        """Takes (kind, message) of an event."""
        self.version = version
        self.state = RouteState(BatchRules(spec.batch, spec.most_waiting, spec.batch_wait_s))
        self._scaler = Autoscaler(
            ScaleRules(least=spec.least, most=spec.most, target=spec.concurrency, idle_s=spec.idle_s)
        )
        self._fleet = Fleet(self, spec, directory / f"v{version}", zygote, version=version)
        self._floor, self._wanted = 0, 0
        self._pending: dict[int, Pending] = {}
        self._flights: dict[int, Flight] = {}
        """By replica."""
        self._ids, self._batches = itertools.count(1), itertools.count(1)
        self._look_at: asyncio.Handle | None = None
        self._look_s = 0.0
        """When that is. uvloop gives a handle that cannot tell, if it is in less than half a millisecond."""
        self._watching: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self.loaded = asyncio.Event()
        """Set when the model is loaded, or never will be."""

    # ------------------------------------------------------------ from the start to the end

    async def start(self) -> None:
        """Listen for replicas, and start the template."""
        await self._fleet.start()

    async def warm(self, replicas: int) -> None:
        """Have so many replicas ready before the first request.

        Raises:
            ServeError: They do not come.
        """
        self._floor = replicas
        self._look()
        async with asyncio.timeout(_START_LIMIT_S):
            while not self.state.broken and self.sight().ready < replicas:
                await asyncio.sleep(_WARM_S)
        if self.state.broken:
            raise ServeError("broken", self.state.broken)

    def bound(self, spec: ServiceSpec) -> None:
        """Other bounds for the number of replicas."""
        self._scaler.rules = replace(self._scaler.rules, least=spec.least, most=spec.most)
        self._look()

    def open(self) -> None:
        """Requests come from now on; what was warmed up is kept as long as after a load that needed it."""
        self._scaler.begin(time.monotonic(), self._floor)
        self._floor = 0
        self._load_changed()

    async def stop(self, *, drain_s: float) -> None:
        """Take nothing more, answer what was taken (for ``drain_s`` at most), end all processes."""
        self._carry_out(self.state.stop(time.monotonic()))
        self.loaded.set()
        try:
            async with asyncio.timeout(drain_s):
                while self.state.replicas:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            _log.warning("%d requests were not answered within %g s", len(self.state), drain_s)
        if self._watching is not None:
            self._watching.cancel()
        for pending in self._pending.values():
            pending.fail(ServeError("stopping", "the service was stopped before this was answered"))
        await self._fleet.end()

    # ------------------------------------------------------------ requests

    async def answer(self, request: InferRequest, *, deadline_s: float | None = None) -> list[Tensor]:
        """The outputs for one request. Cancelling this drops it.

        Raises:
            ServeError: There will be none.
        """
        pending = Pending(request, time.monotonic(), answer=asyncio.get_running_loop().create_future())
        assert pending.answer is not None
        number = self._submit(pending, deadline_s)
        try:
            return await pending.answer
        finally:
            self._pending.pop(number, None)
            if pending.answer.cancelled():
                self._left(number)

    async def stream(
        self, request: InferRequest, *, deadline_s: float | None = None
    ) -> AsyncGenerator[list[Tensor], None]:
        """The parts of an answer as they come. Closing the iterator drops the rest.

        Raises:
            ServeError: There will be none, or no more.
        """
        pending = Pending(request, time.monotonic(), parts=asyncio.Queue())
        assert pending.parts is not None
        number = self._submit(pending, deadline_s)
        try:
            while (part := await pending.parts.get()) is not None:
                if isinstance(part, ServeError):
                    raise part
                yield part
        finally:
            if self._pending.pop(number, None) is not None:
                self._left(number)

    def _submit(self, pending: Pending, deadline_s: float | None) -> int:
        number, now_s = next(self._ids), pending.came_s
        self._pending[number] = pending
        self.state.batch_s = self.meter.batch_s
        signature = self.signature or Signature()
        key = batch_key(pending.request.heads, signature)
        request = Request(
            number, now_s, pending.request.rows, key, deadline_s or now_s + self.spec.timeout_s,
            repeatable=signature.repeatable,
        )  # fmt: skip
        self._carry_out(self.state.came(request, now_s))
        return number

    def _left(self, number: int) -> None:
        self._carry_out(self.state.client_left(number, time.monotonic()))

    # ------------------------------------------------------------ decisions

    def _carry_out(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Compute(replica, requests):
                    self._send(replica, requests)
                case Refuse(request, reason, kind, retry_after_s):
                    self.meter.refused += 1
                    self._fail(request, ServeError(kind, reason, retry_after_s=retry_after_s))
                case Fail(request, kind, reason):
                    self.meter.failed += 1
                    self._fail(request, ServeError(kind, reason))
                case Cancel(replica, _):
                    if (flight := self._flights.get(replica)) is not None:
                        self._fleet.send(replica, CancelBatch(flight.number))
                case StartReplica(replica):
                    self.meter.asked(replica, time.monotonic())
                    self._fleet.fork(replica)
                case RetireReplica(replica):
                    self.meter.gave_up(replica)
                    self._fleet.retire(replica)
                case KillReplica(replica, reason):
                    self._record("replica_hung", f"replica {replica} is killed: {reason}")
                    self._flights.pop(replica, None)
                    self.meter.gave_up(replica)
                    self._fleet.kill(replica)
        if not self.state.replicas:
            self._empty.set()
        self._load_changed()
        self._watch_soon()

    def _send(self, replica: int, numbers: tuple[int, ...]) -> None:
        requests = [(number, self._pending[number]) for number in numbers]
        flight = Flight(next(self._batches), requests, time.monotonic())
        self._flights[replica] = flight
        uneven = self.signature is not None and self.signature.uneven
        self._fleet.send(replica, *batch_frame(flight.number, [each.request for _, each in requests], uneven=uneven))

    def _fail(self, number: int, error: ServeError) -> None:
        pending = self._pending.get(number)
        if pending is not None:
            pending.fail(error)

    # ------------------------------------------------------------ what becomes of templates and replicas

    def model_loaded(self, hello: TemplateHello) -> None:
        """A template is there."""
        self.signature = hello.signature
        if hello.signature.streams:
            self.state.queue.rules = BatchRules(1, self.spec.most_waiting)
        self._record("model_loaded", f"version {self.version}, in {hello.load_s:.2f} s")
        self.loaded.set()
        self._carry_out(self.state.mend(time.monotonic()))
        self._look()

    def cannot_load(self, why: str) -> None:
        """There will be no replicas."""
        self._record("model_failed", why)
        self._carry_out(self.state.unable(why))
        self.loaded.set()

    def replica_found(self, replica: int) -> None:
        """An earlier router has started it; it will come, or it is gone."""
        now_s = time.monotonic()
        self.meter.asked(replica, now_s)
        self.state.found(replica, now_s)

    def replica_came(self, replica: int) -> None:
        """It can compute."""
        now_s = time.monotonic()
        self.meter.came(replica, now_s)
        self._carry_out(self.state.replica_ready(replica, now_s))

    def replica_gone(self, replica: int, how: str) -> None:
        """Its process or its connection has ended."""
        if replica in self.state.replicas:
            self._record("replica_lost", f"replica {replica} is gone: {how}")
        self._fleet.forget(replica)
        self.meter.gave_up(replica)
        self._flights.pop(replica, None)
        self._carry_out(self.state.replica_died(replica, how, time.monotonic()))

    def answered(self, replica: int, head: BatchAnswer, payload: bytes) -> None:
        """A batch, or a part of a stream."""
        flight, now_s = self._flights.get(replica), time.monotonic()
        if flight is None or flight.number != head.batch:
            return  # it was given to another one
        if not head.last:
            number, pending = flight.requests[0]
            self.state.answer_began(number)
            pending.deliver(whole_outputs(head.outputs, payload))
            return
        if head.outputs or head.requests:
            answers = outputs_of(head, payload, [pending.request.rows for _, pending in flight.requests])
            for (_, pending), outputs in zip(flight.requests, answers, strict=True):
                pending.deliver(outputs)
        for _, pending in flight.requests:
            pending.finish()
            self.meter.took(now_s, now_s - pending.came_s)
        del self._flights[replica]
        self.meter.batch(len(flight.requests), now_s - flight.began_s)
        self._carry_out(self.state.answered(replica, [number for number, _ in flight.requests], now_s))

    def raised(self, replica: int, head: BatchRaised) -> None:
        """``predict`` did."""
        flight = self._flights.get(replica)
        if flight is not None and flight.number == head.batch:
            del self._flights[replica]
            reason = f"predict raised {head.error} (error id {head.error_id}; see the log of replica {replica})"
            self._carry_out(self.state.raised(replica, reason, time.monotonic()))

    # ------------------------------------------------------------ the number of replicas, and time

    def _load_changed(self) -> None:
        """The load may have changed: tell the scaler, and have it asked when it has something to say."""
        now_s, requests = time.monotonic(), len(self.state)
        if requests != self._scaler.requests:
            self._scaler.load(now_s, requests)
        if self.state.stopping or self.state.broken:
            return
        delay_s = self._scaler.next_look_s(now_s, self.sight())
        if delay_s is None:
            return
        if self._look_at is not None:
            if self._look_s <= now_s + delay_s:
                return
            self._look_at.cancel()
        self._look_s = now_s + delay_s
        self._look_at = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        self._look_at = None
        if not self.state.stopping and not self.state.broken:
            now_s = time.monotonic()
            sight = self.sight()
            decision = self._scaler.decide(now_s, sight)
            wanted, there = max(decision.wanted, self._floor), sight.ready + sight.starting
            if wanted not in (there, self._wanted):
                why = decision.why if wanted == decision.wanted else "they are to be ready when it takes over"
                self._record("scaled", f"version {self.version} from {there} to {wanted} replicas: {why}")
            self._wanted = wanted
            self._carry_out(self.state.scale(wanted, now_s))

    def replicas(self) -> list[ReplicaStatus]:
        """What there is, now."""
        found = []
        for replica in self.state.replicas.values():
            what: ReplicaState = "leaving" if replica.draining else "ready" if replica.ready else "starting"
            pid = self._fleet.pid(replica.id)
            found.append(ReplicaStatus(replica.id, pid, what, len(replica.owes), self.version, replica.batches))
        return found

    def sight(self) -> Sight:
        """Replicas and speeds, for the scaler and the metrics."""
        return self.state.sight(start_s=self.meter.start_s, rate=self.meter.rate)

    def _watch_soon(self) -> None:
        """Look again in a while, if anything is under way: an idle service is not woken."""
        if self._watching is None and (self._flights or len(self.state) or self.meter.started):
            self._watching = asyncio.get_running_loop().call_later(_WATCH_S, self._watch)

    def _watch(self) -> None:
        """Deadlines, replicas that hang, replicas that never come."""
        self._watching, now_s = None, time.monotonic()
        for replica, flight in list(self._flights.items()):
            took_s = now_s - flight.began_s
            if took_s > self.spec.timeout_s:
                self._hangs(replica, f"it has computed one batch for {took_s:.1f} s", now_s)
            elif took_s > _STOPPED_S and process_state(self._fleet.pid(replica)).stopped:
                self._hangs(replica, "it was stopped by a signal", now_s)
        for replica, asked_s in list(self.meter.started.items()):
            if self._fleet.can_fork and now_s - asked_s > _START_LIMIT_S:
                self._hangs(replica, f"it has not come within {_START_LIMIT_S:g} s", now_s)
        self._carry_out(self.state.tick(now_s))

    def _hangs(self, replica: int, reason: str, now_s: float) -> None:
        self._carry_out(self.state.replica_hangs(replica, reason, now_s))
