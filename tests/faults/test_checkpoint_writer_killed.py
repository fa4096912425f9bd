"""SIGKILL while a checkpoint is being written: it is never seen, and the next one is complete."""

import os
import signal

from elastic_books import assert_same_bits

from pliant.transfer.checkpoint_manifest import check_checkpoint, complete_checkpoints

STEPS, EVERY, MEGABYTES = 40, 10, 150


def test_the_writer_is_killed_while_it_writes(lab, tmp_path, undisturbed):
    reference = undisturbed("train.py", "--steps", STEPS)
    directory = tmp_path / "checkpoints"
    options = {"workers": "1:2", "start": 2, "checkpoint-every": EVERY, "keep": 9, "checkpoints": directory}
    script_args = ("--steps", STEPS, "--delay", 0.02, "--ballast", MEGABYTES)
    job = lab.run(tmp_path, "train.py", *script_args, **options)
    (writer, _) = job.wait_workers(2)

    def partial():
        found = [path for path in directory.glob(".partial-*") if any(path.iterdir())]
        return found[0] if found else None

    begun = job.wait(lambda _: partial(), "a checkpoint is being written")
    os.kill(writer.pid, signal.SIGKILL)
    (lost,) = job.wait_event("worker_lost")
    assert "killed by SIGKILL" in lost.message
    assert begun.is_dir(), "the checkpoint was complete before the kill"
    begun_step = int(begun.name.split("-")[2])
    assert directory / f"step-{begun_step:08d}" not in complete_checkpoints(directory)

    ended = job.end()
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.noted("weights")[0]
    later = complete_checkpoints(directory)
    assert later
    assert not begun.exists(), "what the dead writer left was not cleared away"
    for path in later:
        assert check_checkpoint(path).step > begun_step
