"""The last words of a run, and the text of ``pliant status``."""

import msgspec
from dashboard_samples import EMPTY, REPORT, SERVED, SERVED_REPORT, STALE, STALE_REPORT, STATUS

from pliant.dashboard.status_text import job_text, jobs_text
from pliant.dashboard.summary import changing_events, summary


def test_summary_has_the_numbers_and_what_each_change_cost():
    lines = summary(REPORT).splitlines()
    assert lines[0] == "gpt finished: 60 steps, 3,840 samples in 6.00 s, final loss 1.2345"
    assert "  median step  100 ms" in lines
    assert "  goodput      97.0%" in lines
    assert f"  weights      sha256 {'ab' * 32}" in lines
    assert lines[-3:] == [
        "    step 20  workers joined  1 → 3  stalled 21 ms, 14.2 MB moved",
        "    step 35  worker lost     3 → 2  stalled 187 ms, 3 shards recomputed",
        "    step 50  workers shrunk  2 → 1  no stall",
    ]


def test_a_job_that_did_nothing():
    text = summary(EMPTY)
    assert text.startswith("gpt failed: 0 steps, 0 samples in 0 ms\n")
    assert "weights" not in text
    assert "events" not in text


def test_only_changes_count():
    assert [event.kind for event in changing_events(REPORT.events)] == [
        "workers_joined",
        "worker_lost",
        "workers_shrunk",
    ]


def test_one_job_as_text():
    lines = job_text(STATUS).splitlines()
    assert lines[0].startswith("gpt · running · step 1,234/5,000")
    assert lines[1] == "3 workers wanted (1 to 4) · generation 4 · /home/me/gpt.py"
    assert lines[-4].split() == ["WORKER", "STATE", "RANK", "STEP", "PID", "SHARDS"]
    assert lines[-3].split() == ["w1", "training", "0", "1234", "41", "0-3"]
    assert lines[-1].split() == ["w4", "rehearsing", "-", "0", "44", "-"]


def test_a_failed_job_shows_its_error():
    text = job_text(msgspec.structs.replace(STATUS, state="failed", error="a\nb", weights_sha256="cd"))
    assert "error:\n  a\n  b" in text
    assert "sha256 cd" in text


def test_all_jobs_as_text():
    lines = jobs_text([STATUS]).splitlines()
    assert lines[0].split() == ["NAME", "STATE", "WORKERS", "STEP", "LOSS", "SCRIPT"]
    assert lines[1].split() == ["gpt", "running", "2", "of", "1:4", "1234/5000", "1.8312", "/home/me/gpt.py"]


def test_servers_have_rows_of_their_own():
    lines = job_text(SERVED).splitlines()
    assert "2 servers" in lines[0]
    assert "3 servers wanted (2 to 4)" in lines
    rows = [line.split() for line in lines if line.startswith(("s1", "s2", "s3"))]
    assert rows == [
        ["s1", "serving", "32", "32", "12.3", "MB", "1234", "51"],
        ["s2", "filling", "12", "slots", "32", "20", "8", "MB", "1233", "52"],
        ["s3", "starting", "0", "0", "0", "B", "0", "-"],
    ]
    assert "SERVER" not in job_text(STATUS)


def test_what_servers_cost_is_summed_up():
    text = summary(SERVED_REPORT)
    assert "server lost" in text
    assert "stalled 52 ms" in text
    assert "4 MB moved" in text


def test_the_staleness_of_a_run_and_of_a_status():
    assert "  staleness    1.4 updates on average, 9 at most (asynchronous)" in summary(STALE_REPORT).splitlines()
    unmeasured = msgspec.structs.replace(STALE_REPORT, mean_staleness=None, pushes_by_staleness={})
    assert "  staleness    not measured (asynchronous)" in summary(unmeasured).splitlines()
    assert "staleness" not in summary(SERVED_REPORT)
    assert job_text(STALE).splitlines()[0].endswith("at most 4 steps apart, staleness 1.8")
