"""The user's handle of a training job: ``pliant.join``, ``job.steps``, ``job.evaluate``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from torch import nn

from pliant.data.base import Source
from pliant.data.loader import Loader
from pliant.data.streams import seed_streams
from pliant.errors import ConfigError, UsageError
from pliant.parallel.engine import PassEngine
from pliant.parallel.tables.embedding import tables_in
from pliant.training.allocator import keep_freed_memory
from pliant.training.call_shape import call_shape, check_length
from pliant.training.checkpoints import Checkpoints
from pliant.training.crew import ambient_crew
from pliant.training.determinism import make_deterministic
from pliant.training.evaluate import Evaluation, evaluating
from pliant.training.guards import checked_tracked, guard_optimizers
from pliant.training.leased import LeasedTraining
from pliant.training.leased_served import LeasedServed
from pliant.training.passes import LiveStep, OnNonFinite, RehearsalStep, StepRules
from pliant.training.progress import Progress
from pliant.training.publications import Publications
from pliant.training.served import Served
from pliant.training.session import JobStopped, Session
from pliant.training.step import Step
from pliant.training.trace import Recorder
from pliant.transfer.capture import modules_in
from pliant.transfer.fingerprint import weights_sha256
from pliant.wire.messages import CallEnded, WorkerReady


class Job:
    """Made by :func:`join`.

    Attributes:
        session: where this worker is in the job. For the runtime.
    """

    def __init__(self, tracked: Mapping[str, object], *, on_nonfinite: OnNonFinite, overlap: bool) -> None:
        crew = ambient_crew()
        self.session = Session(crew, tracked)
        self.calls = 0
        self.finished = False
        self._tracked = dict(tracked)
        self._on_nonfinite, self._overlap = on_nonfinite, overlap
        self._progress = Progress(crew)
        self._checkpoints = Checkpoints(self.session)
        self._publications = Publications(self.session)
        self.session.on_stop.append(self._checkpoints.at_stop)
        self._engines: dict[int, PassEngine] = {}
        self._sources: dict[Loader, Source] = {}
        self._epochs: dict[Loader, int] = {}
        """Epochs begun; by the loader itself, because an ``id`` is used again once a loader is gone."""
        self._served: Served | None = None
        self._leased: LeasedTraining | None = None
        self._live: LiveStep | None = None
        self._unsettled: tuple[Loader, int] | None = None
        """Loader and first epoch of the loop over ``steps`` that has not ended."""
        self._recorder: Recorder | None = None
        guard_optimizers(tracked, self._where)

    @property
    def is_main(self) -> bool:
        """True on exactly one worker: the one that prints and saves."""
        return self.session.is_main

    @property
    def step(self) -> int:
        """The number of committed steps."""
        return self.session.position.step

    def weights_sha256(self) -> str:
        """SHA-256 over the parameters, persistent buffers and tables' rows of all tracked models, sorted by name.

        Blocking; where parameter servers hold tables, all rows pass through this worker, in parts.
        """
        self.settle()
        return weights_sha256(modules_in(self._tracked))

    def steps(self, loader: Loader, *, epochs: int | None = None, steps: int | None = None) -> Iterator[Step]:
        """The outer training loop.

        Args:
            loader: the data; its ``shards`` is the number of parts that every step is dealt out in.
            epochs: passes over the data; 1 if neither is given. Epochs are counted on over several calls with one
                loader.
            steps: at most this many steps.

        Yields:
            One :class:`pliant.training.step.Step` for each optimizer update.

        Raises:
            UsageError: the loop body broke a rule. The weights are those of the last complete step.
        """
        check_length(epochs, steps)
        call = self._begin_call()
        first_epoch = self._epochs.get(loader, 0)
        ended = self._ended(call)
        if ended is not None:
            self._epochs[loader] = first_epoch + int(ended)
            return
        wanted = epochs if epochs is not None or steps is not None else 1
        if not self.session.crew.stateful:
            if self.session.crew.rehearses():
                self._progress.phase(0, "rehearsing")
                try:
                    yield self._rehearsal(loader)
                except GeneratorExit:
                    self.session.crew.leave_rehearsal("the script left the loop over job.steps")
                    raise
                self.session.crew.rehearsed()
            self._progress.phase(0, "ready")
            self._admit(call_shape(loader, epochs=wanted, steps=steps, done=self.step, call=call))
            ended = self._ended(call)
            if ended is not None:  # the job went on to a later call meanwhile
                self._epochs[loader] = first_epoch + int(ended)
                return
        self.session.load_pending()
        try:
            live = self._live_steps if self._leased is None else self._leased_steps
            yield from live(loader, first_epoch, wanted, steps)
        finally:
            self._unsettled = loader, first_epoch
            if self._leased is None or not self._leased.left:
                self._end_steps()

    def evaluate(self, loader: Loader, fn: Callable[[Any], Any]) -> Any:
        """The exact mean of ``fn`` over a data set, dealt over the workers.

        Args:
            loader: the data; one epoch of it is used, incomplete last batch included (unless it drops it).
            fn: from a batch to its mean metric (a number or 0-dim tensor), or to a dict of them. Called without
                gradients and with all tracked modules in eval mode.

        Returns:
            A float, or a dict of floats: the mean over all samples, the same bits at any number of workers.
        """
        call = self._begin_call()
        ended = self._ended(call)
        if ended is not None:
            return ended
        if not self.session.crew.stateful:
            self._admit(call_shape(loader, epochs=None, steps=None, done=self.step, call=call))
            ended = self._ended(call)
            if ended is not None:
                return ended
        self.session.load_pending()
        self._served_by()
        if self._leased is None:
            self.session.boundary()
            self._checkpoints.at_boundary()
        self.flush()
        self._progress.phase(self.step, "evaluating")
        with evaluating(self._tracked):
            source = self._source(loader)
            evaluation = Evaluation(self.session, source, fn, shards=loader.shards, seed=loader.seed)
            leased = self._leased
            result = evaluation.run() if leased is None else leased.evaluate(evaluation, shards=loader.shards)
        seed_streams(loader.seed, "tail", call, "evaluate")
        self._end_call("evaluate", result)
        return result

    def flush(self) -> None:
        """Tell the coordinator of the steps that it does not know of yet."""
        self._progress.flush()
        if self._leased is not None:
            self._leased.flush()

    def publish_last(self) -> None:
        """The script has come to its end: whoever follows the weights gets the last ones. Blocking."""
        self._publications.at_end()

    def close(self) -> None:
        """End loader processes and threads. Called at the end of the script."""
        self.flush()
        self._checkpoints.close()
        self._publications.close()
        for source in self._sources.values():
            source.close()
        for engine in self._engines.values():
            engine.close()
        if self._recorder is not None:
            self._recorder.close()

    # ------------------------------------------------------------ steps

    def _where(self) -> str | None:
        """The shard that is open, for messages."""
        live = self._live if self._leased is None else self._leased.live
        return None if live is None else live.where()

    def _live_steps(self, loader: Loader, first_epoch: int, epochs: int | None, steps: int | None) -> Iterator[Step]:
        session, position = self.session, self.session.position
        if position.step_of_call == 0:
            position.epoch, position.step_of_epoch = first_epoch, 0
        engine, source = self._engine(loader.shards), self._source(loader)
        rules = self._step_rules(loader)
        while True:
            if rules.recorder is not None:
                rules.recorder.before_step(position.step)
            if epochs is not None and position.epoch >= first_epoch + epochs:
                return
            if steps is not None and position.step_of_call >= steps:
                return
            self._stop_after(session.crew.rules.stop_after)
            session.boundary()
            self._checkpoints.at_boundary()
            self._publications.at_boundary()
            self._progress.before(position.step, main=session.is_main)
            seed_streams(loader.seed, "head", position.call, position.step)
            live = self._live = LiveStep(session, engine, source, rules)
            step = Step(live, number=position.step, epoch=position.epoch)
            try:
                yield step
            except GeneratorExit:  # the script leaves the loop; what has been committed counts
                self._live = None
                if step.passes and not live.running:
                    self._finish(loader, live, step)
                raise
            self._live = None
            self._finish(loader, live, step)

    def _leased_steps(self, loader: Loader, first_epoch: int, epochs: int | None, steps: int | None) -> Iterator[Step]:
        assert self._leased is not None
        position = self.session.position
        if position.step_of_call == 0:
            position.epoch, position.step_of_epoch = first_epoch, 0
        rules = self._step_rules(loader)
        yield from self._leased.steps(loader, self._source(loader), rules, epochs=epochs, steps=steps)

    def _admit(self, shape: WorkerReady) -> None:
        self._served_by()
        if self._leased is None:
            self.session.admit(shape)
        else:
            self._leased.admit(shape)

    def _step_rules(self, loader: Loader) -> StepRules:
        rules = self.session.crew.rules
        if rules.trace and self._recorder is None:
            self._recorder = Recorder(rules.trace, self.session.crew, self._tracked)
            self._recorder.watch.add("dataset", loader.dataset)
        return StepRules(
            loader.seed,
            loader.samples_per_shard,
            self._on_nonfinite,
            self._overlap,
            check_every=rules.check_every,
            stream=loader.size is None,
            recorder=self._recorder,
        )

    def _stop_after(self, steps: int) -> None:
        """End the script here, on all workers alike, if the job was started for so many steps only."""
        if steps and self.session.position.step >= steps:
            self.session.leaving = self.session.stopping = True
            raise JobStopped(f"ended after {steps} steps, as asked")

    def _finish(self, loader: Loader, live: LiveStep, step: Step) -> None:
        if live.running or not step.passes:
            done = "was left before all its batches were done" if live.running else "was never iterated"
            raise UsageError(
                f"step {step.number} {done}: write `for batch in step:` in the body of the loop and let it run to its "
                "end, because its end is where the gradients of all workers come together."
            )
        position = self.session.position
        position.step += 1
        position.step_of_call += 1
        position.step_of_epoch += 1
        position.samples += live.samples
        position.loss = step.loss
        per_epoch = loader.steps_per_epoch
        over = not live.more if per_epoch is None else position.step_of_epoch >= per_epoch
        epoch = position.epoch
        if over:
            position.epoch, position.step_of_epoch = epoch + 1, 0
        self._progress.committed(position, epoch=epoch, main=self.session.is_main, shards=live.held)

    def _rehearsal(self, loader: Loader) -> Step:
        number, epoch, loss = self.session.crew.last_known()
        batch = self._source(loader).batch(epoch=0, step=0, shard=0)
        if batch is None:
            raise UsageError("the data set has no sample")
        if self._leased is None:
            self._engine(loader.shards).warm()
        return Step(RehearsalStep(batch.data, seed=loader.seed), number=number, epoch=epoch, loss=loss)

    def _engine(self, shards: int) -> PassEngine:
        if shards not in self._engines:
            models = modules_in(self._tracked)
            served = self._served_by()
            engine = self._engines[shards] = PassEngine(models, shards) if served is None else served.engine(shards)
            self.session.on_new_group.append(engine.shrink)
        return self._engines[shards]

    def _served_by(self) -> Served | None:
        """The parameter servers, if the job has any."""
        if self._served is None and self.session.crew.rules.strategy == "parameter-server":
            self._serve()
        if self._served is None and self.session.crew.job_name:
            tables = tables_in(modules_in(self._tracked).values())
            if tables:
                raise ConfigError(
                    f"the script has the tables {', '.join(tables)}, which parameter servers hold, and this job has "
                    "none: start it with --strategy parameter-server"
                )
        return self._served

    def _serve(self) -> None:
        session, crew = self.session, self.session.crew
        if crew.loose is None:
            self._served = session.served = Served(session, crew.servers)
            return
        served = self._served = session.served = LeasedServed(session, crew.servers, time.monotonic)
        self._leased = LeasedTraining(
            session, served, crew.loose, checkpoints=self._checkpoints, publications=self._publications
        )

    def _source(self, loader: Loader) -> Source:
        if loader not in self._sources:
            self._sources[loader] = loader.source()
        return self._sources[loader]

    # ------------------------------------------------------------ calls

    def settle(self) -> None:
        """The script goes on behind a loop that it has left, or has come to its end. Blocking."""
        if self._leased is not None and self._leased.left:
            self._leased.settle()
            self._end_steps()

    def _end_steps(self) -> None:
        if self._unsettled is None or self.session.leaving:
            return
        (loader, first_epoch), self._unsettled = self._unsettled, None
        position = self.session.position
        begun = position.epoch - first_epoch + (1 if position.step_of_epoch else 0)
        self._epochs[loader] = first_epoch + begun
        self._end_call("steps", begun)

    def _begin_call(self) -> int:
        if self._live is not None or (self._leased is not None and self._leased.live is not None):
            raise UsageError("job.steps and job.evaluate cannot be called inside the body of a step")
        self.settle()
        call, self.calls = self.calls, self.calls + 1
        return call

    def _ended(self, call: int) -> Any:
        """The recorded result if the job has ended this call already, else None."""
        session = self.session
        known = session.position.ended if session.crew.stateful else session.crew.ended_calls()
        return known[call][1] if call < len(known) else None

    def _end_call(self, kind: str, result: Any) -> None:
        position = self.session.position
        position.ended.append((kind, result))
        position.call += 1
        position.step_of_call = 0
        self.flush()
        if self.is_main:
            raw = msgspec.Raw(msgspec.json.encode(result))
            self.session.crew.tell(CallEnded(call=position.call - 1, kind=kind, result=raw))  # type: ignore[arg-type]


def join(
    *, threads: int | None = None, on_nonfinite: OnNonFinite = "stop", overlap: bool = True, **tracked: Any
) -> Job:
    """Enter the job that this process belongs to; a job of one worker under plain ``python script.py``.

    Args:
        threads: intra-op threads of torch. Part of the recipe, because the bits depend on it: the same on all
            workers. Default:
            what ``pliant run --threads`` says, else 1, also under plain ``python``.
        on_nonfinite: when a step's loss is NaN or infinite: ``"stop"`` the job, ``"skip"`` the update on all workers
            alike (gradients are None), or ``"continue"`` (a GradScaler skips by itself).
        overlap: send gradients while backward is still at work. Costs nothing but flexibility.
        tracked: whatever has ``state_dict`` and ``load_state_dict``, under names of your choice: models, optimizers,
            schedulers,
            EMA copies, scalers. All of it moves to workers that join.

    Raises:
        ConfigError: something tracked has no state, or no module is tracked. Lists all problems.
    """
    checked_tracked(tracked)
    if on_nonfinite not in ("stop", "skip", "continue"):
        raise ConfigError(f'on_nonfinite="{on_nonfinite}": choose "stop", "skip" or "continue"')
    crew = ambient_crew()
    keep_freed_memory()
    modules = [item for item in tracked.values() if isinstance(item, nn.Module)]
    make_deterministic(threads if threads is not None else crew.threads, modules)
    job = Job(tracked, on_nonfinite=on_nonfinite, overlap=overlap)
    crew.register(job)
    return job
