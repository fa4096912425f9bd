"""A checkpoint appears as a whole or not at all: directories that are made under another name. No torch.

A new checkpoint is written into a hidden directory, every file and the directory are flushed to disk, and the
directory is renamed. The writer holds a lock on it (``flock``), which the kernel lets go when the process dies: so the
next writer knows a partial one that was left behind from one that somebody is still writing.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pliant.errors import CheckpointError
from pliant.transfer.checkpoint_manifest import check_checkpoint, complete_checkpoints, read_manifest

_PARTIAL = ".partial-"
_ASIDE = "damaged-"


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """A hidden directory to write into, which becomes ``final`` when the block ends without an error.

    On failure: the hidden directory is removed, as far as that is possible; ``final`` is what it was.

    Raises:
        OSError: Disk full, no permission and the like.
    """
    parent = final.parent
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_partial(parent)
    partial = parent / f"{_PARTIAL}{final.name}-{secrets.token_hex(4)}"
    partial.mkdir(mode=0o700)
    lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems have no locks for directories
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield partial
        os.fsync(lock)
        if final.exists():
            set_aside(final)
        partial.rename(final)
        flush_directory(parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def remove_partial(directory: Path) -> None:
    """Remove what writers that died have left in ``directory``; what cannot be removed stays."""
    for path in directory.glob(f"{_PARTIAL}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # somebody is writing it
        finally:
            os.close(lock)


def is_good(path: Path) -> bool:
    """Whether there is a checkpoint with every bit as it was written. Blocks: reads it."""
    try:
        check_checkpoint(path)
    except CheckpointError:
        return False
    return True


def set_aside(path: Path) -> Path:
    """Give a damaged checkpoint another name, under which it is neither counted nor used.

    Raises:
        OSError: It cannot be renamed.
    """
    target = path.with_name(f"{_ASIDE}{path.name}-{secrets.token_hex(4)}")
    path.rename(target)
    return target


def keep_newest(directory: Path, keep: int, *, fresh: Path) -> None:
    """Remove all but ``fresh`` (just written) and the ``keep - 1`` newest others; what cannot be removed stays.

    Checkpoints that lack a file, or have one of another size, do not count, and go once they are older.
    """
    kept = 1
    for path in complete_checkpoints(directory):
        if path == fresh:
            continue
        if kept >= keep:
            _remove(path)
            continue
        try:
            read_manifest(path)
        except CheckpointError:
            continue
        kept += 1


def flush_directory(directory: Path) -> None:
    """Make renames in ``directory`` outlast a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """In two steps, so that no half-removed directory goes by the name of a checkpoint."""
    hidden = path.with_name(f"{_PARTIAL}{path.name}-{secrets.token_hex(4)}")
    with suppress(OSError):
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
