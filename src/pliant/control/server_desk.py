"""What a job's parameter servers say, checked against what they may say now.

:class:`~pliant.errors.ProtocolError` means that a message was refused and changed nothing. Called on the event loop.
"""

from __future__ import annotations

from pliant.control.job import Job
from pliant.control.links import Link, ServerRecord
from pliant.control.server_changes import slots_text
from pliant.errors import ProtocolError
from pliant.ids import ServerId
from pliant.membership import slots_events as ev
from pliant.wire.messages import Misbehave, Retire, StillHere
from pliant.wire.server_messages import (
    ServerFailed,
    ServerHello,
    ServerLeaving,
    ServerProgress,
    ServerWelcome,
    SlotsFilled,
    SlotsRefused,
)
from pliant.wire.server_talk import ServerToCoordinator

_MOST_ERROR_TEXT = 100_000
_MOST_REASON = 1_000


def server_connected(job: Job, hello: ServerHello, link: Link) -> ServerRecord | None:
    """A server is here, or here again. None: it is not (or no longer) wanted and was told to exit."""
    record = job.servers.records.get(ServerId(hello.server))
    if record is None or record.gone or job.over or hello.launch != job.spec.launch:
        if record is not None:
            record.heard_s = job.now_s()
        expelled = record is not None and record.expelled
        why = f"{hello.server} was expelled, and the others go on" if expelled else f"no use for {hello.server}"
        link.send(Retire(f"job {job.spec.name} is {job.state}: {why}"))
        return None
    if not hello.endpoint:
        raise ProtocolError(f"{hello.server} does not say where it listens")
    record.pid, record.endpoint, record.ready = hello.pid, hello.endpoint, True
    record.heard_s = job.now_s()
    record.attach(link, greeting=ServerWelcome(job.spec.patience_s, job.spec.server_memory_bytes))
    if record.slow != 1.0:
        record.send(Misbehave(slow=record.slow))
    if record.retired:  # said before, perhaps by a coordinator that died before it arrived
        record.send(Retire(record.farewell))
        return record
    job.servers.tell(record)
    job.servers.changes.readied(record.server, now_s=job.now_s())
    job.servers.handle(ev.ServerReadied(record.server))
    return record


def server_closed(job: Job, record: ServerRecord, link: Link) -> None:
    """A server's connection ended, which alone means nothing: only its process's end counts."""
    record.detach(link, now_s=job.now_s())


def server_said(job: Job, record: ServerRecord, message: ServerToCoordinator) -> None:
    """A message of a server, after its hello. Whatever it says after its end or the job's is ignored."""
    record.heard_s = job.now_s()
    if job.over or record.gone or record.retired:
        return
    match message:
        case ServerHello():
            raise ProtocolError("ServerHello is the first message of a connection, and only the first")
        case StillHere():
            pass
        case ServerProgress():
            record.progress = message
        case SlotsFilled():
            _filled(job, record, message)
        case SlotsRefused():
            _refused(job, record, message)
        case ServerLeaving(reason):
            if not record.leaving:
                record.leaving = True
                job.event("server_leaving", f"{record.name} was asked to leave ({reason[:200]})")
                job.servers.handle(ev.ServerAskedToLeave(record.server))
        case ServerFailed(error, traceback):
            job.script_error = (traceback.strip() or error)[-_MOST_ERROR_TEXT:]
            job.end("failed-script" if traceback else "failed-config", f"{record.name}: {job.script_error}")


def _filled(job: Job, record: ServerRecord, message: SlotsFilled) -> None:
    _check_version(job, message)
    job.servers.changes.received(record.server, slots=message.slots, size_bytes=max(0, message.size_bytes))
    job.servers.handle(ev.SlotsReceived(record.server, message.version, tuple(message.slots)))


def _refused(job: Job, record: ServerRecord, message: SlotsRefused) -> None:
    _check_version(job, message)
    if not record.full:  # each of its slots is refused by itself: the first one says it all
        record.full = True
        why = message.why[:_MOST_REASON].rstrip(". ")
        job.event(
            "server_full",
            f"{record.name} has no room for {slots_text(message.slots)}: {why}. Slots that it refuses "
            "stay with whoever holds them, with a copy less if need be, until servers come or go",
        )
    job.servers.handle(ev.SlotsRefused(record.server, message.version, tuple(message.slots)))


def _check_version(job: Job, message: SlotsFilled | SlotsRefused) -> None:
    slots = job.servers.slots
    newest = 0 if slots is None else slots.version
    if not 0 < message.version <= newest:
        raise ProtocolError(f"{type(message).__name__} of placement {message.version}; the newest is {newest}")
