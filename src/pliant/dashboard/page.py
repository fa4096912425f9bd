"""The report's page as one HTML text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pliant.dashboard.marks import mark_of
from pliant.dashboard.page_style import STYLE
from pliant.dashboard.words import cost, seconds, workers_change
from pliant.wire.api import Event, Report


def page(
    report: Report, pictures: Mapping[str, str], *, undisturbed: Report | None = None, sample_text: str | None = None
) -> str:
    """The whole page.

    Args:
        report: The elastic run.
        pictures: SVG texts by name: ``loss``, ``workers``, ``costs``. They are trusted; all else is escaped.
        undisturbed: The same recipe without events.
        sample_text: Text from the trained model.
    """
    sections = [
        _tiles(report),
        _weights(report, undisturbed),
        _picture("Loss", _loss_caption(undisturbed), pictures["loss"]),
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
        f'</span></h1><p class="script">{escape(report.script)}</p></header>\n'
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
        *([("updates on servers", f"{report.updates:,}")] if report.servers_over_time else []),
        ("final loss", "–" if report.final_loss is None else f"{report.final_loss:.4f}"),
    ]
    tiles = "".join(f'<div class="tile"><dt>{name}</dt><dd>{value}</dd></div>' for name, value in values)
    return f'<dl class="tiles">{tiles}</dl>'


def _weights(report: Report, undisturbed: Report | None) -> str:
    rows = [("elastic" if undisturbed else "this run", report.weights_sha256)]
    verdict = ""
    if undisturbed is not None:
        rows.append(("undisturbed, 1 worker", undisturbed.weights_sha256))
        if report.weights_sha256 is None or undisturbed.weights_sha256 is None:
            verdict = '<p class="verdict open">Not both runs came to their end: nothing to compare.</p>'
        elif report.weights_sha256 == undisturbed.weights_sha256:
            verdict = '<p class="verdict same">✓ Equal: the same weights, bit for bit.</p>'
        else:
            verdict = '<p class="verdict differ">✗ Different: these runs ended with different weights.</p>'
    body = "".join(
        f"<tr><th>{name}</th><td><code>{escape(digest) if digest else '–'}</code></td></tr>" for name, digest in rows
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


def _loss_caption(undisturbed: Report | None) -> str:
    if undisturbed is None:
        return "Loss of each step, and what happened meanwhile."
    return "Both runs. The thin line lies on the broad one wherever the losses agree."


def _workers_caption(report: Report) -> str:
    if report.servers_over_time:
        return "Training workers over time, and parameter servers that held slots, with what happened to them."
    return "Training workers over time, with what happened to them."


def _picture(title: str, caption: str, svg: str) -> str:
    return _section(title, f'<p class="caption">{caption}</p><div class="picture">{svg}</div>')


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"
