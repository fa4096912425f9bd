"""Writes safetensors files (https://github.com/huggingface/safetensors, format section of its README).

The package's own writer wants all contents as ``bytes`` objects and gives no checksum. This one writes from where the
tensors lie, and hashes and flushes on the way. Reading is the package's business.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_CHUNK_BYTES = 4 << 20
_ALIGN = 8
_BYTES_DTYPE = "uint8"
_TYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "complex64": "C64",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


class Entry(NamedTuple):
    """One tensor for a file: ``data`` are its bytes in row-major order."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    data: memoryview


def write_safetensors(path: Path, entries: Sequence[Entry]) -> str:
    """Write a new file and flush it to disk; returns its SHA-256 in hex. Blocking.

    A dtype that the format does not have is stored as a row of uint8.

    On failure: what was written so far stays.

    Raises:
        OSError: Disk full and the like.
    """
    # Large items first: then each tensor begins at a multiple of its item's size.
    ordered = sorted(entries, key=lambda entry: (-_item_bytes(entry), entry.key))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for entry in ordered:
        kind = _TYPES.get(entry.dtype)
        shape = list(entry.shape) if kind is not None else [len(entry.data)]
        end = at + len(entry.data)
        header[entry.key] = {"dtype": kind or _TYPES[_BYTES_DTYPE], "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGN)
    return write_file(path, [len(text).to_bytes(8, "little"), text, *(entry.data for entry in ordered)])


def write_file(path: Path, parts: Sequence[bytes | memoryview]) -> str:
    """Write a new file from parts and flush it to disk; returns its SHA-256 in hex. Fails as the above."""
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), _CHUNK_BYTES):
                chunk = view[start : start + _CHUNK_BYTES]
                digest.update(chunk)
                file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _item_bytes(entry: Entry) -> int:
    if entry.dtype not in _TYPES:
        return 1
    count = 1
    for extent in entry.shape:
        count *= extent
    return len(entry.data) // count if count else 1
