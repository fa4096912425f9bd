"""How each kind of event looks in pictures: a colour and a shape, so that neither has to be told apart alone."""

from __future__ import annotations

from dataclasses import dataclass

from pliant.dashboard.summary import changing_events
from pliant.wire.api import Event, Report


@dataclass(frozen=True)
class Mark:
    """``color`` is the name of a CSS variable of the page."""

    label: str
    color: str
    shape: str


_MARKS = {
    "workers_joined": Mark("joined", "join", "^"),
    "worker_lost": Mark("lost", "lost", "X"),
    "newcomer_lost": Mark("newcomer lost", "lost", "x"),
    "newcomers_set_back": Mark("set back", "leave", "<"),
    "workers_shrunk": Mark("shrunk", "leave", "v"),
    "worker_left": Mark("left", "leave", "D"),
    "servers_joined": Mark("server joined", "join", ">"),
    "server_left": Mark("server left", "leave", "d"),
    "server_lost": Mark("server lost", "lost", "P"),
    "server_full": Mark("server full", "leave", "s"),
    "slots_restored": Mark("slots restored", "join", "*"),
}
_OTHER = Mark("other", "muted", "o")


def mark_of(kind: str) -> Mark:
    """The mark of a kind of event."""
    return _MARKS.get(kind, _OTHER)


def marked_events(report: Report) -> list[tuple[Event, Mark]]:
    """The events that pictures show, in order."""
    return [(event, mark_of(event.kind)) for event in changing_events(report.events)]


def event_second(report: Report, event: Event) -> float:
    """When an event was, on the time axis of the report: at the last commit before it."""
    steps = event.step - report.first_step
    if not report.commit_times_s or steps <= 0:
        return 0.0
    return report.commit_times_s[min(steps, len(report.commit_times_s)) - 1]
