"""Which packages are installed, and whether what they bring can be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata

from benchmarks.peers.processes import environment


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def why_not(packages: Sequence[str], modules: str) -> str:
    """Why a system cannot run here; "" if one of its packages is there and ``modules`` can be imported."""
    if not versions(packages):
        return f"not installed: {' or '.join(packages)} (see .venv-peers/setup.log)"
    if not modules:
        return ""
    done = subprocess.run(
        [sys.executable, "-c", f"import {modules}"],
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return "" if done.returncode == 0 else f"cannot be imported: {done.stderr.strip().splitlines()[-1]}"
