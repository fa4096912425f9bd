"""The journal: what survives the coordinator. One SQLite file.

Of a live job it holds the spec and, in order, every input that its runtime has handled (:mod:`pliant.control.inputs`).
Those are written *before* they are handled, by whoever handles them: so nothing that a worker, an agent or a user was
told can be forgotten by a coordinator that is killed. Such a write goes to the kernel, not to the disk: it costs tens
of microseconds and survives the process, not a power cut. Everything else (events, ended jobs) is written by a thread
in batches, and nothing waits for it.

On failure (disk full, damaged file) the journal says so in the log. Inputs are kept in memory and written once that is
possible again, in their order; other writes are dropped. Jobs go on.
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

from pliant.control.inputs import REPLAY_VERSION, Entry, Input, Moment
from pliant.wire.api import Event, JobSpec, JobStatus, Report

_log = logging.getLogger(__name__)
_KEPT_JOBS = 100
_BATCH = 1000
_LAYOUT = 2
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, version INTEGER NOT NULL, live INTEGER NOT NULL,
    status TEXT, report TEXT, created INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, job TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_of_job ON events (job);
CREATE TABLE IF NOT EXISTS inputs (
    number INTEGER PRIMARY KEY, job TEXT NOT NULL, time_s REAL NOT NULL, unix_s REAL NOT NULL, seq INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS inputs_of_job ON inputs (job);
PRAGMA user_version = {_LAYOUT};
"""
_INSERT_INPUT = "INSERT INTO inputs (job, time_s, unix_s, seq, body) VALUES (?, ?, ?, ?, ?)"

Kind = TypeVar("Kind")


class KeptJob(msgspec.Struct, frozen=True):
    """A job as found in the journal."""

    id: str
    name: str
    live: bool
    version: int
    """Of the code that ran it (``REPLAY_VERSION``)."""
    spec: JobSpec
    status: JobStatus | None


_Write = tuple[str, tuple[Any, ...]]


class Journal:
    """Writes return at once; reads see everything written before (they wait for it). For the event loop's thread."""

    def __init__(self, path: Path) -> None:
        """Open or create ``path``. A damaged file, or one of another layout, is moved aside and a new one begun."""
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
        self._unwritten: list[tuple[Any, ...]] = []
        self._writes: queue.Queue[_Write | None] = queue.Queue()
        self._thread = threading.Thread(target=self._write_forever, name="pliant-journal", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ writing

    def put_job(self, job: str, spec: JobSpec) -> None:
        """A new job, before its first input; of the ended ones only 100 are kept. Waits until it is written."""
        self._put(
            "INSERT OR REPLACE INTO jobs (id, name, spec, version, live, created) "
            "VALUES (?, ?, ?, ?, 1, (SELECT COALESCE(MAX(created), 0) + 1 FROM jobs))",
            (job, spec.name, _text(spec), REPLAY_VERSION),
        )
        old = "(SELECT id FROM jobs WHERE live = 0 ORDER BY created DESC LIMIT -1 OFFSET ?)"
        for table, column in (("events", "job"), ("inputs", "job"), ("jobs", "id")):
            self._put(f"DELETE FROM {table} WHERE {column} IN {old}", (_KEPT_JOBS,))
        self.flush()

    def record(self, job: str, entry: Entry) -> None:
        """An input that is about to be handled. Once this returns, it outlives this process (see above)."""
        moment = entry.moment
        self._unwritten.append((job, moment.time_s, moment.unix_s, moment.seq, msgspec.json.encode(entry.input)))
        self.retry()

    def retry(self) -> bool:
        """Write the inputs that could not be written before. False: it is still not possible."""
        if not self._unwritten:
            return True
        try:
            with self._lock, self._connection:
                self._connection.executemany(_INSERT_INPUT, self._unwritten)
        except sqlite3.Error as error:
            if len(self._unwritten) & (len(self._unwritten) - 1) == 0:  # not each time: 1, 2, 4, 8, ...
                _log.error(
                    "the journal cannot be written (%s); %d inputs are kept in memory", error, len(self._unwritten)
                )
            return False
        self._unwritten.clear()
        return True

    def put_event(self, job: str, event: Event) -> None:
        """A new event, or an old one completed."""
        self._put("INSERT OR REPLACE INTO events (seq, job, body) VALUES (?, ?, ?)", (event.seq, job, _text(event)))

    def put_end(self, job: str, *, status: JobStatus, report: Report | None) -> None:
        """The job is over."""
        self._put(
            "UPDATE jobs SET live = 0, status = ?, report = ? WHERE id = ?",
            (_text(status), None if report is None else _text(report), job),
        )
        self._put("DELETE FROM inputs WHERE job = ?", (job,))

    def flush(self) -> None:
        """Wait until everything so far is written."""
        self._writes.join()

    def close(self) -> None:
        """Write what is left, and close."""
        self.retry()
        self._writes.put(None)
        self._thread.join()
        self._connection.close()

    # ------------------------------------------------------------ reading

    def last_seq(self) -> int:
        """The largest event number ever used here, 0 for none."""
        return int(self._rows("SELECT COALESCE(MAX(seq), 0) FROM events")[0][0])

    def jobs(self) -> list[KeptJob]:
        """All kept jobs, oldest first; those written by an incompatible version are left out."""
        rows = self._rows("SELECT id, name, live, version, spec, status FROM jobs ORDER BY created")
        kept = []
        for job, name, live, version, spec, status in rows:
            try:
                kept.append(
                    KeptJob(
                        id=job,
                        name=name,
                        live=bool(live),
                        version=version,
                        spec=msgspec.json.decode(spec, type=JobSpec),
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

    def entries(self, job: str) -> Iterator[Entry]:
        """All inputs of the job, in order.

        Raises:
            msgspec.MsgspecError: One cannot be read.
        """
        decode = msgspec.json.Decoder(Input).decode
        rows = self._rows("SELECT time_s, unix_s, seq, body FROM inputs WHERE job = ? ORDER BY number", (job,))
        return (Entry(Moment(time_s, unix_s, seq), decode(body)) for time_s, unix_s, seq, body in rows)

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
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if tables and layout != _LAYOUT:
            raise sqlite3.DatabaseError(f"it has layout {layout}, this version of Pliant reads {_LAYOUT}")
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
