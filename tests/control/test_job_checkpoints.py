"""What the coordinator makes of checkpoints: events, restarts, and their limit."""

import hashlib
import json
import os
from functools import partial

import msgspec
import pytest
from control_fakes import Play, wait_for

from pliant.control.inputs import CheckpointChosen
from pliant.control.registry import Registry
from pliant.errors import CoordinatorError, ProtocolError
from pliant.transfer.checkpoint_manifest import FORMAT, Manifest, StoredCall, checkpoint_path, sums_text
from pliant.wire.agent_messages import StartWorker
from pliant.wire.api import JobSpec
from pliant.wire.messages import (
    CallEnded,
    CheckpointFailed,
    CheckpointSkipped,
    CheckpointWritten,
    Retire,
    StepsCommitted,
    Welcome,
    WorkerReady,
)


def put_checkpoint(directory, step, *, calls=(), step_of_call=0):
    """One that the coordinator takes for good; it never looks at tensors."""
    path = checkpoint_path(directory, step)
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    manifest = Manifest(
        format=FORMAT,
        pliant="0",
        torch="0",
        job="j",
        written_s=0.0,
        step=step,
        call=len(calls),
        step_of_call=step_of_call,
        passes=step,
        epoch=1,
        samples=step * 64,
        loss=0.5,
        weights_sha256="aa",
        calls=[StoredCall(kind, msgspec.Raw(json.dumps(result).encode())) for kind, result in calls],
        models={"model": "model.safetensors"},
        tensors=[],
        files={"model.safetensors": 7},
    )
    (path / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    sums = {name: sha256(path / name) for name in ("model.safetensors", "manifest.json")}
    (path / "SHA256SUMS").write_bytes(sums_text(sums))
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "checkpoints"


def train(play, directory, *, workers=2, steps=12, **spec):
    scene = play(start_workers=workers, checkpoints=str(directory), checkpoint_every=5, **spec)
    scene.start_workers()
    scene.enter(step=0)
    if steps:
        scene.commit("w1", steps)
    return scene


def lose_all(scene):
    for worker, record in list(scene.records.items()):
        if record is not None and not record.gone:
            scene.die(worker)


def choose(scene):
    """Let the coordinator look for a checkpoint, to the end."""
    wait_for(lambda: scene.registry.tick() or not scene.job.checkpoints.choosing, "a checkpoint was looked for")


def test_the_job_goes_on_from_the_newest_checkpoint(play, directory):
    put_checkpoint(directory, 5)
    path = put_checkpoint(directory, 10, calls=[("steps", 1), ("evaluate", 0.5)], step_of_call=4)
    scene = train(play, directory)
    scene.say("w1", CallEnded(0, "steps", msgspec.Raw(b"1")))
    scene.say("w1", CallEnded(3, "steps", msgspec.Raw(b"7")))
    lose_all(scene)
    assert scene.job.state == "starting"
    scene.agent.take(StartWorker)
    choose(scene)
    assert [m.worker for m in scene.agent.take(StartWorker)] == ["w4", "w5"]
    assert scene.job.progress.step == 10
    assert (scene.job.status().samples, scene.job.status().epoch, scene.job.status().loss) == (640, 1, 0.5)
    link = scene.hello("w4")
    (welcome,) = link.take(Welcome)
    assert (welcome.founding, welcome.restore, welcome.step) == (True, str(path), 10)
    assert (welcome.rules.checkpoints, welcome.rules.checkpoint_every, welcome.rules.keep) == (str(directory), 5, 3)
    assert [(c.call, c.kind, bytes(c.result)) for c in welcome.calls] == [(0, "steps", b"1"), (1, "evaluate", b"0.5")]
    scene.hello("w5")
    for worker in ("w4", "w5"):
        scene.say(worker, WorkerReady(8, 64, total_steps=100, call=2))
    assert [member.worker for member in scene.enter(step=10).members] == ["w4", "w5"]
    event = scene.event("job_resumed")
    assert event.step == 10
    assert event.message == f"the job goes on at step 10, from {path}; 2 steps are done again"
    scene.commit("w4", 5)
    assert scene.job.progress.step == 15
    lost = [event for event in scene.job.events() if event.kind == "worker_lost"]
    assert all(event.stall_s is not None and event.workers_after == 2 for event in lost)
    for worker in ("w4", "w5"):
        scene.finish(worker)
    report = scene.job.report()
    assert (report.steps, report.first_step, len(report.commit_times_s)) == (15, 0, 15)


def test_newcomers_are_sent_home_first(play, directory):
    put_checkpoint(directory, 10)
    scene = train(play, directory, workers=1)
    scene.registry.scale("j", 2)
    scene.hello("w2")
    scene.die("w1")
    choose(scene)
    assert scene.links["w2"].take(Retire)
    assert [m.worker for m in scene.agent.take(StartWorker)][-1] == "w3"
    # Whatever w2 still says means nothing, and it is no loss.
    scene.say("w2", WorkerReady(8, 64))
    scene.die("w2", code=0)
    assert scene.kinds().count("worker_lost") == 1


def test_damaged_ones_are_passed_over_set_aside_and_told(play, directory):
    good = put_checkpoint(directory, 5)
    (put_checkpoint(directory, 10) / "model.safetensors").write_bytes(b"w3ights")
    (put_checkpoint(directory, 15) / "model.safetensors").write_bytes(b"weigh")
    scene = train(play, directory, steps=17)
    lose_all(scene)
    choose(scene)
    message = scene.event("job_resumed").message
    assert f"from {good}; 12 steps are done again. Not used: " in message
    assert "step-00000015/model.safetensors has 5 bytes instead of 7 (kept as damaged-step-00000015-" in message
    assert "step-00000010: model.safetensors is damaged: its SHA-256 is not the one" in message
    assert sorted(name[:13] for name in os.listdir(directory)) == ["damaged-step-", "damaged-step-", "step-00000005"]


def test_without_a_checkpoint_the_job_is_lost_unless_it_was_at_step_0(play, directory):
    scene = train(play, directory)
    lose_all(scene)
    choose(scene)
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "lost")
    assert "no worker that holds the job's state is left" in status.error
    assert "run the job again, with --checkpoint-every N" in status.error
    scene = train(play, directory, steps=0)
    lose_all(scene)
    choose(scene)
    assert scene.event("job_resumed").message.startswith("the job goes on at step 0, from the beginning")
    (welcome,) = scene.hello(scene.agent.take(StartWorker)[-1].worker).take(Welcome)
    assert (welcome.founding, welcome.restore) == (True, "")


