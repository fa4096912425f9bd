"""``pliant export``: embedding tables out of a checkpoint, as files for other programs."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from pliant.backends.launch import read_launch
from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.cli.table_targets import FORMATS, Target, choose_targets
from pliant.config import Home, home_dir
from pliant.dashboard.status_text import table as in_columns
from pliant.errors import ConfigError, CoordinatorError
from pliant.transfer.checkpoint_manifest import MANIFEST, Manifest, check_checkpoint, choose_checkpoint
from pliant.transfer.table_files import import_pyarrow, map_stored_table, write_parquet_table, write_safetensors_table

_EXAMPLE = """
pliant export train
pliant export train --table users --out users.parquet
pliant export train --format safetensors --out tables/
pliant export runs/train/step-00002000 --table users --out users.safetensors"""
_MISSING = 404


class ExportedTable(msgspec.Struct, frozen=True):
    """A table of a checkpoint, and the file that was written of it; without ``--out`` there is none."""

    table: str
    rows: int
    dim: int
    checkpoint: str
    step: int
    file: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    """Of the file."""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    given = _parser().parse_args(argv)
    checkpoint, manifest = find_checkpoint(Home(home_dir().absolute()), given.source)
    if not manifest.tables:
        what = f"{checkpoint} has no tables, only the models {', '.join(manifest.models)}"
        raise ConfigError(problem(what, "their weights are in safetensors files there already"))
    targets = choose_targets(sorted(manifest.tables), table=given.table, kind=given.format, out=given.out)
    if not given.json:
        note(f"from {checkpoint}, before step {manifest.step}")
    if any(target.kind == "parquet" for target in targets):
        import_pyarrow(Path(given.out))  # before anything is read
    exported = [_export(checkpoint, manifest, target) for target in targets]
    if given.json:
        print_json(exported)
    elif given.out is None:
        print(in_columns([(each.table, f"{each.rows:,} rows", f"of {each.dim} numbers") for each in exported]))
        note("  hint: --out FILE or --out DIRECTORY writes them")
    else:
        rows = [(str(each.file), f"{each.rows:,} rows", f"{each.size_bytes:,} bytes") for each in exported]
        print(in_columns(rows))
    return OK


def find_checkpoint(home: Home, source: str) -> tuple[Path, Manifest]:
    """What the user means by a job's name or by a path; of several checkpoints the newest good one. Blocks: reads it.

    Raises:
        CoordinatorError: 404: no job of this name was ever started, and there is no such directory.
        ConfigError: There is no good checkpoint.
        CheckpointError: The one that was named is damaged.
    """
    path = Path(source)
    if (path / MANIFEST).exists():
        return path, check_checkpoint(path)
    if (home.job(source) / "launch.json").exists():
        directory = Path(read_launch(home, source).spec.checkpoints)
    elif path.is_dir():
        directory = path
    else:
        text = f"no job named {source!r} was ever started in {home.path}, and there is no directory {path.absolute()}"
        raise CoordinatorError(text, status=_MISSING)
    choice = choose_checkpoint(directory)
    for damaged in choice.damaged:
        note(f"warning: passed over: {damaged.reason}")
    if choice.path is None or choice.manifest is None:
        hint = "`pliant stop` leaves one, and `pliant run --checkpoint-every N` writes them while a job runs"
        raise ConfigError(problem(f"there is no good checkpoint in {directory}", hint))
    return choice.path, choice.manifest


def _export(checkpoint: Path, manifest: Manifest, target: Target) -> ExportedTable:
    stored = manifest.tables[target.table]
    exported = ExportedTable(
        target.table, manifest.tensors[stored.columns["rows"]].shape[0], stored.spec.dim, str(checkpoint), manifest.step
    )
    if target.path is None:
        return exported
    columns = map_stored_table(checkpoint, manifest, target.table)
    partial = target.path.with_name(f".{target.path.name}-{secrets.token_hex(4)}")
    try:
        target.path.parent.mkdir(parents=True, exist_ok=True)
        if target.kind == "parquet":
            write_parquet_table(partial, columns)
        else:
            write_safetensors_table(partial, columns)
        partial.rename(target.path)  # there as a whole or not at all
    except OSError as error:
        what = f"table {target.table} could not be written to {target.path}: {error.strerror or error}"
        raise ConfigError(problem(what, "choose another --out")) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    size_bytes = target.path.stat().st_size
    return msgspec.structs.replace(exported, file=str(target.path), format=target.kind, size_bytes=size_bytes)


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "export",
        "Write the embedding tables of a job's newest good checkpoint as files for other programs: all tables, or "
        "one. Without --out: say which tables there are.",
        example=_EXAMPLE,
    )
    add = parser.add_argument
    add("source", metavar="NAME|CHECKPOINT", help="name of a job, running or not, or the directory of a checkpoint")
    add("--table", metavar="TABLE", help="this one (default: all)")
    add("--format", metavar="|".join(FORMATS), help="of the files (default: what the end of --out says)")
    text = "of one table the file; of several, or without an ending, the directory for them"
    add("--out", metavar="FILE|DIRECTORY", type=Path, help=text)
    return parser
