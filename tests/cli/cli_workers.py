"""Workers for tests of the command line: they speak the workers' protocol and train nothing. No torch."""

import os
import sys
import threading
import time
import traceback
from pathlib import Path

from pliant.config import Home, WorkerSpec
from pliant.wire.address import workers_url
from pliant.wire.messages import (
    FormGeneration,
    GenerationEntered,
    MilestoneReached,
    Retire,
    StepsCommitted,
    StopJob,
    Welcome,
    WorkerFailed,
    WorkerFinished,
    WorkerHello,
    WorkerProgress,
    WorkerReady,
)
from pliant.wire.socket import ControlSocket
from pliant.wire.token import read_token

STEP_S = 0.02
SHA = "ab" * 32


class FakeTrainer:
    """One worker of a job that never has more than one."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._stop = threading.Event()
        self._retired = threading.Event()
        self._formed = threading.Event()
        home = Home(path=Path(spec.home))
        self.socket = ControlSocket(workers_url(home), read_token(home.token), self._hello, self._on)
        self.socket.start()

    def _hello(self):
        spec = self._spec
        return WorkerHello(
            job=spec.job, worker=spec.worker, pid=os.getpid(), host="127.0.0.1", port=1, launch=spec.launch
        )

    def _on(self, message) -> None:
        match message:
            case Welcome():
                self.socket.send(WorkerReady(shards=4, batch_size=8, total_steps=self._steps(), epochs=1))
            case FormGeneration(generation=generation):
                self.socket.send(GenerationEntered(generation=generation, step=0, shards=[0, 1, 2, 3]))
                self._formed.set()
            case StopJob():
                self._stop.set()
            case Retire():
                self._retired.set()

    def _steps(self) -> int:
        return int(next((word[6:] for word in self._spec.args if word.startswith("steps=")), "5"))

    def train(self) -> None:
        """Commit steps until the last, or until asked to stop (unless told to be stubborn)."""
        words = self._spec.args
        assert self._formed.wait(30)
        print("training with", *words)
        step = 0
        while step < self._steps() and not self._retired.is_set():
            if self._stop.is_set() and "stubborn" not in words:
                break
            if "milestones" in words:
                self.socket.send(MilestoneReached(step))
            time.sleep(STEP_S)
            step += 1
            stale = {0: 3 * step, 2: step} if "stale" in words else {}
            self.socket.send(StepsCommitted(step - 1, [time.monotonic()], [1.0 / step], 0, 8 * step, stale))
            self.socket.send(WorkerProgress(step=step, state="training", shards=[0, 1, 2, 3]))
            if "raise" in words and step == 3:
                raise ValueError("the user's own mistake")
        print("no newline at the end", end="")
        self.socket.send(WorkerFinished(weights_sha256=SHA, steps=step, samples=8 * step, final_loss=0.25))


def run(spec: WorkerSpec) -> None:
    """The entry that these tests give to ``pliant run``."""
    trainer = FakeTrainer(spec)
    try:
        trainer.train()
    except ValueError as error:
        text = traceback.format_exc()
        if "silently" not in spec.args:
            print(text, file=sys.stderr)
        trainer.socket.send(WorkerFailed(error=repr(error), traceback=text))
        trainer.socket.close()
        sys.exit(1)
    trainer.socket.close()
