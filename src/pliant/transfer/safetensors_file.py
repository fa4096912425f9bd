"""Writes and maps safetensors files (https://github.com/huggingface/safetensors, format section of its README).

The package's own writer wants all contents as ``bytes`` objects and gives no checksum. This one writes from where the
tensors lie, and hashes and flushes on the way. The package's reader for torch maps a file in a way that counts as the
process's own memory, so that a file larger than memory cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

_CHUNK_BYTES = 4 << 20
_ALIGN = 8
_NOT_COUNTED = mmap.MAP_PRIVATE | 0x4000
"""MAP_NORESERVE, which Python does not name: the kernel refuses no mapping for being larger than memory."""
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
    """One tensor for a file: ``data`` are its bytes in row-major order, in parts that are asked for once, in turn."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    data: Iterable[memoryview]


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
        shape = list(entry.shape) if kind is not None else [entry.size_bytes]
        end = at + entry.size_bytes
        header[entry.key] = {"dtype": kind or _TYPES[_BYTES_DTYPE], "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGN)
    data = chain.from_iterable(entry.data for entry in ordered)
    return write_file(path, chain([len(text).to_bytes(8, "little"), text], data))


def map_safetensors(path: Path) -> dict[str, memoryview]:
    """The bytes of each tensor of a file, by key.

    They take memory as they are looked at, which the system takes back when it wants it. They may be written to, which
    changes nothing in the file.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is no such file.
    """
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, flags=_NOT_COUNTED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    view = memoryview(mapping)
    start = 8 + int.from_bytes(view[:8], "little")
    if start > len(view):
        raise ValueError(f"its header ends at {start}, the file at {len(view)}")
    header = json.loads(bytes(view[8:start]))
    found = {}
    try:
        for key, entry in header.items():
            if key != "__metadata__":
                first, stop = map(int, entry["data_offsets"])
                if not 0 <= first <= stop <= len(view) - start:
                    raise ValueError(f"{key} lies at {first} to {stop} of {len(view) - start} bytes")
                found[key] = view[start + first : start + stop]
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"its header makes no sense: {error}") from error
    return found


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> str:
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
    return entry.size_bytes // count if count else 1
