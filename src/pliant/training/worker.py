"""Main of a worker process: runs the user's script as a member of an elastic job.

Called in a process forked from the template (``pliant.backends``). Exit codes: 0 the script ended, the job stopped or
the worker left; 3 the script raised.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from pliant.config import Home, WorkerSpec
from pliant.errors import DivergedError, PliantError, UsageError
from pliant.training import server
from pliant.training.crew import set_ambient
from pliant.training.elastic import ElasticCrew
from pliant.training.script import SCRIPT_RAISED, leave_on_sigterm, run_script, script_traceback
from pliant.training.session import JobStopped
from pliant.transfer.capture import modules_in
from pliant.transfer.fingerprint import weights_sha256
from pliant.wire.messages import WorkerFailed, WorkerFinished
from pliant.wire.token import read_token

NEVER_TRAINED = (
    "the script ended without training: under `pliant run` it has to call pliant.join(...) and loop over job.steps(...)"
)


def run(spec: WorkerSpec) -> None:
    """Run ``spec.script`` to its end, or serve parameters for it, and leave with the exit code (SystemExit)."""
    if spec.role == "server":
        server.run(spec)
        return
    torch.set_num_threads(spec.threads)
    crew = ElasticCrew(spec, pid=os.getpid(), token=read_token(Home(Path(spec.home)).token))
    set_ambient(lambda: crew)
    leave_on_sigterm(crew)
    try:
        code = _run_script(spec, crew)
    finally:
        if crew.job is not None:
            crew.job.close()
        crew.close()
    sys.exit(code)


def _run_script(spec: WorkerSpec, crew: ElasticCrew) -> int:
    try:
        run_script(spec)
        if crew.job is not None:
            crew.job.settle()
    except JobStopped as stop:
        print(stop.reason, file=sys.stderr)
    except SystemExit as leave:
        if leave.code not in (None, 0):
            return _failed(crew, leave, f"the script left with exit code {leave.code}\n")
    except BaseException as error:
        if crew.rehearsing:  # on a model that the job has nothing to do with: no fault of the script
            text = script_traceback(error, spec.script)
            print(f"{spec.worker}: the rehearsal failed\n{text}", file=sys.stderr, end="", flush=True)
            crew.leave_rehearsal(f"{type(error).__name__}: {error}")
        return _failed(crew, error, script_traceback(error, spec.script))
    if crew.retired is not None:
        return 0
    if not crew.stateful:
        return _failed(crew, UsageError(NEVER_TRAINED), NEVER_TRAINED + "\n")
    if not crew.job.session.leaving or crew.job.session.stopping:
        crew.job.flush()
        crew.job.publish_last()
        try:
            crew.tell(_finished(crew))
        except PliantError as error:  # rows that a server could not give
            return _failed(crew, error, script_traceback(error, spec.script))
        crew.await_dismissal()
    return 0


def _finished(crew: ElasticCrew) -> WorkerFinished:
    job = crew.job
    position = job.session.position
    return WorkerFinished(
        weights_sha256=weights_sha256(modules_in(job.session.tracked)),
        steps=position.step,
        samples=position.samples,
        final_loss=position.loss,
    )


def _failed(crew: ElasticCrew, error: BaseException, text: str) -> int:
    steps = samples = 0
    if crew.job is not None:
        crew.job.session.leaving = True
        crew.job.flush()
        steps, samples = crew.job.session.position.step, crew.job.session.position.samples
    if isinstance(error, DivergedError):
        crew.tell(WorkerFailed(str(error), traceback="", kind="diverged", steps=steps, samples=samples))
        text = str(error).splitlines()[0] + "\n"
    else:
        crew.tell(WorkerFailed(f"{type(error).__name__}: {error}", traceback=text, steps=steps, samples=samples))
    print(text, file=sys.stderr, end="")
    return SCRIPT_RAISED