def test_a_job_without_a_directory_is_lost_at_once(play):
    scene = play(start_workers=1)
    scene.start_workers()
    scene.enter(step=0)
    scene.commit("w1", 3)
    scene.die("w1")
    assert scene.job.status().failure == "lost"
    assert "There is no checkpoint to go on from" in scene.job.status().error


def test_only_damaged_ones_are_told_in_the_error(play, directory):
    (put_checkpoint(directory, 10) / "model.safetensors").unlink()
    scene = train(play, directory)
    lose_all(scene)
    choose(scene)
    assert "Not used: " in scene.job.status().error
    assert "model.safetensors cannot be read: No such file" in scene.job.status().error


def test_three_restarts_without_progress_are_the_limit(play, directory):
    put_checkpoint(directory, 10)
    scene = train(play, directory, workers=1)
    lost = "w1"
    for _ in range(3):
        scene.die(lost)
        choose(scene)
        assert not scene.job.over
        scene.start_workers()
        (lost,) = [member.worker for member in scene.enter(step=10).members]
        scene.commit(lost, 2)  # 12 again, no further than before
    scene.die(lost)
    assert "3 times without getting beyond step 12" in scene.job.status().error
    assert scene.kinds().count("job_resumed") == 3


def test_a_job_that_resumes_another_run(play, directory):
    path = put_checkpoint(directory, 40, calls=[("steps", 2)], step_of_call=10)
    scene = play(start_workers=1, checkpoints=str(directory), resume=True)
    assert scene.agent.take(StartWorker) == []
    choose(scene)
    assert scene.event("job_resumed").message == f"the job goes on at step 40, from {path}"
    scene.start_workers()
    (welcome,) = scene.links["w1"].take(Welcome)
    assert (welcome.restore, len(welcome.calls)) == (str(path), 1)
    scene.enter(step=40)
    scene.commit("w1", 10)
    status = scene.job.status()
    assert (status.step, status.total_steps) == (50, 130)  # the call began at step 30
    scene.finish("w1")
    report = scene.job.report()
    assert (report.steps, report.first_step, len(report.losses)) == (50, 40, 10)
    assert report.goodput > 0.9


