"""The journal: what survives the coordinator. SQLite, written by one thread in batches: nothing waits for a disk.

Kept of a live job: its spec and :class:`JobRow` (what a restarted coordinator needs), the results of its ended
calls, its events. Kept of an ended one: events, final status, report. Only the latest jobs are kept.

On failure (disk full, damaged file) the journal says so in the log and drops the batch; jobs go on.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pliant.wire.api import Event, JobSpec, JobStatus, Report
from pliant.wire.messages import CallEnded

_log = logging.getLogger(__name__)
_KEPT_JOBS = 100
_BATCH = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, row TEXT NOT NULL, live INTEGER NOT NULL,
    status TEXT, report TEXT, created INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, job TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_of_job ON events (job);
CREATE TABLE IF NOT EXISTS calls (
    job TEXT NOT NULL, call INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (job, call)
);
"""

Kind = TypeVar("Kind")


class JobRow(msgspec.Struct, frozen=True):
    """The part of a live job that changes. ``members``: who holds the state of ``step``, by rank."""

    state: str
    generation: int
    members: list[str]
    target: int
    step: int
    started_s: float
    agent_pid: int | None = None
    node: str = ""


class KeptJob(msgspec.Struct, frozen=True):
    """A job as found in the journal."""

    id: str
    name: str
    live: bool
    spec: JobSpec
    row: JobRow
    status: JobStatus | None


_Write = tuple[str, tuple[Any, ...]]


class Journal:
    """One SQLite file. Writes return at once; reads see everything written before (they wait for it)."""

    def __init__(self, path: Path) -> None:
        """Open or create ``path``. A damaged file is moved aside and a new one begun."""
        try:
            self._connection = _open(path)
        except sqlite3.DatabaseError as error:
            aside = path.with_name(path.name + ".damaged")
            _log.error("journal %s cannot be used (%s); moved to %s, beginning a new one", path, error, aside)
            path.replace(aside)
            for extra in ("-wal", "-shm"):
                path.with_name(path.name + extra).unlink(missing_ok=True)
            self._connection = _open(path)
        self._lock = threading.Lock()
        self._writes: queue.Queue[_Write | None] = queue.Queue()
        self._thread = threading.Thread(target=self._write_forever, name="pliant-journal", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ writing

    def put_job(self, job: str, spec: JobSpec, row: JobRow) -> None:
        """A new job; the oldest ones beyond 100 are forgotten."""
        self._put(
            "INSERT OR REPLACE INTO jobs (id, name, spec, row, live, created) "
            "VALUES (?, ?, ?, ?, 1, (SELECT COALESCE(MAX(created), 0) + 1 FROM jobs))",
            (job, spec.name, _text(spec), _text(row)),
        )
        old = "(SELECT id FROM jobs WHERE live = 0 ORDER BY created DESC LIMIT -1 OFFSET ?)"
        for table, column in (("events", "job"), ("calls", "job"), ("jobs", "id")):
            self._put(f"DELETE FROM {table} WHERE {column} IN {old}", (_KEPT_JOBS,))

    def put_row(self, job: str, row: JobRow) -> None:
        """The job has changed."""
        self._put("UPDATE jobs SET row = ? WHERE id = ?", (_text(row), job))

    def put_event(self, job: str, event: Event) -> None:
        """A new event, or an old one completed."""
        self._put("INSERT OR REPLACE INTO events (seq, job, body) VALUES (?, ?, ?)", (event.seq, job, _text(event)))

    def put_call(self, job: str, message: CallEnded) -> None:
        """The result of an ended call."""
        self._put(
            "INSERT OR REPLACE INTO calls (job, call, body) VALUES (?, ?, ?)", (job, message.call, _text(message))
        )

    def put_end(self, job: str, *, status: JobStatus, report: Report | None) -> None:
        """The job is over."""
        self._put(
            "UPDATE jobs SET live = 0, status = ?, report = ? WHERE id = ?",
            (_text(status), None if report is None else _text(report), job),
        )

    def flush(self) -> None:
        """Wait until everything so far is written."""
        self._writes.join()

    def close(self) -> None:
        """Write what is left, and close."""
        self._writes.put(None)
        self._thread.join()
        self._connection.close()

    # ------------------------------------------------------------ reading

    def last_seq(self) -> int:
        """The largest event number ever used here, 0 for none."""
        return int(self._rows("SELECT COALESCE(MAX(seq), 0) FROM events")[0][0])

    def jobs(self) -> list[KeptJob]:
        """All kept jobs, oldest first; those written by an incompatible version are left out."""
        rows = self._rows("SELECT id, name, live, spec, row, status FROM jobs ORDER BY created")
        kept = []
        for job, name, live, spec, row, status in rows:
            try:
                kept.append(
                    KeptJob(
                        id=job,
                        name=name,
                        live=bool(live),
                        spec=msgspec.json.decode(spec, type=JobSpec),
                        row=msgspec.json.decode(row, type=JobRow),
                        status=None if status is None else msgspec.json.decode(status, type=JobStatus),
                    )
                )
            except msgspec.MsgspecError as error:
                _log.warning("job %s in the journal cannot be read and is ignored: %s", name, error)
        return kept

    def events(self, job: str, *, after: int = 0) -> list[Event]:
        """Events of the job with a larger number, in order."""
        rows = self._rows("SELECT body FROM events WHERE job = ? AND seq > ? ORDER BY seq", (job, after))
        return list(_decode((row[0] for row in rows), Event))

    def calls(self, job: str) -> list[CallEnded]:
        """Ended calls of the job, in order."""
        rows = self._rows("SELECT body FROM calls WHERE job = ? ORDER BY call", (job,))
        return list(_decode((row[0] for row in rows), CallEnded))

    def report(self, job: str) -> Report | None:
        """The report of an ended job, if it has one."""
        rows = self._rows("SELECT report FROM jobs WHERE id = ? AND report IS NOT NULL", (job,))
        return next(_decode((row[0] for row in rows), Report), None)

    # ------------------------------------------------------------ inside

    def _put(self, statement: str, values: tuple[Any, ...]) -> None:
        self._writes.put((statement, values))

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        self.flush()
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def _write_forever(self) -> None:
        while True:
            batch = [self._writes.get()]
            while len(batch) < _BATCH and batch[-1] is not None:
                try:
                    batch.append(self._writes.get_nowait())
                except queue.Empty:
                    break
            self._write([write for write in batch if write is not None])
            for _ in batch:
                self._writes.task_done()
            if batch[-1] is None:
                return

    def _write(self, batch: list[_Write]) -> None:
        try:
            with self._lock, self._connection:
                for statement, values in batch:
                    self._connection.execute(statement, values)
        except sqlite3.Error:
            _log.exception("could not write %d entries to the journal; they are lost, jobs go on", len(batch))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _decode(bodies: Iterable[str], kind: type[Kind]) -> Iterator[Kind]:
    for body in bodies:
        try:
            yield msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            _log.warning("an entry of the journal cannot be read and is ignored: %s", error)
