"""One job's checkpoints: what is said of them, and how the job goes on from one. No I/O, no clock.

Looking for the newest good one means reading files; :mod:`pliant.control.chooser` does that in a thread, and its
answer comes back as an input like any other (:class:`~pliant.control.inputs.CheckpointChosen`).
"""

from __future__ import annotations

from pliant.control.changes import Changes
from pliant.control.event_log import EventLog
from pliant.control.inputs import CheckpointChosen
from pliant.control.progress import Progress
from pliant.membership import events as ev
from pliant.membership.restart_plan import MAX_FRUITLESS, Restarts
from pliant.wire.api import JobSpec
from pliant.wire.messages import CallEnded, CheckpointFailed, CheckpointSkipped, CheckpointWritten

EVENT_EVERY_S = 10.0
"""One event for all checkpoints that are written within so many seconds."""
_MB = 1e6


class Checkpoints:
    """Knows of one job's checkpoints; tells users of them through the event log."""

    def __init__(self, spec: JobSpec, log: EventLog, progress: Progress, changes: Changes) -> None:
        self._spec, self._log, self._progress, self._changes = spec, log, progress, changes
        self.choosing = False
        """The newest good one is being looked for."""
        self.restore = ""
        """Path of the one that founders begin from; empty: from the script's own state."""
        self.call_began = 0
        """Step at which the call began that they begin in."""
        self._lost = ""
        self._restarts = Restarts()
        self._said_s: float | None = None
        self._failing = ""

    # ------------------------------------------------------------ written and not written

    def written(self, message: CheckpointWritten, *, now_s: float, always: bool) -> None:
        """There is a new one. ``always``: say so even if that was said of another one just now."""
        self._failing = ""
        if not always and self._said_s is not None and now_s - self._said_s < EVENT_EVERY_S:
            return
        self._said_s = now_s
        size = f"{message.size_bytes / _MB:.1f} MB in {message.seconds:.2f} s"
        self._log.record("checkpoint_written", f"{message.path}: {size}", step=message.step)

    def failed(self, message: CheckpointFailed) -> None:
        """One could not be written. The same trouble again is not news."""
        if message.error == self._failing:
            return
        self._failing = message.error
        self._log.record(
            "checkpoint_failed",
            f"no checkpoint before step {message.step} in {self._spec.checkpoints}: {message.error}. Training goes on, "
            "earlier checkpoints are as they were. Free space there, or make the directory writable; each next one is "
            "tried again",
            step=message.step,
        )

    def skipped(self, message: CheckpointSkipped) -> None:
        """One was left out."""
        self._log.record(
            "checkpoint_skipped",
            f"no checkpoint before step {message.step}: the one before step {message.writing} is still being written. "
            "Raise --checkpoint-every, or use a faster disk for --checkpoints",
            step=message.step,
        )

    # ------------------------------------------------------------ going on from one

    def find(self, lost: str, *, leaving: bool) -> ev.StateMissing | None:
        """The job needs a checkpoint; ``lost``: why, empty if it is a job that was to begin from one.
        ``leaving``: its agent was told to end, so that nobody could start workers.

        Returns:
            None: one has to be chosen, :attr:`choosing` is set. Else why there is no use in looking.
        """
        step = self._progress.step
        if leaving:
            return ev.StateMissing(f"{lost}. Its agent was told to end, and ended them")
        if lost and not self._restarts.allow(step):
            return ev.StateMissing(
                f"{lost}. The job was begun again from a checkpoint {MAX_FRUITLESS} times without getting beyond step "
                f"{self._restarts.furthest}, so the same would happen once more. The workers' logs say what it is"
            )
        if not self._spec.checkpoints and step:
            return ev.StateMissing(f"{lost}. {_NONE}")
        self._lost = lost
        if lost:
            self._log.record("state_lost", lost, step=step)
        self._changes.begin_again()
        self.choosing = True
        return None

    def chosen(self, choice: CheckpointChosen, *, calls: dict[int, CallEnded]) -> ev.StateFound | ev.StateMissing:
        """The answer. ``calls``: those that have ended; becomes what had ended at the checkpoint, if there is one."""
        self.choosing = False
        at, passed_over = self._progress.step, _passed_over(choice.damaged)
        if not choice.path and (at or not self._lost):
            return ev.StateMissing(f"{self._lost + '. ' if self._lost else ''}{passed_over or _NONE}")
        self.restore, self.call_began = choice.path, choice.call_began
        self._progress.rewind(choice.step, epoch=choice.epoch, samples=choice.samples, loss=choice.loss)
        calls.clear()
        calls.update({call.call: call for call in choice.calls})
        where = f"from {choice.path}" if choice.path else "from the beginning, as no step is known to be committed"
        text = f"the job goes on at step {choice.step}, {where}"
        text += f"; {_steps(at - choice.step)} are done again" if self._lost else ""
        self._log.record("job_resumed", text + (f". {passed_over}" if passed_over else ""), step=choice.step)
        return ev.StateFound()


_NONE = (
    "There is no checkpoint to go on from; run the job again, with --checkpoint-every N if it should be able to go on "
    "from one"
)


def _passed_over(damaged: list[str]) -> str:
    return f"Not used: {'; '.join(damaged)}" if damaged else ""


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{max(0, count)} steps"
