"""The report's page as one HTML text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pliant.dashboard.comparison import Comparison, Verdict
from pliant.dashboard.marks import mark_of
from pliant.dashboard.page_style import STYLE
from pliant.dashboard.staleness_text import measured_in_all, mode, pushes_of
from pliant.dashboard.words import cost, count, seconds, workers_change
from pliant.wire.api import Event, Report


def page(
    report: Report,
    pictures: Mapping[str, str],
    *,
    comparison: Comparison | None = None,
    sample_text: str | None = None,
) -> str:
    """The whole page.

    Args:
        report: The elastic run.
        pictures: SVG texts by name: ``loss``, ``workers``, ``costs``, and, where there is something to see,
            ``staleness`` and ``loss_over_time``. They are trusted; all else is escaped.
        comparison: With another run.
        sample_text: Text from the trained model.
    """
    sections = [
        _tiles(report),
        _weights(report, comparison),
        _picture("Loss", _loss_caption(comparison), pictures["loss"]),
        *_optional("Loss over time", "The same, over the seconds that each run took.", pictures.get("loss_over_time")),
        *_optional("Staleness", _staleness_caption(report), pictures.get("staleness")),
        _picture("Workers", _workers_caption(report), pictures["workers"]),
        _picture(
            "What each event cost",
            "The longest gap between two steps around the event, less an ordinary step.",
            pictures["costs"],
        ),
        _events(report.events),
    ]
    if sample_text is not None:
        sections.append(
            _section("What the model writes", f'<pre class="sample">{escape(sample_text.strip(chr(10)))}</pre>')
        )
    title = escape(report.name)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title} · Pliant report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header><p class="brand">Pliant report</p><h1>{title} <span class="state {report.state}">{report.state}'
        f'</span></h1><p class="script">{escape(report.script)}{_mode(report)}</p></header>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _tiles(report: Report) -> str:
    values = [
        ("steps", f"{report.steps:,}"),
        ("samples", f"{report.samples:,}"),
        ("wall time", seconds(report.wall_s)),
        ("median step", seconds(report.median_step_s)),
        ("goodput", f"{report.goodput:.1%}"),
        *([("updates", f"{pushes_of(report):,}")] if report.pushes_by_staleness else []),
        *([] if report.mean_staleness is None else [("mean staleness", f"{report.mean_staleness:.1f}")]),
        ("final loss", "–" if report.final_loss is None else f"{report.final_loss:.4f}"),
    ]
    tiles = "".join(f'<div class="tile"><dt>{name}</dt><dd>{value}</dd></div>' for name, value in values)
    return f'<dl class="tiles">{tiles}</dl>'


def _weights(report: Report, comparison: Comparison | None) -> str:
    ours, rows, verdict = report.weights_sha256, [("this run", report.weights_sha256)], ""
    if comparison is not None:
        theirs = comparison.other.weights_sha256
        rows = list(zip(comparison.names, (ours, theirs), strict=True))
        found = comparison.equal if ours == theirs else comparison.different
        if ours is None or theirs is None:
            found = Verdict("open", "Not both runs came to their end: nothing to compare.")
        verdict = f'<p class="verdict {found.style}">{found.text}</p>'
    body = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(digest) if digest else '–'}</code></td></tr>"
        for name, digest in rows
    )
    return _section("SHA-256 of the final weights", f'<table class="hashes">{body}</table>{verdict}')


def _events(events: Sequence[Event]) -> str:
    if not events:
        return _section("Events", "<p>None.</p>")
    first_s = events[0].time_s
    rows = "".join(
        f'<tr><td class="number">{event.time_s - first_s:.2f} s</td><td class="number">{event.step:,}</td>'
        f'<td class="kind"><i style="background:var(--{mark_of(event.kind).color})"></i>'
        f"{escape(event.kind.replace('_', ' '))}</td><td>{escape(event.message)}</td>"
        f'<td class="number">{workers_change(event)}</td><td>{cost(event)}</td></tr>'
        for event in events
    )
    head = "<tr><th>time</th><th>step</th><th>event</th><th></th><th>workers</th><th>cost</th></tr>"
    return _section("Events", f'<div class="scroll"><table class="events">{head}{rows}</table></div>')


def _mode(report: Report) -> str:
    return "" if report.staleness is None else f" · {report.strategy} · {mode(report.staleness)}"


def _loss_caption(comparison: Comparison | None) -> str:
    return "Loss of each step, and what happened meanwhile." if comparison is None else comparison.caption


def _staleness_caption(report: Report) -> str:
    return (
        "How many updates others had applied between a worker's pull of the parameters and its push of a gradient: "
        f"{measured_in_all(report)}, over {count(pushes_of(report), 'push', 'pushes')} ({mode(report.staleness)})."
    )


def _workers_caption(report: Report) -> str:
    if report.servers_over_time:
        return "Training workers over time, and parameter servers that held slots, with what happened to them."
    return "Training workers over time, with what happened to them."


def _optional(title: str, caption: str, svg: str | None) -> list[str]:
    return [] if svg is None else [_picture(title, caption, svg)]


def _picture(title: str, caption: str, svg: str) -> str:
    return _section(title, f'<p class="caption">{caption}</p><div class="picture">{svg}</div>')


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"
