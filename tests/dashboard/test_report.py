"""The report's files: numbers that can be read back, a page that needs nothing else."""

import importlib
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import msgspec
import pytest
from dashboard_samples import EMPTY, EVENTS, REPORT, SERVED_REPORT, STALE_REPORT, UNDISTURBED

from pliant.dashboard import report as report_module
from pliant.dashboard.comparison import with_earlier, with_undisturbed
from pliant.dashboard.pictures import event_costs, loss_over_steps, loss_over_time, staleness, workers_over_time
from pliant.dashboard.report import PicturesError, write_html, write_json
from pliant.wire.api import Report


class Balance(HTMLParser):
    """Finds tags that are not closed in order."""

    VOID = frozenset({"meta", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def page(tmp_path, report=REPORT, **more):
    path = tmp_path / "r.html"
    write_html(path, report, **more)
    return path.read_text()


def test_json_reads_back_as_the_same_report(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("old")
    write_json(path, REPORT)
    assert msgspec.json.decode(path.read_bytes(), type=Report) == REPORT
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write_json(tmp_path / "no" / "r.json", REPORT)
    assert list(tmp_path.iterdir()) == []


def test_page_is_well_formed_and_needs_no_other_file(tmp_path):
    text = page(tmp_path, undisturbed=UNDISTURBED, sample_text="x")
    parser = Balance()
    parser.feed(text)
    assert (parser.open, parser.wrong) == ([], [])
    assert not re.search(r"<(script|link|img|iframe)\b|@import|src=|url\((?!#)", text)
    assert text.count("<svg ") == 3
    assert "prefers-color-scheme: dark" in text


def test_page_has_the_numbers_and_every_event(tmp_path):
    text = page(tmp_path)
    for part in (
        "<dd>60</dd>",
        "<dd>3,840</dd>",
        "<dd>6.00 s</dd>",
        "<dd>100 ms</dd>",
        "<dd>97.0%</dd>",
        "<dd>1.2345</dd>",
    ):
        assert part in text
    assert "ab" * 32 in text
    assert text.count("<tr><td class") == len(EVENTS)
    assert "stalled 187 ms, 3 shards recomputed" in text


def test_page_escapes_what_others_wrote(tmp_path):
    strange = msgspec.structs.replace(REPORT, name="<b>", script="<script>alert(1)</script>")
    text = page(tmp_path, strange, sample_text="\nif a < b & c:\n")
    assert "<script" not in text
    assert "<title>&lt;b&gt;" in text
    assert "w3 went &lt;&amp;&gt;" in text
    assert '<pre class="sample">if a &lt; b &amp; c:</pre>' in text


def test_two_runs_are_compared(tmp_path):
    assert "Equal: the same weights, bit for bit." in page(tmp_path, undisturbed=UNDISTURBED)
    other = msgspec.structs.replace(UNDISTURBED, weights_sha256="cd" * 32)
    text = page(tmp_path, undisturbed=other)
    assert "Different: these runs ended with different weights." in text
    assert "cd" * 32 in text
    unknown = msgspec.structs.replace(UNDISTURBED, weights_sha256=None)
    assert "nothing to compare" in page(tmp_path, undisturbed=unknown)


def test_a_run_that_did_nothing_has_a_page_too(tmp_path):
    assert "None." in page(tmp_path, EMPTY)


def compared_over_time(report):
    return loss_over_time(with_earlier(report, UNDISTURBED))


@pytest.mark.parametrize(
    "draw",
    [loss_over_steps, workers_over_time, event_costs, staleness, compared_over_time],
    ids=lambda draw: draw.__name__,
)
def test_pictures_are_svg_coloured_by_the_page(draw):
    text = draw(STALE_REPORT)
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert "width" not in root.attrib
    assert "viewBox" in root.attrib
    assert "var(--ink)" in text or "var(--muted)" in text
    assert not re.search(r"#0a0b[0-9a-f]{2}", text), "a placeholder colour was left"
    assert "var(--font)" in text


def test_pictures_name_each_kind_once_and_each_cost():
    both = loss_over_steps(REPORT, with_undisturbed(REPORT, UNDISTURBED))
    assert both.count(">joined<") == 1
    assert ">undisturbed, 1 worker<" in both
    costs = event_costs(REPORT)
    assert ">187 ms<" in costs
    assert ">no stall<" in costs
    assert ">an ordinary step: 100 ms<" in costs


def test_of_many_events_the_costliest_are_drawn():
    many = [msgspec.structs.replace(EVENTS[3], seq=seq, step=seq, stall_s=seq / 1000) for seq in range(100, 150)]
    drawn = event_costs(msgspec.structs.replace(REPORT, events=many))
    assert "step 149 " in drawn
    assert "step 110 " not in drawn


def test_without_matplotlib_the_message_names_the_extra(tmp_path, monkeypatch):
    real = importlib.import_module

    def without(name, *arguments):
        if name == "pliant.dashboard.pictures":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *arguments)

    monkeypatch.setattr(report_module.importlib, "import_module", without)
    with pytest.raises(PicturesError, match=r"pip install 'pliant\[report\]'"):
        write_html(tmp_path / "r.html", REPORT)
    assert list(tmp_path.iterdir()) == []


def test_servers_are_on_the_page_and_in_the_picture(tmp_path):
    write_html(tmp_path / "r.html", SERVED_REPORT)
    text = (tmp_path / "r.html").read_text()
    assert "server lost" in text
    assert ">updates<" not in text, "each step is one"
    assert "parameter servers that held slots" in text
    assert ">servers<" in workers_over_time(SERVED_REPORT)
    assert ">servers<" not in workers_over_time(REPORT)


def test_the_measured_staleness_is_on_the_page(tmp_path):
    text = page(tmp_path, STALE_REPORT)
    assert "/home/me/gpt.py · parameter-server · asynchronous<" in text
    assert "<dt>mean staleness</dt><dd>1.4</dd>" in text
    assert "<dt>updates</dt><dd>500</dd>" in text
    assert "1.4 updates on average, 9 at most, over 500 pushes (asynchronous)." in text
    assert ">1.4 on average<" in text
    assert text.count("<svg ") == 4
    assert "taleness" not in page(tmp_path, SERVED_REPORT)


def test_an_earlier_run_is_drawn_beside_this_one(tmp_path):
    text = page(tmp_path, STALE_REPORT, compared=msgspec.structs.replace(REPORT, name="a<b"))
    parser = Balance()
    parser.feed(text)
    assert (parser.open, parser.wrong) == ([], [])
    assert text.count("<svg ") == 5
    assert "<th>compared with a&lt;b, synchronous</th>" in text
    assert text.count(">this run, asynchronous<") == 3, "in both pictures and the table"
    assert "Different, as they should be" in text
    assert "Loss over time" in text
    unknown = msgspec.structs.replace(REPORT, weights_sha256=None)
    assert "nothing to compare" in page(tmp_path, STALE_REPORT, compared=unknown)


def test_a_longer_run_beside_a_shorter_one_is_seen_to_its_end():
    longer = msgspec.structs.replace(REPORT, steps=999, wall_s=777.0)
    comparison = with_earlier(STALE_REPORT, longer)
    assert ">1000<" in loss_over_steps(STALE_REPORT, comparison) or ">800<" in loss_over_steps(STALE_REPORT, comparison)
    assert ">700<" in loss_over_time(comparison)


def test_a_long_legend_leaves_the_picture_its_width():
    """Its entries go into several lines: in one, they would be broader than the page."""
    few, many = loss_over_steps(REPORT), loss_over_steps(STALE_REPORT, with_earlier(STALE_REPORT, REPORT))

    def legend_lines(svg):
        # Each entry is a text element; those of one line have the same height.
        names = "joined|lost|shrunk|server lost|slots restored|this run, asynchronous|compared with gpt, synchronous"
        heights = re.findall(rf'<text[^>]*? y="([0-9.]+)"[^>]*>(?:{names})</text>', svg)
        return len(heights), len(set(heights))

    assert legend_lines(few) == (3, 1)
    assert legend_lines(many) == (7, 2)
