"""A checkpoint gives back every bit, and its files can be read without Pliant."""

import json
import subprocess

import pytest
import safetensors.torch
import torch
from checkpoint_samples import POSITION, Tied, make, save
from safetensors import safe_open

from pliant.errors import CheckpointError
from pliant.transfer.capture import capture, restore
from pliant.transfer.checkpoint_files import is_good
from pliant.transfer.checkpoint_layout import STATE_FILE
from pliant.transfer.checkpoint_load import load_checkpoint
from pliant.transfer.checkpoint_manifest import check_checkpoint
from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint
from pliant.transfer.fingerprint import weights_sha256
from pliant.transfer.move import bytes_of
from pliant.transfer.spec import encode


def bits(value):
    """A value as something that is equal only if every bit is."""
    encoded = encode(value)
    return encoded.meta, [bytes(bytes_of(tensor)) for tensor in encoded.tensors]


def test_every_bit_comes_back(tmp_path):
    tracked = make()
    path = save(tmp_path / "deep" / "checkpoints", tracked)
    assert path.name == "step-00000007"
    value = load_checkpoint(path)
    assert bits(value["tracked"]) == bits(capture(tracked))
    assert repr(value["position"]) == repr(POSITION)  # NaN is not equal to itself
    other = make(seed=1, filled=False)
    restore(other, value["tracked"])
    assert bits(capture(other)) == bits(capture(tracked))
    assert weights_sha256({"model": other["model"]}) == check_checkpoint(path).weights_sha256


def test_loaded_tensors_do_not_hang_on_the_files(tmp_path):
    path = save(tmp_path)
    value = load_checkpoint(path)
    before = bits(value)
    for file in path.iterdir():
        with file.open("r+b") as opened:
            opened.write(b"\xff" * file.stat().st_size)
    assert bits(value) == before


def test_the_model_file_is_the_state_dict(tmp_path):
    model = make()["model"]
    path = save(tmp_path, {"model": model})
    loaded = safetensors.torch.load_file(path / "model.safetensors")
    wanted = model.state_dict()
    extra = wanted.pop("_extra_state")
    assert extra == {"count": 3}
    assert set(loaded) == set(wanted)
    assert {"body.weight", "again.weight", "head.weight"} < set(loaded)
    assert bits(dict(sorted(loaded.items()))) == bits({key: value.clone() for key, value in sorted(wanted.items())})
    fresh = Tied()
    fresh.load_state_dict(loaded, strict=False)
    assert weights_sha256({"model": fresh}) == weights_sha256({"model": model})


def test_the_other_file_has_names_to_read(tmp_path):
    path = save(tmp_path)
    with safe_open(path / STATE_FILE, framework="pt") as opened:
        keys = set(opened.keys())
        assert opened.get_tensor("optimizer.state[1].exp_avg").dtype == torch.bfloat16
        assert opened.get_tensor("odd.wide").dtype == torch.uint8  # there is no 128-bit complex in the format
    assert {"model.grads['body.weight']", "model.buffers.cache[1]", "odd.__metadata__", "odd[3][0]"} <= keys


def test_checksums_are_those_of_sha256sum(tmp_path):
    path = save(tmp_path)
    done = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((path / "manifest.json").read_text())
    assert {file.name for file in path.iterdir()} == {*manifest["files"], "manifest.json", "SHA256SUMS"}
    assert (manifest["job"], manifest["step"], manifest["samples"], manifest["loss"]) == ("train", 7, 640, 0.25)
    assert [call["kind"] for call in manifest["calls"]] == ["steps", "evaluate"]


def test_names_of_modules_that_are_no_file_names(tmp_path):
    names = ["state", "State", "a/b", "..", "", "x" * 200, "module-1", "ok"]
    tracked = {name: torch.nn.Linear(1, number + 1) for number, name in enumerate(names)}
    path = save(tmp_path, tracked)
    models = check_checkpoint(path).models
    assert set(models) == set(names)
    assert len({file.lower() for file in models.values()} | {STATE_FILE}) == len(names) + 1
    assert (models["ok"], models["State"]) == ("ok.safetensors", models["State"])
    for name, module in tracked.items():
        assert bits(safetensors.torch.load_file(path / models[name])) == bits(dict(sorted(module.state_dict().items())))
    other = {name: torch.nn.Linear(1, number + 1) for number, name in enumerate(names)}
    restore(other, load_checkpoint(path)["tracked"])
    assert weights_sha256(other) == weights_sha256(tracked)


def test_a_compiled_model_has_the_plain_model_s_keys(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    path = save(tmp_path, {"model": torch.compile(model)})
    loaded = safetensors.torch.load_file(path / "model.safetensors")
    assert set(loaded) == set(model.state_dict())
    assert check_checkpoint(path).weights_sha256 == weights_sha256({"model": model})


def test_a_snapshot_is_not_touched_by_training(tmp_path):
    tracked = make()
    before = bits(capture(tracked))
    snapshot = take_snapshot(tracked, POSITION, job="train", staging=Staging())
    with torch.no_grad():
        for parameter in tracked["model"].parameters():
            parameter.mul_(3)
    path, size_bytes = write_checkpoint(tmp_path, snapshot, keep=3)
    assert bits(load_checkpoint(path)["tracked"]) == before
    assert size_bytes == sum(file.stat().st_size for file in path.iterdir())


def test_staging_follows_a_state_that_grows(tmp_path):
    tracked = make(filled=False)
    staging = Staging()
    for step, filled in ((1, False), (2, True), (3, True)):
        tracked["odd"].state = make(filled=filled)["odd"].state
        snapshot = take_snapshot(tracked, POSITION | {"step": step}, job="train", staging=staging)
        path, _ = write_checkpoint(tmp_path, snapshot, keep=1)
        assert bits(load_checkpoint(path)["tracked"]) == bits(capture(tracked))


def test_a_good_one_of_the_same_step_stays_and_a_damaged_one_is_replaced(tmp_path):
    path = save(tmp_path)
    inode = path.stat().st_ino
    assert save(tmp_path) == path
    assert path.stat().st_ino == inode
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert not is_good(path)
    assert save(tmp_path) == path
    assert is_good(path)


def test_loading_refuses_a_damaged_one(tmp_path):
    path = save(tmp_path)
    file = path / STATE_FILE
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 4
    file.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged: its SHA-256 is not the one"):
        load_checkpoint(path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_state_on_a_gpu(tmp_path):
    tracked = make()
    on_host = bits(capture({"model": tracked["model"]}))[1]
    tracked["model"].cuda()
    snapshot = take_snapshot({"model": tracked["model"]}, POSITION, job="train", staging=Staging())
    with torch.no_grad():
        for parameter in tracked["model"].parameters():
            parameter.mul_(3)
    assert [bytes(data) for data in snapshot.data] == on_host
    path, _ = write_checkpoint(tmp_path, snapshot, keep=1)
    assert check_checkpoint(path).weights_sha256 != weights_sha256({"model": tracked["model"]})
