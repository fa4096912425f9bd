"""Starts the processes of the two systems, and makes sure that none of them is left."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pliant.wire.api import Report

HERE = Path(__file__).resolve().parent
PLIANT = (sys.executable, "-m", "pliant.cli.main")
PATIENCE_S = 120
"""Longer than any turn of the other system, during which this one stands still."""


def environment(**more: str) -> dict[str, str]:
    """This process's, with one intra-op thread, and the checkout importable."""
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}


@contextmanager
def pliant_home() -> Iterator[dict[str, str]]:
    """An environment with a coordinator of its own, which is ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="pliant-bench-") as home:
        env = environment(PLIANT_HOME=home)
        try:
            yield env
        finally:
            subprocess.run([*PLIANT, "down", "--force"], env=env, check=False, capture_output=True)


def start_pliant(env: dict[str, str], options: Sequence[str], script_args: Sequence[str]) -> subprocess.Popen[bytes]:
    """``pliant run`` of the benchmark's script; its messages go to ``pliant.log`` in the home directory."""
    with Path(env["PLIANT_HOME"], "pliant.log").open("ab") as log:
        command = [*PLIANT, "run", "--no-live", *options, str(HERE / "train_pliant.py"), *script_args]
        return subprocess.Popen(command, env=env, stdout=log, stderr=log)


def run_plan(name: str, plan: str, options: Sequence[str], script_args: Sequence[str]) -> Report:
    """Run the benchmark's script under a plan (its TOML), to the end. ``name`` is in the directory's.

    Raises:
        RuntimeError: The run failed; the end of its log was printed.
        TimeoutExpired: It did not end within 300 s, and was ended.
    """
    with tempfile.TemporaryDirectory(prefix=f"pliant-{name}-") as directory, pliant_home() as env:
        file, report = Path(directory, "plan.toml"), Path(directory, "report.json")
        file.write_text(plan, encoding="utf-8")
        process = start_pliant(env, (*options, "--plan", str(file), "--report", str(report)), script_args)
        try:
            finish([process], timeout_s=300)
        except BaseException:
            print(Path(env["PLIANT_HOME"], "pliant.log").read_text(errors="replace")[-3000:], flush=True)
            raise
        finally:
            end([process])
        return read_report(report)


def start_ddp(directory: Path, workers: int, script_args: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """One process for each rank; they meet through a file."""
    shared = {"WORLD_SIZE": str(workers), "RENDEZVOUS": str(directory / "rendezvous")}
    command = [sys.executable, str(HERE / "train_ddp.py"), *script_args]
    with (directory / "ddp.log").open("ab") as log:
        return [
            subprocess.Popen(command, env=environment(RANK=str(rank), **shared), stdout=log, stderr=log)
            for rank in range(workers)
        ]


def finish(processes: Sequence[subprocess.Popen[bytes]], *, timeout_s: float = 60.0) -> None:
    """Wait for all to end well.

    Raises:
        RuntimeError: One failed.
    """
    for process in processes:
        if process.wait(timeout_s):
            raise RuntimeError(f"{process.args!r} ended with exit code {process.returncode}")


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Whatever still runs is interrupted, then killed."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_report(path: Path) -> Report:
    """What ``--report`` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
