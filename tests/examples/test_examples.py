"""The examples run as plain scripts and as elastic jobs; what their pages promise is so."""

from __future__ import annotations

import difflib
import importlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from pliant.cli.plan_file import read_plan
from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint
from pliant.wire.api import Report

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
TIMEOUT_S = 120


@pytest.fixture
def environment(tmp_path):
    env = {**os.environ, "PLIANT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    yield env
    command = [sys.executable, "-m", "pliant.cli.main", "down", "--force"]
    subprocess.run(command, env=env, capture_output=True, timeout=30, check=False)


def succeed(command: list[str], env: dict[str, str]) -> str:
    result = subprocess.run(
        [sys.executable, *command], env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def train(env: dict[str, str], directory: Path, *options: str, script: list[str]) -> Report:
    path = directory / "report.json"
    command = ["-m", "pliant.cli.main", "run", "--no-live", "--no-page", "--report", str(path), *options]
    succeed([*command, str(EXAMPLES / script[0]), *script[1:]], env)
    return msgspec.json.decode(path.read_bytes(), type=Report)


def test_before_and_after_differ_in_fewer_than_ten_lines():
    before, after = ((EXAMPLES / name).read_text().splitlines() for name in ("before.py", "after.py"))
    written = [line for line in difflib.ndiff(before, after) if line.startswith("+ ") and line[2:].strip()]
    assert 0 < len(written) < 10, written


@pytest.mark.few(1)
@pytest.mark.parametrize("script", ["after.py", "before.py"])
def test_before_and_after_learn(script, environment):
    losses = [float(line.split()[1]) for line in succeed([str(EXAMPLES / script)], environment).splitlines()]
    assert len(losses) == 10
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.few(0)
def test_digits_are_learned(environment):
    last = succeed([str(EXAMPLES / "digits_cnn.py")], environment).splitlines()[-1]
    assert float(last.split()[-1]) > 0.9


def losses_in(out: str) -> list[float]:
    return [float(line.split()[-1]) for line in out.splitlines() if line.startswith("epoch ")]


@pytest.mark.few(0)
def test_clicks_on_real_data_are_better_than_the_base_rate(environment, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    clicks = importlib.import_module("clicks")
    known, unseen = (clicks.Tumours(unseen=each).clicked for each in (False, True))
    base = torch.nn.functional.binary_cross_entropy(known.mean().expand_as(unseen), unseen).item()
    losses = losses_in(succeed([str(EXAMPLES / "clicks.py"), "--data", "tumours", "--epochs", "3"], environment))
    assert len(losses) == 3
    assert losses[-1] < 0.4 * base


@pytest.mark.slow
def test_clicks_learn_the_same_with_parameter_servers(environment):
    script = [str(EXAMPLES / "clicks.py"), "--data", "tumours", "--epochs", "2"]
    options = ["--no-live", "--strategy", "parameter-server", "--servers", "2", "--workers", "2"]
    served = succeed(["-m", "pliant.cli.main", "run", *options, *script], environment)
    assert losses_in(served) == losses_in(succeed(script, environment))
    assert len(losses_in(served)) == 2


def test_gpt_saves_and_samples(environment, tmp_path):
    weights, sample = tmp_path / "weights.pt", tmp_path / "sample.txt"
    size = ["--steps", "3", "--width", "16", "--layers", "1", "--context", "8", "--chars", "20000"]
    out = succeed([str(EXAMPLES / "char_gpt.py"), *size, "--save", str(weights), "--sample", str(sample)], environment)
    assert out.startswith("step    0   loss ")
    assert weights.stat().st_size > 0
    assert sample.read_text().startswith("def ")


@pytest.mark.few(0)
@pytest.mark.slow
def test_digits_end_with_the_same_bits_on_one_and_on_three_workers(environment, tmp_path):
    script = ["digits_cnn.py", "--epochs", "2"]
    one = train(environment, tmp_path, "--workers", "1", script=script)
    three = train(environment, tmp_path, "--workers", "3", script=script)
    assert one.weights_sha256 is not None
    assert three.weights_sha256 == one.weights_sha256
    assert three.steps == one.steps == 50


SHORT = """
import sys
from pathlib import Path
from examples import demo_serve
phases = [(0.5, 2, ""), (0.5, 12, "kill"), (0, 12, "push"), (1, 4, ""), (0, 0, "")]
sys.exit(demo_serve.serve(Path(sys.argv[1]), Path(sys.argv[2]), phases))
"""


def test_the_demo_of_serving_in_short(environment, tmp_path, monkeypatch):
    """Its traffic, its kill and its push, without the training before them."""
    monkeypatch.syspath_prepend(EXAMPLES)
    network = importlib.import_module("digits_cnn").network
    position = dict.fromkeys(("call", "step_of_call", "passes", "epoch", "samples"), 0) | {"loss": None, "ended": []}
    checkpoints = []
    for step in (1, 2):
        snapshot = take_snapshot({"model": network()}, position | {"step": step}, job="digits", staging=Staging())
        checkpoints.append(str(write_checkpoint(tmp_path / "checkpoints", snapshot, keep=9)[0]))
    result = subprocess.run(
        [sys.executable, "-c", SHORT, *checkpoints], env=environment, cwd=ROOT, capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert ") is killed" in result.stdout
    assert "0 failures, versions 1, 2" in result.stdout
    assert "no request has failed" in result.stdout


def test_the_demo_does_what_it_says():
    events, problems = read_plan(EXAMPLES / "demo.toml", bounds=(1, 3))
    assert problems == []
    assert [(event.scale, event.kill) for event in events] == [(3, None), (None, 1), (2, None), (3, None)]
