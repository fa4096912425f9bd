"""Whatever happens to a checkpoint's files, it is noticed."""

import os
import random
import shutil

import msgspec
import pytest
import torch
from checkpoint_samples import save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pliant.errors import CheckpointError
from pliant.transfer.checkpoint_manifest import (
    MANIFEST,
    SUMS,
    check_checkpoint,
    choose_checkpoint,
    complete_checkpoints,
    read_manifest,
)

FILES = ["model.safetensors", "state.safetensors", "structure.msgpack", MANIFEST, SUMS]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small checkpoint; tests work on copies."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return save(tmp_path_factory.mktemp("good"), {"model": model, "optimizer": optimizer})


@pytest.fixture(scope="module")
def copy(good, tmp_path_factory):
    target = tmp_path_factory.mktemp("copy") / good.name
    shutil.copytree(good, target)
    return target


def damaged(good, copy, file, raw):
    (copy / file).write_bytes(raw)
    try:
        with pytest.raises(CheckpointError) as caught:
            check_checkpoint(copy)
    finally:
        shutil.copy(good / file, copy / file)
    check_checkpoint(copy)
    return str(caught.value)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.integers(min_value=0), st.integers(0, 7))
def test_any_flipped_bit_is_found(good, copy, file, at, bit):
    raw = bytearray((good / file).read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    assert str(copy) in damaged(good, copy, file, raw)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.integers(min_value=0))
def test_any_truncation_is_found(good, copy, file, at):
    raw = (good / file).read_bytes()
    assert file in damaged(good, copy, file, raw[: at % len(raw)])


def test_every_bit_of_the_small_files(good, copy):
    for file in (SUMS, MANIFEST):
        raw = (good / file).read_bytes()
        for at in random.Random(0).sample(range(len(raw)), 150):
            for bit in range(8):
                changed = bytearray(raw)
                changed[at] ^= 1 << bit
                damaged(good, copy, file, changed)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_or_longer_file_is_found(good, copy, file):
    assert file in damaged(good, copy, file, (good / file).read_bytes() + b"\n")
    (copy / file).unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        check_checkpoint(copy)
    shutil.copy(good / file, copy / file)


def test_messages_name_the_file_and_what_is_wrong(good, copy):
    raw = (good / "model.safetensors").read_bytes()
    assert "model.safetensors has 5 bytes instead of" in damaged(good, copy, "model.safetensors", raw[:5])
    assert "its SHA-256 is not" in damaged(good, copy, "model.safetensors", bytes([*raw[:-1], raw[-1] ^ 1]))
    assert "manifest.json is damaged" in damaged(good, copy, MANIFEST, b"{")
    assert "SHA256SUMS does not belong" in damaged(good, copy, SUMS, b"")


def test_another_format_and_strange_file_names_are_refused(good, copy):
    manifest = msgspec.json.decode((good / MANIFEST).read_bytes())
    newer = msgspec.json.encode(manifest | {"format": 2, "more": 1})
    assert "written in format 2; this Pliant reads format 1" in damaged(good, copy, MANIFEST, newer)
    for name in ("../x", "", "..", ".hidden", "a/b", MANIFEST):
        other = msgspec.json.encode(manifest | {"files": {name: 1}})
        assert "it names a file" in damaged(good, copy, MANIFEST, other)


def test_the_newest_good_one_is_chosen(tmp_path):
    model = {"model": torch.nn.Linear(1, 1)}
    paths = [save(tmp_path, model, step=step, keep=9) for step in (5, 100, 20)]
    for name in (".partial-step-00000200-x", "damaged-step-00000300-x", "step-7", "other"):
        (tmp_path / name).mkdir()
    assert complete_checkpoints(tmp_path) == [paths[1], paths[2], paths[0]]
    choice = choose_checkpoint(tmp_path)
    assert (choice.path, choice.manifest.step, choice.damaged) == (paths[1], 100, ())
    os.truncate(paths[1] / "model.safetensors", 3)
    raw = bytearray((paths[2] / "state.safetensors").read_bytes())
    raw[3] ^= 1
    (paths[2] / "state.safetensors").write_bytes(raw)
    choice = choose_checkpoint(tmp_path)
    assert (choice.path, choice.manifest.step) == (paths[0], 5)
    assert [each.path for each in choice.damaged] == [paths[1], paths[2]]
    assert "instead of" in choice.damaged[0].reason
    assert "SHA-256" in choice.damaged[1].reason
    shutil.rmtree(paths[0])
    assert choose_checkpoint(tmp_path).path is None
    assert choose_checkpoint(tmp_path / "none") == type(choice)(None, None, ())


def test_a_manifest_is_read_without_the_contents(good, copy):
    raw = bytearray((good / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (copy / "model.safetensors").write_bytes(raw)
    assert read_manifest(copy).step == 7
    shutil.copy(good / "model.safetensors", copy / "model.safetensors")
