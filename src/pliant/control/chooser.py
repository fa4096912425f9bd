"""Looks for checkpoints to begin from, away from the event loop: checksums of gigabytes take their time."""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import suppress
from pathlib import Path

from pliant.control.inputs import CheckpointChosen
from pliant.transfer.checkpoint_files import set_aside
from pliant.transfer.checkpoint_manifest import Choice, choose_checkpoint
from pliant.wire.messages import CallEnded

_log = logging.getLogger(__name__)


class Chooser:
    """One thread for each job that is looking for a checkpoint. For the event loop's thread; nothing here blocks."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._done: queue.SimpleQueue[tuple[str, CheckpointChosen]] = queue.SimpleQueue()

    def begin(self, job: str, directory: str) -> None:
        """Look for the newest good checkpoint in ``directory``, for the job with this id; once at a time."""
        if job not in self._busy:
            self._busy.add(job)
            threading.Thread(
                target=self._choose, args=(job, directory), name="pliant-choose-checkpoint", daemon=True
            ).start()

    def finished(self) -> list[tuple[str, CheckpointChosen]]:
        """Answers that have come since the last call, with the ids of their jobs."""
        found = []
        with suppress(queue.Empty):
            while True:
                job, chosen = self._done.get_nowait()
                self._busy.discard(job)
                found.append((job, chosen))
        return found

    def _choose(self, job: str, directory: str) -> None:
        try:
            chosen = choose(Path(directory)) if directory else CheckpointChosen(damaged=[])
        except Exception as error:  # without an answer the job would wait for ever
            _log.exception("looking for a checkpoint in %s failed", directory)
            chosen = CheckpointChosen(damaged=[f"{directory} ({error})"])
        self._done.put((job, chosen))


def choose(directory: Path) -> CheckpointChosen:
    """The newest good checkpoint, as an input. Damaged newer ones get another name, if that can be done. Blocking."""
    choice = choose_checkpoint(directory)
    damaged = []
    for each in choice.damaged:
        kept = ""
        if each.path != directory:
            with suppress(OSError):
                kept = f" (kept as {set_aside(each.path).name})"
        damaged.append(each.reason + kept)
    return _input(choice, damaged)


def _input(choice: Choice, damaged: list[str]) -> CheckpointChosen:
    manifest = choice.manifest
    if choice.path is None or manifest is None:
        return CheckpointChosen(damaged=damaged)
    return CheckpointChosen(
        damaged=damaged,
        path=str(choice.path),
        step=manifest.step,
        call_began=manifest.step - manifest.step_of_call,
        epoch=manifest.epoch,
        samples=manifest.samples,
        loss=manifest.loss,
        calls=[
            CallEnded(call=number, kind="evaluate" if call.kind == "evaluate" else "steps", result=call.result)
            for number, call in enumerate(manifest.calls)
        ],
    )
