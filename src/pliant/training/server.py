"""Main of a parameter server's process: runs the user's script as far as ``pliant.join``, and serves from within it.

So it has the user's own model and optimizers, built by the user's own code; nothing is sent that would have to be
unpickled. Exit codes as of :mod:`pliant.training.worker`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from pliant.config import Home, WorkerSpec
from pliant.errors import PliantError
from pliant.training.crew import set_ambient
from pliant.training.script import SCRIPT_RAISED, leave_on_sigterm, run_script, script_traceback
from pliant.training.server_crew import ServerCrew
from pliant.training.session import JobStopped
from pliant.wire.server_messages import ServerFailed
from pliant.wire.token import read_token

NEVER_JOINED = "the script ended on a parameter server without calling pliant.join(...)"


def run(spec: WorkerSpec) -> None:
    """Serve until the job ends or this server is let go, and leave with the exit code (SystemExit)."""
    torch.set_num_threads(spec.threads)
    crew = ServerCrew(spec, pid=os.getpid(), token=read_token(Home(Path(spec.home)).token))
    set_ambient(lambda: crew)
    leave_on_sigterm(crew)
    try:
        code = _run_script(spec, crew)
    finally:
        crew.close()
    sys.exit(code)


def _run_script(spec: WorkerSpec, crew: ServerCrew) -> int:
    try:
        run_script(spec)
    except JobStopped:
        return 0
    except BaseException as error:
        text = script_traceback(error, spec.script)
        crew.tell(ServerFailed(error=str(error) if isinstance(error, PliantError) else repr(error), traceback=text))
        if not isinstance(error, PliantError):  # else the job's own last line says all, once
            print(text, file=sys.stderr, end="")
        return SCRIPT_RAISED
    crew.tell(ServerFailed(error=NEVER_JOINED))
    print(NEVER_JOINED, file=sys.stderr)
    return SCRIPT_RAISED
