"""A service: the version that answers, another one on trial or on its way, and how one takes the other's place.

New weights are loaded by a template of their own, and as many replicas as answer now are warmed up beside the old ones.
Then the service turns to the new version at one instant: requests that came before end on the old one, whose processes
then go. Nothing is refused meanwhile, and if the new weights cannot be loaded nothing has changed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

import msgspec

from pliant.config import Home
from pliant.errors import PliantError
from pliant.serving.follower import first_weights
from pliant.serving.following import Following
from pliant.serving.line import Line
from pliant.serving.meter import Meter, recent_latency
from pliant.serving.pending import ServeError
from pliant.serving.service_log import ServiceLog
from pliant.serving.weights_store import WeightsStore
from pliant.serving.zygote import Zygote
from pliant.transfer.checkpoint_manifest import step_of
from pliant.wire.api import Weights
from pliant.wire.service_api import (
    BoundsRequest,
    Canary,
    Follow,
    PushRequest,
    ServiceSpec,
    ServiceState,
    ServiceStatus,
    write_spec,
)

MOST_REPLICAS = 1024
DRAIN_S = 30.0
KEPT_LOGS = 50
"""Versions whose logs are kept."""


class ChangeRefusedError(Exception):
    """A change that is not made: new weights, another version, other bounds. The service is what it was."""


class Service:
    """All methods belong to the event loop's thread."""

    def __init__(self, spec: ServiceSpec, directory: Path) -> None:
        self.spec = spec
        self.ending = asyncio.Event()
        """Set when somebody has asked for the end."""
        self._directory = directory
        self._log = ServiceLog(directory / "events.jsonl")
        self._zygote = Zygote(spec, directory)
        self.line = self._new_line(spec)
        """That answers."""
        self.trial: Line | None = None
        """The canary's."""
        self._share = 0.0
        self._owed = 0.0
        """To the canary: it gets the next request when this reaches 1."""
        self._pushing = False
        self._newest = spec.version
        self._past = Meter()
        """Of the lines that are gone."""
        self._draining: dict[asyncio.Task[None], Line] = {}
        self._following: Following | None = None
        self._store = WeightsStore(Home(directory.parent.parent), spec.name, launch=spec.launch)

    async def start(self) -> None:
        """Begin to load the model."""
        self._log.record("service_started", f"the router (pid {os.getpid()}) serves {self.spec.target}")
        await self._zygote.start()
        await self.line.start()
        if self.spec.follow is not None:
            step = step_of(Path(self.spec.checkpoint))
            self._following = Following(self, self.spec.follow, self._store, after=0 if step is None else step + 1)
            self._following.start()

    async def stop(self, *, drain_s: float = DRAIN_S) -> None:
        """Answer what was taken, and end everything."""
        self._log.record("service_stopping", f"{self.status().requests} requests are under way and will be answered")
        if self._following is not None:
            await self._following.end()
        lines = [self.line] if self.trial is None else [self.line, self.trial]
        await asyncio.gather(*(line.stop(drain_s=drain_s) for line in lines), *self._draining)
        await self._zygote.end()
        self._log.record("service_ended", "all processes have ended")

    # ------------------------------------------------------------ requests

    def choose(self) -> Line:
        """Whose the next request is: evenly spread, and not by chance."""
        if self.trial is None or self.trial.state.broken:
            return self.line
        self._owed += self._share
        if self._owed < 1:
            return self.line
        self._owed -= 1
        return self.trial

    # ------------------------------------------------------------ what users ask

    def scale(self, asked: BoundsRequest) -> None:
        """Other bounds for the number of replicas, at once.

        Raises:
            ChangeRefusedError: They make no sense. Nothing has changed.
        """
        if not 0 <= asked.least <= asked.most or not 1 <= asked.most <= MOST_REPLICAS:
            raise ChangeRefusedError(
                f"{asked.least}:{asked.most} replicas: MIN from 0 to MAX, MAX from 1 to {MOST_REPLICAS}"
            )
        self.spec = msgspec.structs.replace(self.spec, least=asked.least, most=asked.most)
        write_spec(self._directory, self.spec)
        for line in self.lines:
            line.bound(self.spec)
        self._log.record("bounds_changed", f"from {asked.least} to {asked.most} replicas on request")

    # ------------------------------------------------------------ versions

    async def push(self, asked: PushRequest) -> None:
        """Load other weights, and turn to them; with a canary, for its share of the requests.

        Raises:
            ChangeRefusedError: They cannot be loaded, or something else is under way. Nothing has changed.
        """
        _check_share(asked.canary)
        if self._pushing or (self.trial is not None and self._following is None):
            raise ChangeRefusedError("another push is under way, or a canary: promote it or roll it back first")
        self._pushing = True
        try:
            await self._unfollow("other weights were pushed")
            if self.trial is not None:
                raise ChangeRefusedError("there is a canary: promote it or roll it back first")
            line = await self._load(asked.checkpoint, replicas=max(1, self.line.sight().ready))
        finally:
            self._pushing = False
        self._admit(line, canary=asked.canary)

    def _admit(self, line: Line, *, canary: float) -> None:
        """A version that is loaded: to its share of the requests, or to all of them."""
        if not canary:
            self._turn_to(line)
            return
        if self.trial is not None:
            self._drain(self.trial)
        line.open()
        self.trial, self._share, self._owed = line, canary, 0.0
        self._log.record("canary_began", f"version {line.version} answers {canary:.0%} of the requests")

    def promote(self) -> None:
        """The canary answers everything.

        Raises:
            ChangeRefusedError: There is none.
        """
        if self.trial is None:
            raise ChangeRefusedError("there is no canary to promote")
        line, self.trial = self.trial, None
        self._turn_to(line)

    async def roll_back(self) -> None:
        """Without the canary; without one, to the weights before these. A job is followed no longer.

        Raises:
            ChangeRefusedError: There is nothing to go back to.
        """
        await self._unfollow("it was rolled back")
        if self.trial is not None:
            line, self.trial = self.trial, None
            self._log.record("canary_rolled_back", f"version {line.version} answers no more")
            self._drain(line)
        elif self.spec.previous or self.spec.version > 1:
            await self.push(PushRequest(self.spec.previous))
        else:
            raise ChangeRefusedError("this is the first version: there is nothing to go back to")

    # ------------------------------------------------------------ the weights of a running job

    async def follow(self, asked: Follow) -> None:
        """Take the weights of a job from now on; returns when the first ones answer, or are on trial.

        Raises:
            ChangeRefusedError: They cannot be had or loaded, or something else is under way. It is not followed then.
        """
        _check_share(asked.canary)
        if asked.every < 1:
            raise ChangeRefusedError(f"every {asked.every} steps: at least 1")
        if self._pushing or (self.trial is not None and not asked.canary):
            raise ChangeRefusedError("another push is under way, or a canary: promote it or roll it back first")
        self._pushing = True
        try:
            await self._unfollow(f"job {asked.job} is followed instead")
            weights = await self._first_weights(asked)
            line = await self._load(weights.path, replicas=max(1, self.line.sight().ready))
        finally:
            self._pushing = False
        self._admit(line, canary=asked.canary)
        self._keep(follow=asked)
        self._following = Following(self, asked, self._store, after=weights.step + 1)
        self._following.start()
        self._log.record("following_began", f"the weights of job {asked.job}, each {asked.every} steps")

    async def take(self, weights: Weights, *, canary: float) -> None:
        """New weights of the job that is followed."""
        try:
            line = await self._load(weights.path, replicas=self.line.sight().ready)
        except ChangeRefusedError:
            return  # noted in the log; the next ones may be better
        self._admit(line, canary=canary)
        used = [self.spec.previous, *(each.spec.checkpoint for each in self.lines)]
        self._store.prune(keep=used, before=weights.step)

    def following_ended(self, why: str) -> None:
        """The job has no more."""
        self._following = None
        self._keep(follow=None)
        self._log.record("following_ended", why)

    async def _unfollow(self, why: str) -> None:
        """Waits for what is being loaded of it."""
        following, self._following = self._following, None
        if following is not None:
            await following.end()
            self._keep(follow=None)
            self._log.record("following_ended", f"job {following.follow.job} is followed no longer: {why}")

    async def _first_weights(self, asked: Follow) -> Weights:
        """As they are before the job's next step."""
        try:
            self._store.make()
            return await asyncio.to_thread(first_weights, asked, self._store.path)
        except (PliantError, OSError) as error:
            raise ChangeRefusedError(f"no weights of job {asked.job}: {error}") from error

    def _keep(self, *, follow: Follow | None) -> None:
        self.spec = msgspec.structs.replace(self.spec, follow=follow)
        write_spec(self._directory, self.spec)

    # ------------------------------------------------------------ how versions change

    async def _load(self, checkpoint: str, *, replicas: int) -> Line:
        """A version with so many replicas ready."""
        self._newest += 1
        spec = msgspec.structs.replace(self.spec, checkpoint=checkpoint, version=self._newest)
        line = self._new_line(spec)
        try:
            await line.start()
            await line.loaded.wait()
            await line.warm(replicas)
        except (ServeError, TimeoutError) as error:
            await line.stop(drain_s=0)
            self._log.record("push_refused", f"version {spec.version} from {checkpoint} could not be loaded: {error}")
            raise ChangeRefusedError(str(error) or "its replicas did not come") from error
        return line

    def _new_line(self, spec: ServiceSpec) -> Line:
        return Line(spec, self._directory, self._zygote, version=spec.version, record=self._log.record)

    def _turn_to(self, line: Line) -> None:
        old, self.line = self.line, line
        self.spec = msgspec.structs.replace(line.spec, previous=old.spec.checkpoint, follow=self.spec.follow)
        write_spec(self._directory, self.spec)
        line.open()
        self._drain(old)
        self._log.record("version_changed", f"version {line.version} answers in place of version {old.version}")

    def _drain(self, line: Line) -> None:
        task = asyncio.create_task(self._end(line))
        self._draining[task] = line
        task.add_done_callback(lambda done: self._draining.pop(done, None))

    async def _end(self, line: Line) -> None:
        await line.stop(drain_s=DRAIN_S)
        self._past.absorb(line.meter)
        shutil.rmtree(self._directory / f"v{line.version - KEPT_LOGS}", ignore_errors=True)

    # ------------------------------------------------------------ what can be told

    async def loaded(self) -> Line:
        """Waits until the version that answers is loaded, cannot be, or is stopped before; returns it.

        That is not always the one that was begun with: newer weights may be loaded first.
        """
        while True:
            line = self.line
            await line.loaded.wait()
            if line is self.line:
                return line

    @property
    def lines(self) -> list[Line]:
        """All that still have processes, the one that answers first."""
        trial = [] if self.trial is None else [self.trial]
        return [self.line, *trial, *self._draining.values()]

    def status(self) -> ServiceStatus:
        """Everything, now."""
        line, lines = self.line, self.lines
        state: ServiceState = "loading" if line.signature is None else "ready"
        if line.state.stopping or line.state.broken:
            state = "stopping" if line.state.stopping else "broken"
        trial, following = self.trial, self._following
        meters = [self._past, *(each.meter for each in lines)]
        p50_s, p99_s = recent_latency(meters, time.monotonic()) or (None, None)
        return ServiceStatus(
            name=self.spec.name,
            state=state,
            version=line.version,
            replicas=[replica for each in lines for replica in each.replicas()],
            requests=sum(len(each.state) for each in lines),
            waiting=sum(each.state.waiting for each in lines),
            p50_s=p50_s,
            p99_s=p99_s,
            answered=sum(meter.answered for meter in meters),
            failed=sum(meter.failed for meter in meters),
            refused=sum(meter.refused for meter in meters),
            problem=line.state.broken,
            checkpoint=self.spec.checkpoint,
            least=self.spec.least,
            most=self.spec.most,
            url=self.spec.url,
            target=self.spec.target,
            following=None if following is None else following.told,
            canary=None if trial is None else Canary(trial.version, self._share, trial.spec.checkpoint),
        )


def _check_share(canary: float) -> None:
    if not 0 <= canary < 1:
        raise ChangeRefusedError(f"a canary of {canary:g} is no share of the requests: from 0 to less than 1")
