import pytest

from pliant.control.progress import Progress
from pliant.control.report_plan import JobView, goodput, job_report, job_status, median_step_s
from pliant.wire.api import JobSpec
from pliant.wire.messages import StepsCommitted, WorkerReady


def view(times, *, origin=100.0, **fields):
    progress = Progress()
    progress.begin(origin)
    progress.add(StepsCommitted(0, times, [2.0] * len(times), 1, 8 * len(times)))
    values = {
        "spec": JobSpec("j", "t.py", max_workers=3),
        "state": "running",
        "progress": progress,
        "recipe": WorkerReady(4, 8, total_steps=9, epochs=2),
        "generation": 2,
        "target": 2,
        "started_s": 5.0,
        "workers": [],
        "error": None,
        "failure": None,
        "weights_sha256": None,
        "final_loss": None,
    }
    return JobView(**{**values, **fields})


def test_report_arithmetic():
    report = job_report(
        view([101.0, 102.0, 103.0, 107.0, 108.0]), events=[], workers_over_time=[(100.0, 2), (104.0, 1)]
    )
    assert report.commit_times_s == [1.0, 2.0, 3.0, 7.0, 8.0]
    assert (report.steps, report.samples) == (5, 40)
    assert report.wall_s == 8.0
    assert report.median_step_s == 1.0
    assert report.goodput == pytest.approx(5 / 8)
    assert report.final_loss == 2.0
    assert report.workers_over_time == [(0.0, 2), (4.0, 1)]


def test_report_of_nothing():
    report = job_report(view([]), events=[], workers_over_time=[])
    assert (report.steps, report.wall_s, report.goodput, report.median_step_s, report.final_loss) == (
        0,
        0.0,
        0.0,
        0.0,
        None,
    )


def test_the_workers_own_final_loss_wins():
    assert job_report(view([101.0], final_loss=0.5), events=[], workers_over_time=[]).final_loss == 0.5


def test_goodput_is_a_share():
    assert goodput(10, median_s=1.0, wall_s=20.0) == 0.5
    assert goodput(10, median_s=3.0, wall_s=20.0) == 1.0
    assert goodput(0, median_s=0.0, wall_s=0.0) == 0.0


def test_median_of_one_step_is_its_time():
    assert median_step_s([103.0], origin_s=100.0) == 3.0
    assert median_step_s([], origin_s=100.0) == 0.0


def test_status():
    status = job_status(view([101.0, 101.5]))
    assert (status.step, status.total_steps, status.epoch, status.epochs) == (2, 9, 1, 2)
    assert (status.shards, status.generation, status.target_workers, status.steps_per_s) == (4, 2, 2, 2.0)
    assert job_status(view([], recipe=None)).total_steps is None


def test_the_measured_staleness():
    asked = view([101.0], spec=JobSpec("j", "t.py", strategy="parameter-server", staleness=4))
    assert (job_status(asked).staleness, job_status(asked).mean_staleness) == (4, None)
    asked.progress.add(StepsCommitted(1, [102.0], [1.0], 1, 16, {0: 3, 4: 1}))
    assert (job_status(asked).staleness, job_status(asked).mean_staleness) == (4, 1.0)
    report = job_report(asked, events=[], workers_over_time=[])
    assert (report.staleness, report.mean_staleness, report.pushes_by_staleness) == (4, 1.0, {0: 3, 4: 1})
    plain = job_report(view([101.0]), events=[], workers_over_time=[])
    assert (plain.staleness, plain.mean_staleness, plain.pushes_by_staleness) == (None, None, {})
