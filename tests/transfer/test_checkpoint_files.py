"""A checkpoint appears as a whole or not at all."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from checkpoint_samples import save

from pliant.transfer.checkpoint_files import keep_newest, new_directory, remove_partial, set_aside
from pliant.transfer.checkpoint_manifest import complete_checkpoints

MODEL = {"model": torch.nn.Linear(1, 1)}

HOLDER = """
import sys
from pathlib import Path
from pliant.transfer.checkpoint_files import new_directory
with new_directory(Path(sys.argv[1]) / "step-00000001") as partial:
    (partial / "half").touch()
    print(partial, flush=True)
    sys.stdin.read()
"""


def test_nothing_is_seen_before_the_end(tmp_path):
    final = tmp_path / "a" / "step-00000001"
    with new_directory(final) as partial:
        (partial / "x").touch()
        assert complete_checkpoints(final.parent) == []
    assert [path.name for path in final.iterdir()] == ["x"]
    assert list(final.parent.iterdir()) == [final]


def test_an_error_leaves_nothing(tmp_path):
    final = tmp_path / "step-00000001"

    def write():
        with new_directory(final) as partial:
            (partial / "x").touch()
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_writer_s_rest_is_removed_and_a_live_one_s_is_not(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    partial = holder.stdout.readline().strip()
    try:
        remove_partial(tmp_path)
        assert os.listdir(partial) == ["half"]
    finally:
        holder.kill()
        holder.communicate()
    assert os.listdir(partial) == ["half"]
    save(tmp_path, MODEL, step=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_the_newest_ones_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, MODEL, step=step, keep=2)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step-00000004", "step-00000003"]


def test_one_with_a_missing_file_does_not_count(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, MODEL, step=step, keep=5)
    (tmp_path / "step-00000002" / "model.safetensors").unlink()
    save(tmp_path, MODEL, step=4, keep=3)
    assert [path.name for path in complete_checkpoints(tmp_path)] == [
        "step-00000004",
        "step-00000003",
        "step-00000002",
        "step-00000001",
    ]
    save(tmp_path, MODEL, step=5, keep=2)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step-00000005", "step-00000004"]


def test_the_one_just_written_stays_although_it_is_older(tmp_path):
    save(tmp_path, MODEL, step=9)
    fresh = save(tmp_path, MODEL, step=3, keep=1)
    assert complete_checkpoints(tmp_path) == [fresh]


def test_a_damaged_one_can_be_set_aside(tmp_path):
    path = save(tmp_path, MODEL)
    aside = set_aside(path)
    assert aside.name.startswith("damaged-step-00000007-")
    assert complete_checkpoints(tmp_path) == []
    save(tmp_path, MODEL)
    assert aside.exists()


def test_removal_is_not_seen_half_done(tmp_path, monkeypatch):
    first = save(tmp_path, MODEL, step=1)
    fresh = save(tmp_path, MODEL, step=2)
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: (path / "model.safetensors").unlink())
    keep_newest(tmp_path, 1, fresh=fresh)
    assert complete_checkpoints(tmp_path) == [fresh]
    assert not first.exists()
