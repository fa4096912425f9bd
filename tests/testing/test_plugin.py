"""The plugin as a user has it: a test file of their own, run by a pytest of its own."""

import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(360)
DEADLINE_S = 300
ROOT = Path(__file__).resolve().parents[2]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "pliant.testing.plugin", "-p", "no:cacheprovider"]


def run_pytest(directory: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [*PYTEST, *(str(word) for word in words)]
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it ends its own jobs then
        output, errors = process.communicate()
        errors += f"\nnot done within {DEADLINE_S} s"
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def outcome(result: subprocess.CompletedProcess[str]) -> str:
    return result.stdout + result.stderr


@pytest.mark.few(0)
def test_the_example_passes(tmp_path):
    result = run_pytest(ROOT, "examples/test_after.py", "--basetemp", tmp_path / "base")
    assert result.returncode == 0, outcome(result)
    assert "1 passed" in result.stdout


def test_the_page_shows_the_example():
    page = (ROOT / "docs" / "testing-your-script.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
    assert (ROOT / "examples" / "test_after.py").read_text().endswith(block)


TRAIN = """
import torch
import pliant

torch.manual_seed(0)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
job = pliant.join(model=model, optimizer=optimizer)
loader = pliant.Loader(torch.utils.data.TensorDataset(torch.randn(64, 2)), batch_size=8, shards=4)
for step in job.steps(loader, epochs=10_000):
    for (x,) in step:
        step.backward(model(x).square().mean())
    optimizer.step()
    optimizer.zero_grad()
"""

TESTS = """
import os
import signal
import subprocess

import pytest
from pliant.testing import assert_same_weights
from pliant.testing.processes import is_alive, is_stopped


def test_all_faults(elastic):
    job = elastic.run("train.py", workers="1:4", start=3)
    first, second, third = job.wait_workers(3)
    assert job.kill(rank=second.rank) == [second.worker]
    assert not is_alive(second.pid)
    job.wait_workers(3)
    job.hang(third.worker)
    assert is_stopped(third.pid)
    job.wake(third.worker)
    job.leave(first.worker)
    assert not is_alive(first.pid)
    job.wait_workers(2)
    job.scale(3)
    assert len(job.wait_event("workers_joined", count=2)) >= 2
    job.wait_workers(3)
    for dead in (job.kill_coordinator(), job.kill_agent()):
        assert not is_alive(dead)
    job.kill(rank=2)
    job.wait_workers(3)  # which takes another coordinator and another agent
    job.wait_step(job.status().step + 2)
    assert len(job.kill_all()) == 3
    result = job.end(4)
    assert result.steps > 0
    assert len(result.events_of("worker_lost")) == 5
    with pytest.raises(AssertionError, match="did not come to an end"):
        assert_same_weights(result, result)
    with pytest.raises(TypeError, match="rank=0"):
        job.kill()


def test_a_wait_in_vain_shows_the_output(elastic, tmp_path):
    (tmp_path / "bad.py").write_text("raise ValueError('the user')")
    job = elastic.run(tmp_path / "bad.py")
    with pytest.raises(AssertionError, match="ValueError: the user"):
        job.wait_step(1)
    assert job.end(3).exit_code == 3
    with pytest.raises(FileNotFoundError, match="no script missing.py; looked for "):
        elastic.run("missing.py")


def test_a_job_left_running_is_ended_and_a_leak_fails_the_test(elastic):
    elastic.run("train.py").wait_step(1)
    elastic.end_wait_s = 5
    leaked = subprocess.Popen(["sleep", "600"], env=elastic.environment)
    assert is_alive(leaked.pid)
"""


@pytest.mark.few(0)
@pytest.mark.slow
def test_faults_failures_and_leaks(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "test_train.py").write_text(textwrap.dedent(TESTS))
    result = run_pytest(tmp_path, "--basetemp", tmp_path / "base")
    assert "3 passed, 1 error" in result.stdout, outcome(result)
    assert "ERROR at teardown of test_a_job_left_running_is_ended_and_a_leak_fails_the_test" in result.stdout
    (leaked,) = re.findall(r"^E +AssertionError: leaked processes: (.*)$", result.stdout, re.M)
    assert re.fullmatch(r"\{\d+: 'sleep 600 '\}", leaked)


def test_without_pytest_the_plugin_names_the_extra_and_the_rest_works():
    program = """
import sys
sys.modules["pytest"] = None
import pliant.testing
assert "torch" not in sys.modules
try:
    import pliant.testing.plugin
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "pliant.testing.plugin needs pytest: pip install 'pliant[testing]'\n", result.stderr


def test_importing_pliant_does_not_import_pytest():
    program = "import sys, pliant, pliant.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
