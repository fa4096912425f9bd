"""``make demo``: train the GPT while workers come, go and are killed; then undisturbed; compare the weights.

Writes ``out/demo/``: the reports of both runs, the sampled text, and the page ``report.html``.
Exit code 0 if both runs ended with the same bits, 1 if not; that of ``pliant run`` if a run failed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from pliant.dashboard.report import write_html
from pliant.wire.api import Report

EXAMPLES = Path(__file__).resolve().parent
OUT = EXAMPLES.parent / "out" / "demo"
PLIANT = (sys.executable, "-m", "pliant.cli.main")


def run(name: str, *options: str, script_args: tuple[str, ...] = ()) -> Report:
    """Train once through ``pliant run``, live in this terminal, and read its report."""
    path = OUT / f"{name}.json"
    ending = ("--report", str(path), str(EXAMPLES / "char_gpt.py"), *script_args)
    code = subprocess.run([*PLIANT, "run", "--name", name, *options, *ending], check=False).returncode
    if code:
        raise SystemExit(code)
    return msgspec.json.decode(path.read_bytes(), type=Report)


def heading(text: str) -> None:
    """A line between two parts of the demo."""
    print(f"\n=== {text}", flush=True)


def show(disturbed: Report, undisturbed: Report, sample: str) -> bool:
    """Print what came out; True if it is the same twice."""
    same = disturbed.weights_sha256 is not None and disturbed.weights_sha256 == undisturbed.weights_sha256
    heading("What the model writes after this minute of training")
    print(sample)
    heading("SHA-256 of the final weights")
    print(f"1 to 3 workers, one killed   {disturbed.weights_sha256}   {disturbed.wall_s:5.1f} s")
    print(f"1 worker, undisturbed        {undisturbed.weights_sha256}   {undisturbed.wall_s:5.1f} s")
    print("equal, bit for bit" if same else "NOT EQUAL: this is a bug, please report it")
    return same


def main() -> int:
    """Both runs, in a home directory of their own that is gone afterwards."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the coordinator is ended then, too
    OUT.mkdir(parents=True, exist_ok=True)
    sample_path = OUT / "sample.txt"
    with tempfile.TemporaryDirectory(prefix="pliant-demo-") as home:
        os.environ["PLIANT_HOME"] = home
        try:
            heading("Elastic: 1 worker, grows to 3, loses one to SIGKILL, shrinks to 2, grows back to 3")
            plan = ("--workers", "1:3", "--start", "1", "--plan", str(EXAMPLES / "demo.toml"))
            disturbed = run("elastic", *plan, script_args=("--sample", str(sample_path)))
            heading("The same recipe, undisturbed, on one worker")
            undisturbed = run("undisturbed", "--workers", "1")
        finally:
            subprocess.run([*PLIANT, "down", "--force"], check=False, capture_output=True)
    sample = sample_path.read_text(encoding="utf-8")
    same = show(disturbed, undisturbed, sample)
    page = OUT / "report.html"
    write_html(page, disturbed, undisturbed=undisturbed, sample_text=sample)
    print(f"\nThe report with pictures: {os.path.relpath(page)}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
