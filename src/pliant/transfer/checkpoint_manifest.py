"""What a checkpoint says of itself, and whether it is whole. No torch: the coordinator reads this too.

A checkpoint is a directory ``step-00000100`` (see docs/design/0005): tensors in safetensors files, ``manifest.json``,
``structure.msgpack``, and ``SHA256SUMS``, which lists all other files as ``sha256sum -c`` reads them. A directory with
such a name was complete when it got it; what happened to it since, the checksums tell.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pliant.errors import CheckpointError
from pliant.wire.tables import TableSpec

FORMAT = 1
MANIFEST, STRUCTURE, SUMS = "manifest.json", "structure.msgpack", "SHA256SUMS"
_NAME = re.compile(r"step-(\d{8,})")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_CHUNK_BYTES = 4 << 20
_MAX_MANIFEST_BYTES = 1 << 30


class StoredTensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one tensor of the structure lies, and what it is there for Pliant."""

    file: str
    key: str
    dtype: str
    """As torch calls it. The file holds its bytes as uint8 if safetensors has no such type."""
    shape: list[int]


class StoredCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call of ``job.steps`` or ``job.evaluate`` that had ended, with its result."""

    kind: str
    result: msgspec.Raw


class StoredTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An embedding table."""

    spec: TableSpec
    model: str
    """Name of the tracked module that it is in."""
    prefix: str
    """Its place in there."""
    columns: dict[str, int]
    """By name (``ids``, ``rows``, ...): the number of its tensor in :attr:`Manifest.tensors`."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``manifest.json``."""

    format: int
    pliant: str
    """Version that wrote it."""
    torch: str
    job: str
    written_s: float
    """Unix time in seconds."""
    step: int
    """The next step to be trained: so many are in the weights."""
    call: int
    """Number of the running call of the script."""
    step_of_call: int
    passes: int
    epoch: int
    samples: int
    loss: float | None
    weights_sha256: str
    """As ``job.weights_sha256()`` gives it."""
    calls: list[StoredCall]
    """All that had ended, in order."""
    models: dict[str, str]
    """Name of each tracked module, and the file with its state_dict."""
    tensors: list[StoredTensor]
    files: dict[str, int]
    """Size of every file in bytes, but for this one and the checksums."""
    tables: dict[str, StoredTable] = {}
    """By name."""


class _Head(msgspec.Struct):
    format: int


@dataclass(frozen=True)
class Damaged:
    """A checkpoint that cannot be used."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Choice:
    """The newest good checkpoint of a directory, and the newer ones that were passed over."""

    path: Path | None
    manifest: Manifest | None
    damaged: tuple[Damaged, ...]


def checkpoint_path(directory: Path, step: int) -> Path:
    """Where the checkpoint of the state before ``step`` is, or would be."""
    return directory / f"step-{step:08d}"


def step_of(path: Path) -> int | None:
    """The step in the name of a checkpoint; None if it is no such name."""
    match = _NAME.fullmatch(path.name)
    return None if match is None else int(match[1])


def complete_checkpoints(directory: Path) -> list[Path]:
    """All that were completed, newest first; empty if there is no such directory.

    Raises:
        OSError: The directory cannot be read.
    """
    if not directory.is_dir():
        return []
    found = [(step, path) for path in directory.iterdir() if (step := step_of(path)) is not None]
    return [path for _, path in sorted(found, reverse=True)]


def read_manifest(path: Path) -> Manifest:
    """The manifest of a checkpoint whose files are all there with the right sizes. Cheap: their contents are not read.

    Raises:
        CheckpointError: Says what is wrong with it.
    """
    raw = _read(path / MANIFEST)
    try:
        found = msgspec.json.decode(raw, type=_Head).format
        if found != FORMAT:
            raise CheckpointError(f"{path} is written in format {found}; this Pliant reads format {FORMAT}")
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, ValueError) as error:  # ValueError: not UTF-8
        raise CheckpointError(f"{path / MANIFEST} is damaged: {error}") from error
    for name, size_bytes in manifest.files.items():
        if not _PLAIN.fullmatch(name) or name in (MANIFEST, SUMS):
            raise CheckpointError(f"{path / MANIFEST} is damaged: it names a file {name!r}")
        try:
            there_bytes = (path / name).stat().st_size
        except OSError as error:
            raise CheckpointError(f"{path / name} cannot be read: {error.strerror}") from error
        if there_bytes != size_bytes:
            raise CheckpointError(f"{path / name} has {there_bytes} bytes instead of {size_bytes}")
    return manifest


def check_checkpoint(path: Path) -> Manifest:
    """The manifest of a checkpoint in which every bit is as it was written. Blocks: reads all files.

    Raises:
        CheckpointError: Names the file and what is wrong with it.
    """
    manifest = read_manifest(path)
    sums = {name: _hash_file(path / name) for name in (MANIFEST, *manifest.files)}
    said = _read(path / SUMS)
    if said == sums_text(sums):
        return manifest
    lines = set(said.decode(errors="replace").splitlines())
    changed = [name for name, digest in sums.items() if f"{digest}  {name}" not in lines]
    if len(changed) == len(sums) or not changed:
        raise CheckpointError(f"{path / SUMS} does not belong to the files beside it, or is damaged")
    raise CheckpointError(f"{path}: {', '.join(changed)} is damaged: its SHA-256 is not the one in {SUMS}")


def choose_checkpoint(directory: Path) -> Choice:
    """Look for the newest checkpoint that is good. Blocks: reads files until one is.

    Never raises for what it finds on disk: a directory that cannot be read counts as damaged.
    """
    damaged: list[Damaged] = []
    try:
        candidates = complete_checkpoints(directory)
    except OSError as error:
        return Choice(None, None, (Damaged(directory, f"{directory} cannot be read: {error.strerror}"),))
    for path in candidates:
        try:
            return Choice(path, check_checkpoint(path), tuple(damaged))
        except CheckpointError as error:
            damaged.append(Damaged(path, str(error)))
    return Choice(None, None, tuple(damaged))


def sums_text(sums: Mapping[str, str]) -> bytes:
    """The contents of ``SHA256SUMS`` for these digests by file name."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_MANIFEST_BYTES:
            raise CheckpointError(f"{path} has {size_bytes} bytes; it cannot be what it is called")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
