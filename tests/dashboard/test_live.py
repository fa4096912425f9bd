"""The live view, drawn to text."""

import io

import msgspec
from dashboard_samples import EVENTS, SERVED, STALE, STATUS
from rich.console import Console

from pliant.dashboard.live import LAST_EVENTS, MOST_WORKERS, LiveView, render
from pliant.wire.api import WorkerStatus


def text(status, events=(), width=120, now_s=None):
    console = Console(file=io.StringIO(), width=width, force_terminal=False, legacy_windows=False)
    console.print(render(status, events, now_s=now_s))
    return console.file.getvalue()


def test_before_there_is_a_status():
    assert "waiting for the job" in text(None)


def test_title_progress_and_time():
    drawn = text(STATUS, now_s=1065.0)
    assert "gpt  running  2 workers → 3  (1 to 4)  1 min 05 s" in drawn
    assert "1,234 / 5,000 steps" in drawn
    assert "epoch 2 / 10" in drawn
    assert "14.2 steps/s" in drawn
    assert "loss 1.8312" in drawn
    assert "4 min 25 s left" in drawn


def test_a_row_for_each_worker_members_first():
    rows = [line for line in text(STATUS).splitlines() if line.strip().startswith("w") and "worker" not in line]
    assert [row.split()[0] for row in rows] == ["w1", "w3", "w4"]
    assert "training" in rows[0]
    assert "■■■■····" in rows[0]
    assert "0-3" in rows[0]
    assert "····■■■■" in rows[1]
    assert "rehearsing" in rows[2]
    assert rows[2].rstrip().endswith("44")


def test_the_last_events_with_their_cost():
    drawn = text(STATUS, EVENTS, width=160)
    assert "stalled 187 ms, 3 shards recomputed" in drawn
    assert "3 → 2" in drawn
    many = [msgspec.structs.replace(EVENTS[3], seq=seq, message=f"event number {seq}") for seq in range(20)]
    drawn = text(STATUS, many, width=160)
    assert drawn.count("event number") == LAST_EVENTS
    assert "event number 19" in drawn


def test_markup_in_texts_is_not_interpreted():
    strange = msgspec.structs.replace(EVENTS[3], message="[bold]w2[/bold] [/nonsense]")
    assert "[bold]w2[/bold] [/nonsense]" in text(msgspec.structs.replace(STATUS, name="a[b]"), [strange], width=160)


def test_an_unknown_length_and_no_numbers_yet():
    status = msgspec.structs.replace(
        STATUS, total_steps=None, epochs=None, loss=None, steps_per_s=None, shards=None, workers=[], state="starting"
    )
    drawn = text(status)
    assert "1,234 steps" in drawn
    assert "loss –" in drawn


def test_many_workers_are_cut_and_counted():
    workers = [
        WorkerStatus(worker=f"w{n}", pid=n, rank=n, state="training", shards=[n], step=1)
        for n in range(1, MOST_WORKERS + 4)
    ]
    drawn = text(msgspec.structs.replace(STATUS, workers=workers, shards=64))
    assert "and 3 more workers" in drawn


def test_on_a_narrow_terminal_messages_are_cut_before_anything_else():
    drawn = text(STATUS, EVENTS, width=88)
    assert "step 35" in drawn
    assert "3 → 2" in drawn
    assert "stalled 187 ms, 3 shards recomputed" in drawn
    assert "…" in drawn


def test_fits_a_narrow_terminal():
    assert all(len(line) <= 60 for line in text(STATUS, EVENTS, width=60).splitlines())


def test_the_view_draws_prints_above_and_restores_the_terminal(capsys):
    console = Console(file=io.StringIO(), width=120, force_terminal=True, legacy_windows=False)
    view = LiveView(lambda: 1060.0, console=console, lines_to_console=True)
    view.start()
    view.status(STATUS)
    view.event(EVENTS[3])
    view.line(None, "plain [line]")
    view.line("w3", "named line")
    view.note("a note")
    view.close()
    view.close()
    drawn = console.file.getvalue()
    for part in ("plain [line]", "w3 │ named line", "a note", "1,234", "3 → 2"):
        assert part in drawn
    assert drawn.rstrip().endswith("\x1b[?25h")
    assert capsys.readouterr().out == ""


def test_a_row_for_each_server():
    drawn = text(SERVED)
    assert "2 servers → 3  (2 to 4)" in drawn
    rows = [line.split() for line in drawn.splitlines() if line.startswith(("s1", "s2", "s3"))]
    assert rows == [
        ["s1", "serving", "32", "32", "12.3", "MB", "1,234", "51"],
        ["s2", "filling", "12", "slots", "32", "20", "8", "MB", "1,233", "52"],
        ["s3", "starting", "0", "0", "0", "B", "0", "–"],
    ]
    many = msgspec.structs.replace(SERVED, servers=SERVED.servers * 4)
    assert "and 4 more servers" in text(many)
    assert "server" not in text(STATUS)


def test_the_title_has_the_mode_of_workers_that_do_not_wait():
    assert "at most 4 steps apart, staleness 1.8" in text(STALE)
    assert "apart" not in text(SERVED)
