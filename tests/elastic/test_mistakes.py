"""What a script can do wrong at run time: the job fails at once, once, and says what it was."""

import pytest


@pytest.fixture
def start(lab, tmp_path):
    def begin(fault, *, count=2, worker="w2", workers="1:3", **options):
        job = lab.run(
            tmp_path, "faulty.py", "--fault", fault, "--worker", worker, workers=workers, start=count, **options
        )
        return job

    return begin


def workers_started(job):
    return len(list((job.lab.home / "jobs" / job.name).glob("w*.log")))


def assert_shown_first(ended, line):
    """The traceback starts at the script's own frame and comes once, ahead of the summary."""
    text = ended.out + ended.error
    assert text.count("Traceback (most recent call last)") == 1, text
    assert text.count(line) >= 1
    assert "src/pliant" not in text.partition("Traceback")[2].partition("Error: ")[0], "our frames are in it"
    assert ended.report["state"] == "failed"
    assert ended.report["weights_sha256"] is None


@pytest.mark.parametrize(("fault", "count"), [("at once", 1), ("at a step", 2)])
def test_an_exception_is_no_fault_to_retry(start, fault, count):
    job = start(fault, count=count)
    ended = job.end(3)
    assert ended.trace.noted("fired") == [True]
    assert_shown_first(ended, "MistakeError: the user's own mistake")
    assert workers_started(job) == count, "somebody was started again"
    assert ended.events("worker_lost") == []
    assert ended.kinds[-1] == "job_failed"


def test_a_script_that_never_trains(start):
    job = start("never trains", count=1)
    ended = job.end(3)
    assert "ended without training" in ended.out + ended.error
    assert "job.steps" in ended.error
    assert workers_started(job) == 1


def test_a_loss_that_is_not_a_number(start):
    ended = start("nan").end(3)
    text = ended.out + ended.error
    assert "the loss of step 5 is nan, on all workers alike" in text
    assert 'on_nonfinite="skip"' in text
    assert ended.report["steps"] == 5


def test_a_model_of_another_shape_on_another_worker(start):
    ended = start("shape").end(3)
    text = ended.out + ended.error
    assert "model.weight is (2, 3) torch.float32 on this worker and (1, 3) torch.float32 on another one" in text
    assert "build the same model on all workers" in text
    assert ended.report["steps"] == 0


def test_a_newcomer_with_a_model_of_another_shape(start):
    job = start("shape", count=1)
    job.wait_step(2)
    job.scale(2)
    ended = job.end(3)
    assert "w2" in ended.out
    assert "shape" in ended.out + ended.error


def test_a_loader_of_another_recipe_on_another_worker(start):
    ended = start("shards").end(2)
    assert "shards=8" in ended.error
    assert "shards=4" in ended.error
    assert "must not depend on the worker" in ended.error


def test_more_workers_than_shards_at_the_start(start):
    ended = start("", count=5, workers="1:6").end(2)
    assert "5 workers are wanted but the loader has 4 shards: 1 of them would have nothing to compute" in ended.error
    assert ended.report["steps"] == 0


def test_more_workers_than_shards_later(start):
    job = start("", count=1, workers="1:6")
    job.wait_step(2)
    done = job.lab("scale", job.name, 6)
    assert done.returncode == 2
    assert "6 workers are wanted but the loader has 4 shards" in done.stderr
    job.scale(4)
    job.wait_workers(4)
    assert job.stop().report["state"] == "stopped"


def test_a_plan_with_more_workers_than_shards(start):
    ended = start("", count=1, workers="1:6", plan=[{"at_step": 3, "scale": 5}]).end(2)
    assert "5 workers are wanted but the loader has 4 shards" in ended.error
