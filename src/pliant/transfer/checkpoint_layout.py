"""Which tensor of a captured state goes into which file of a checkpoint, and under which key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

from torch import nn

from pliant.transfer.capture_module import buffer_slots, extra_owners
from pliant.transfer.fingerprint import persistent_tensors, plain_name
from pliant.transfer.spec_writer import join
from pliant.transfer.table_module import tables_of
from pliant.wire.tables import TableSpec

STATE_FILE = "state.safetensors"
"""Everything that is in no module's state_dict."""
_RESERVED_KEY = "__metadata__"
_FILE_STEM = re.compile(r"[A-Za-z0-9_]{1,100}")


@dataclass(frozen=True)
class PlacedTable:
    """Where a table is."""

    model: str
    """Name of the tracked module that it is in."""
    prefix: str
    """Its place in there."""
    spec: TableSpec
    columns: dict[str, int]
    """Tensors, by name in the table's state."""


@dataclass(frozen=True)
class Layout:
    """Where each tensor goes. Tensors are numbered as in :class:`pliant.transfer.spec.Encoded`."""

    files: dict[str, list[tuple[str, int]]]
    """By file name: keys and tensors. A tied weight stands under each of its names."""
    models: dict[str, str]
    """Name of each tracked module, and its file."""
    weights: dict[str, list[tuple[str, int]]]
    """By module: what counts for ``job.weights_sha256()``."""
    home: list[tuple[str, str]]
    """By tensor: the file and key from which it is read again."""
    tables: list[PlacedTable]


def plan_layout(tracked: Mapping[str, Any], paths: Sequence[str]) -> Layout:
    """Lay out the tensors of ``capture(tracked)``, numbered by ``encode`` and found at ``paths``.

    Module NAME gets ``NAME.safetensors`` with what its state_dict has, and with the same keys (without what
    ``torch.compile`` puts in front); all else is in :data:`STATE_FILE`.
    """
    number_of = {path: number for number, path in enumerate(paths)}
    files: dict[str, list[tuple[str, int]]] = {}
    models: dict[str, str] = {}
    weights: dict[str, list[tuple[str, int]]] = {}
    tables: list[PlacedTable] = []
    home: list[tuple[str, str] | None] = [None] * len(paths)
    for name, module in tracked.items():
        if not isinstance(module, nn.Module):
            continue
        file = models[name] = _file_name(name, taken=models.values())
        weights[name] = [(key, number_of[path]) for key, path in _weight_paths(name, module)]
        tables += _tables(name, module, number_of)
        extra = [(key, number_of[path]) for key, path in _extra_paths(name, module) if path in number_of]
        files[file] = _with_free_keys([*weights[name], *extra])
        for key, number in files[file]:
            home[number] = home[number] or (file, key)
    rest = [(path.encode("utf-8", "backslashreplace").decode(), n) for n, path in enumerate(paths) if home[n] is None]
    files[STATE_FILE] = _with_free_keys(rest)
    for key, number in files[STATE_FILE]:
        home[number] = (STATE_FILE, key)
    return Layout(files, models, weights, [found for found in home if found is not None], tables)


def _weight_paths(name: str, module: nn.Module) -> list[tuple[str, str]]:
    """Keys of the state_dict, and where ``capture`` puts these tensors."""
    base = join("", name)
    path_of: dict[int, str] = {}
    for key, parameter in module.named_parameters():
        path_of[id(parameter)] = join(join(base, "parameters"), key)
    for key, slot in buffer_slots(module).items():
        if slot.tensor is not None:
            path_of.setdefault(id(slot.tensor), join(join(base, "buffers"), key) + "[1]")
    return [(key, path_of[id(tensor)]) for key, tensor in persistent_tensors(module)]


def _extra_paths(name: str, module: nn.Module) -> list[tuple[str, str]]:
    base = join(join("", name), "extra")
    return [
        (plain_name(f"{prefix}." if prefix else "") + "_extra_state", join(base, prefix))
        for prefix, _ in extra_owners(module)
    ]


def _tables(name: str, module: nn.Module, number_of: Mapping[str, int]) -> list[PlacedTable]:
    base = join(join("", name), "extra")
    return [
        PlacedTable(
            name, prefix, table.spec, {key: number_of[join(join(base, prefix), key)] for key in table.columns()}
        )
        for prefix, table in tables_of(module)
    ]


def _with_free_keys(entries: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Entries whose keys differ from each other and from what the format reserves."""
    taken = {_RESERVED_KEY}
    free: list[tuple[str, int]] = []
    for key, number in entries:
        chosen, again = key, 2
        while chosen in taken:
            chosen, again = f"{key}#{again}", again + 1
        taken.add(chosen)
        free.append((chosen, number))
    return free


def _file_name(name: str, *, taken: Iterable[str]) -> str:
    """``NAME.safetensors``, or a number in place of a name that is no file name or is taken."""
    others = {STATE_FILE, *(file.lower() for file in taken)}
    stems = chain([name] if _FILE_STEM.fullmatch(name) else [], (f"module-{number}" for number in count(1)))
    return next(file for stem in stems if (file := f"{stem}.safetensors").lower() not in others)
