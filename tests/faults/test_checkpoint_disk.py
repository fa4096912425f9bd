"""A disk that is full or read-only costs checkpoints, never steps."""

import os
import subprocess

import pytest
from elastic_books import assert_same_bits

from pliant.transfer.checkpoint_manifest import check_checkpoint, complete_checkpoints

STEPS, EVERY = 150, 3


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file:
        while os.statvfs(path.parent).f_bavail:
            file.write(os.urandom(4096))


@pytest.mark.few(0)
def test_full_and_then_read_only(lab, tmp_path, undisturbed, small_disk):
    reference = undisturbed("train.py", "--steps", STEPS)
    directory = small_disk / "checkpoints"
    options = {"workers": "2", "checkpoint-every": EVERY, "keep": 2, "checkpoints": directory}
    job = lab.run(tmp_path, "train.py", "--steps", STEPS, "--delay", 0.01, **options)
    job.wait_event("checkpoint_written")

    filler = small_disk / "filler"
    fill(filler)
    (full,) = job.wait_event("checkpoint_failed")
    assert "No space left on device. Training goes on" in full.message
    kept = complete_checkpoints(directory)
    assert kept
    for path in kept:
        check_checkpoint(path)
    step = job.status().step
    filler.unlink()
    job.wait(lambda _: complete_checkpoints(directory)[0] > kept[0], "a checkpoint is written again")

    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    _, readonly = job.wait_event("checkpoint_failed", count=2)
    assert "Read-only file system" in readonly.message
    for path in complete_checkpoints(directory):
        check_checkpoint(path)
    job.wait_step(step + 20)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)

    ended = job.end()
    assert "worker_lost" not in ended.kinds
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.noted("weights")[0]
    last = complete_checkpoints(directory)
    assert len(last) == 2
    assert [path.name for path in directory.iterdir() if path not in last] == []
    for path in last:
        check_checkpoint(path)
