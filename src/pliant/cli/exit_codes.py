"""What the command line's exit codes mean. The one place; ``pliant --help`` shows this table."""

from __future__ import annotations

from pliant.errors import ConfigError, CoordinatorError, PliantError
from pliant.wire.api import JobStatus

OK = 0
ERROR = 1
BAD_INPUT = 2
SCRIPT_FAILED = 3
JOB_FAILED = 4
STOPPED = 5
NOT_FOUND = 6
DIVERGED = 7
INTERRUPTED = 130

TABLE = (
    (OK, "done; for `run`: the job finished"),
    (ERROR, "anything not named below"),
    (BAD_INPUT, "bad input: options, path of the script, plan file, more workers than shards"),
    (SCRIPT_FAILED, "the training script raised; its traceback is shown"),
    (JOB_FAILED, "the job was lost: no worker was left that held its state, or none could be started"),
    (STOPPED, "the job was stopped before its end"),
    (NOT_FOUND, "no coordinator can be reached, or it knows no job of that name"),
    (DIVERGED, "workers that must agree bit for bit did not; for `verify`: not identical"),
    (INTERRUPTED, "interrupted twice: the job was killed"),
)


def of_job(status: JobStatus) -> int:
    """The exit code that tells how a job ended."""
    if status.state == "finished":
        return OK
    if status.state == "stopped":
        return STOPPED
    codes = {"script": SCRIPT_FAILED, "config": BAD_INPUT, "diverged": DIVERGED}
    return codes.get(status.failure or "lost", JOB_FAILED)


def of_error(error: PliantError) -> int:
    """The exit code for an error that ends a verb."""
    if isinstance(error, ConfigError):
        return BAD_INPUT
    if isinstance(error, CoordinatorError):
        return BAD_INPUT if error.status in {409, 422} else NOT_FOUND if error.status in {0, 404} else ERROR
    return ERROR
