"""Lines for pipes and logs."""

import io

import msgspec
from dashboard_samples import EVENTS, STATUS

from pliant.dashboard.plain import PROGRESS_EVERY_S, PlainView, event_line


class Terminal:
    """A view with its output and a clock to set."""

    def __init__(self, *, quiet=False):
        self.now_s = 0.0
        self.out, self.err = io.StringIO(), io.StringIO()
        self.view = PlainView(out=self.out, err=self.err, quiet=quiet, clock=lambda: self.now_s)


def test_event_lines():
    assert event_line(EVENTS[0]) == "[step 0] job gpt created for gpt.py"
    assert event_line(EVENTS[3]) == (
        "[step 35] w2, rank 1 of 3, is lost in step 35 · workers 3 → 2 · stalled 187 ms, 3 shards recomputed"
    )


def test_an_event_is_told_once_and_its_cost_once_more():
    terminal = Terminal()
    bare = msgspec.structs.replace(EVENTS[3], stall_s=None, shards_recomputed=None, workers_after=None)
    for told in (bare, bare, EVENTS[3], EVENTS[3]):
        terminal.view.event(told)
    assert terminal.err.getvalue().splitlines() == [
        "[step 35] w2, rank 1 of 3, is lost in step 35",
        "[step 35] worker lost: stalled 187 ms, 3 shards recomputed",
    ]


def test_progress_every_few_seconds_and_at_the_end():
    terminal = Terminal()
    terminal.view.status(STATUS)
    assert terminal.err.getvalue() == ""
    terminal.now_s = PROGRESS_EVERY_S
    terminal.view.status(STATUS)
    terminal.view.status(STATUS)
    assert len(terminal.err.getvalue().splitlines()) == 1
    terminal.view.status(msgspec.structs.replace(STATUS, step=5000, state="finished"))
    assert "step 5,000/5,000" in terminal.err.getvalue().splitlines()[-1]


def test_no_progress_line_without_progress():
    terminal = Terminal()
    for _ in range(3):
        terminal.now_s += PROGRESS_EVERY_S
        terminal.view.status(STATUS)
    assert len(terminal.err.getvalue().splitlines()) == 1


def test_worker_lines_go_out_and_notes_do_not():
    terminal = Terminal()
    terminal.view.line(None, "loss 1.0")
    terminal.view.line("w2", "hello")
    terminal.view.note("stopping")
    assert terminal.out.getvalue() == "loss 1.0\nw2 │ hello\n"
    assert terminal.err.getvalue() == "stopping\n"


def test_quiet_shows_worker_lines_only():
    terminal = Terminal(quiet=True)
    terminal.now_s = 100.0
    terminal.view.line(None, "x")
    terminal.view.event(EVENTS[3])
    terminal.view.status(STATUS)
    terminal.view.note("n")
    assert (terminal.out.getvalue(), terminal.err.getvalue()) == ("x\n", "")
