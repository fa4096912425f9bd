import sqlite3
import stat

import msgspec
import pytest

from pliant.control.journal import JobRow, Journal
from pliant.wire.api import Event, JobSpec
from pliant.wire.messages import CallEnded

SPEC = JobSpec("j", "t.py", max_workers=4)
ROW = JobRow("running", 3, ["w1", "w2"], 2, 17, 1.5, agent_pid=9, node="here")


def event(seq, **fields):
    return Event(**{"seq": seq, "time_s": 1.0, "job": "j", "kind": "worker_lost", "step": 3, "message": "m", **fields})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


def reopened(journal, path):
    journal.close()
    return Journal(path)


def test_what_a_restart_needs_is_there(path):
    journal = Journal(path)
    journal.put_job("id1", SPEC, msgspec.structs.replace(ROW, step=0))
    journal.put_row("id1", ROW)
    calls = [CallEnded(0, "steps"), CallEnded(1, "evaluate", msgspec.Raw(b'{"mean":0.5}'))]
    for call in [calls[1], calls[0], calls[1]]:
        journal.put_call("id1", call)
    journal = reopened(journal, path)
    (kept,) = journal.jobs()
    assert (kept.id, kept.name, kept.live, kept.spec, kept.row, kept.status) == ("id1", "j", True, SPEC, ROW, None)
    assert journal.calls("id1") == calls
    journal.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_events_keep_their_last_form(path):
    journal = Journal(path)
    assert journal.last_seq() == 0
    journal.put_event("id1", event(4))
    journal.put_event("id1", event(7))
    journal.put_event("id2", event(9))
    journal.put_event("id1", event(4, stall_s=0.25))
    journal = reopened(journal, path)
    assert journal.last_seq() == 9
    assert journal.events("id1") == [event(4, stall_s=0.25), event(7)]
    assert journal.events("id1", after=4) == [event(7)]
    journal.close()


def test_the_end_is_kept(path, play):
    scene = play()
    scene.job.stop(now=True)
    journal = Journal(path.with_name("other.sqlite"))
    journal.put_job("id1", SPEC, ROW)
    journal.put_end("id1", status=scene.job.status(), report=scene.job.report())
    (kept,) = journal.jobs()
    assert (kept.live, kept.status) == (False, scene.job.status())
    assert journal.report("id1") == scene.job.report()
    assert journal.report("none") is None
    journal.close()


def test_old_jobs_are_forgotten_with_all_that_is_theirs(path, play):
    status = play().job.status()
    journal = Journal(path.with_name("other.sqlite"))
    for number in range(120):
        journal.put_job(f"id{number}", SPEC, ROW)
        journal.put_event(f"id{number}", event(number + 1))
        if number != 0:
            journal.put_end(f"id{number}", status=status, report=None)
    kept = [job.id for job in journal.jobs()]
    assert len(kept) == 102  # 100 that are over, the last one, and the one that lives
    assert kept[0] == "id0"
    assert journal.events("id1") == []
    assert journal.events("id0") == [event(1)]
    journal.close()


def test_entries_of_another_version_are_left_out(path):
    journal = Journal(path)
    journal.put_job("id1", SPEC, ROW)
    journal.put_job("id2", SPEC, ROW)
    journal.put_event("id2", event(1))
    journal.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE jobs SET spec = '{}' WHERE id = 'id1'")
        connection.execute("INSERT INTO events VALUES (2, 'id2', '{}')")
    connection.close()
    journal = Journal(path)
    assert [job.id for job in journal.jobs()] == ["id2"]
    assert journal.events("id2") == [event(1)]
    journal.close()


def test_a_failed_write_stops_nothing(path, caplog):
    journal = Journal(path)
    journal._connection.execute("DROP TABLE calls")
    journal.put_call("id1", CallEnded(0, "steps"))
    journal.flush()
    assert "they are lost, jobs go on" in caplog.text
    journal.put_event("id1", event(1))
    assert journal.events("id1") == [event(1)]
    journal.close()
