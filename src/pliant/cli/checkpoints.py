"""The checkpoints that a job has left, as far as their names tell."""

from __future__ import annotations

import shutil
from pathlib import Path

from pliant.cli.output import problem
from pliant.errors import CheckpointError, ConfigError
from pliant.transfer.checkpoint_manifest import complete_checkpoints, read_manifest


def newest_checkpoint(directory: str) -> Path | None:
    """The newest complete checkpoint there; whether it is good is not looked at.

    Raises:
        ConfigError: The directory cannot be read.
    """
    try:
        found = complete_checkpoints(Path(directory)) if directory else []
    except OSError as error:
        raise ConfigError(
            problem(f"checkpoints in {directory} cannot be read: {error.strerror}", "choose another --checkpoints")
        ) from error
    return found[0] if found else None


def tables_in(directory: str) -> list[str]:
    """Names of the tables in the newest checkpoint there whose files are all there; their contents are not read.

    Raises:
        OSError: The directory cannot be read.
    """
    for checkpoint in complete_checkpoints(Path(directory)):
        try:
            return sorted(read_manifest(checkpoint).tables)
        except CheckpointError:
            continue  # the job will begin from an older one, too
    return []


def step_of(checkpoint: Path) -> int:
    """The step before which it was made, from its name."""
    return int(checkpoint.name.rpartition("-")[2])


def discard_checkpoints(directory: Path) -> None:
    """Delete the checkpoints of an earlier run; nothing else that may lie there."""
    try:
        for path in complete_checkpoints(directory):
            shutil.rmtree(path)
    except OSError as error:
        what = f"--discard: {error.filename or directory} cannot be deleted: {error.strerror}"
        raise ConfigError(problem(what, "delete it yourself")) from error