def test_a_job_that_resumes_nothing_fails(play, directory):
    scene = play(start_workers=1, checkpoints=str(directory), resume=True)
    choose(scene)
    assert scene.job.status().error.startswith("There is no checkpoint to go on from")


def test_a_coordinator_that_dies_while_it_looks_looks_again(directory, journal):
    path = put_checkpoint(directory, 10)
    scene = train(partial(Play, journal), directory)
    lose_all(scene)
    assert scene.job.checkpoints.choosing
    again = Registry(journal, clock=scene.time.clock())
    job = again.live("j")
    assert job.checkpoints.choosing
    wait_for(lambda: again.tick() or not job.checkpoints.choosing, "a checkpoint was looked for")
    assert job.checkpoints.restore == str(path)


def test_an_answer_that_nobody_waits_for_changes_nothing(play, directory):
    scene = train(play, directory)
    scene.take(CheckpointChosen(damaged=[], path="/x", step=3))
    assert (scene.job.progress.step, scene.job.checkpoints.restore) == (12, "")


def test_events_of_written_ones_are_modest(play, directory):
    scene = train(play, directory, steps=0)
    for step in range(1, 31):
        scene.time.now_s += 1
        scene.say("w1", CheckpointWritten(step, "/c/x", 2_500_000, 0.25))
    events = [event for event in scene.job.events() if event.kind == "checkpoint_written"]
    assert [event.step for event in events] == [1, 11, 21]
    assert events[0].message == "/c/x: 2.5 MB in 0.25 s"
    scene.registry.stop("j", now=False)
    scene.say("w1", CheckpointWritten(31, "/c/y", 1, 0.25))
    assert [event.step for event in scene.job.events() if event.kind == "checkpoint_written"][-1] == 31


def test_only_members_write_checkpoints(play, directory):
    scene = train(play, directory, steps=0)
    scene.registry.scale("j", 3)
    scene.hello("w3")
    with pytest.raises(ProtocolError, match="has not entered any generation"):
        scene.say("w3", CheckpointFailed(1, "x"))


def test_the_same_failure_is_told_once(play, directory):
    scene = train(play, directory, steps=0)
    for step in (5, 10):
        scene.say("w1", CheckpointFailed(step, "No space left on device"))
    scene.say("w1", CheckpointWritten(15, "/c/x", 1, 0.1))
    scene.say("w1", CheckpointFailed(20, "No space left on device"))
    scene.say("w1", CheckpointFailed(25, "Read-only file system"))
    scene.say("w1", CheckpointSkipped(30, 25))
    failed = [event for event in scene.job.events() if event.kind == "checkpoint_failed"]
    assert [event.step for event in failed] == [5, 20, 25]
    assert "No space left on device. Training goes on" in failed[0].message
    assert "still being written" in scene.event("checkpoint_skipped").message


def test_impossible_wishes_are_refused(journal):
    registry = Registry(journal)
    with pytest.raises(CoordinatorError) as caught:
        registry.create(JobSpec(name="j", script="x", checkpoint_every=-1, keep=0, resume=True))
    assert all(word in str(caught.value) for word in ("checkpoint_every is -1", "keep is 0", "need a directory"))


def test_late_words_of_lost_workers_do_not_matter(play, directory):
    put_checkpoint(directory, 10)
    scene = train(play, directory)
    lose_all(scene)
    choose(scene)
    scene.say("w1", StepsCommitted(12, [scene.time.now_s], [1.0], epoch=0, samples=1))
    assert scene.job.progress.step == 10
