import sqlite3
import stat

import msgspec
import pytest

from pliant.control.inputs import Entry, JobCreated, Moment, ScaleAsked, WorkerSaid
from pliant.control.journal import Journal
from pliant.wire.api import Event, JobSpec
from pliant.wire.messages import CallEnded, StepsCommitted

SPEC = JobSpec("j", "t.py", max_workers=4)
ENTRIES = [
    Entry(Moment(1.0, 2.0, 0), JobCreated()),
    Entry(Moment(1.5, 2.5, 1), WorkerSaid("w1", StepsCommitted(0, [1.25], [None], 0, 4))),
    Entry(Moment(1.5, 2.5, 1), WorkerSaid("w1", CallEnded(1, "evaluate", msgspec.Raw(b'{"mean":0.5}')))),
    Entry(Moment(1.75, 3.5, 7), ScaleAsked(3)),
]


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
    journal.put_job("id1", SPEC)
    for entry in ENTRIES:
        journal.record("id1", entry)
        journal.record("other", entry)
    other = sqlite3.connect(path)  # as seen by another process, without any closing or flushing
    assert other.execute("SELECT COUNT(*) FROM inputs").fetchone() == (2 * len(ENTRIES),)
    other.close()
    journal = reopened(journal, path)
    (kept,) = journal.jobs()
    assert (kept.id, kept.name, kept.live, kept.spec, kept.status) == ("id1", "j", True, SPEC, None)
    assert list(journal.entries("id1")) == ENTRIES
    journal.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_inputs_that_cannot_be_written_are_kept_and_written_later_in_order(path, caplog):
    journal = Journal(path)
    journal.record("id1", ENTRIES[0])
    blocker = sqlite3.connect(path)
    journal._connection.execute("PRAGMA busy_timeout = 1")
    blocker.execute("BEGIN IMMEDIATE")
    journal.record("id1", ENTRIES[1])
    journal.record("id1", ENTRIES[2])
    assert "cannot be written" in caplog.text
    assert not journal.retry()
    blocker.rollback()
    blocker.close()
    journal.record("id1", ENTRIES[3])
    assert list(journal.entries("id1")) == ENTRIES
    journal.close()


def test_a_journal_of_another_layout_is_moved_aside(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (id TEXT)")
    connection.close()
    journal = Journal(path)
    assert journal.jobs() == []
    journal.close()
    assert path.with_name("journal.sqlite.damaged").exists()


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
    scene.registry.stop("j", now=True)
    journal = Journal(path.with_name("other.sqlite"))
    journal.put_job("id1", SPEC)
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
        journal.put_job(f"id{number}", SPEC)
        journal.put_event(f"id{number}", event(number + 1))
        journal.record(f"id{number}", ENTRIES[0])
        if number != 0:
            journal.put_end(f"id{number}", status=status, report=None)
    kept = [job.id for job in journal.jobs()]
    assert len(kept) == 102  # 100 that are over, the last one, and the one that lives
    assert kept[0] == "id0"
    assert journal.events("id1") == []
    assert journal.events("id0") == [event(1)]
    assert list(journal.entries("id0")) == ENTRIES[:1]
    assert list(journal.entries("id50")) == []
    journal.close()


def test_entries_of_another_version_are_left_out(path):
    journal = Journal(path)
    journal.put_job("id1", SPEC)
    journal.put_job("id2", SPEC)
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
    journal._connection.execute("ALTER TABLE events RENAME TO elsewhere")
    journal.put_event("id1", event(1))
    journal.flush()
    assert "they are lost, jobs go on" in caplog.text
    journal._connection.execute("ALTER TABLE elsewhere RENAME TO events")
    journal.put_event("id1", event(2))
    assert journal.events("id1") == [event(2)]
    journal.close()
