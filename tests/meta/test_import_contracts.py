"""The architecture's import directions hold, and the contracts are able to notice when they do not."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    command = [str(LINT), "--config", str(config), "--no-cache"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_contracts_hold():
    result = lint(ROOT / ".importlinter")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_contract_turned_upside_down_is_broken(tmp_path):
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:layers"]["layers"].strip().splitlines()
    contracts["importlinter:contract:layers"]["layers"] = "\n" + "\n".join(reversed(layers))
    upside_down = tmp_path / "importlinter.ini"
    with upside_down.open("w") as file:
        contracts.write(file)
    result = lint(upside_down)
    assert result.returncode != 0
    assert "is not allowed to import" in result.stdout


def test_every_package_has_a_layer():
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:layers"]["layers"]
    named = {word.strip("()") for word in layers.replace("|", " ").split()}
    source = ROOT / "src" / "pliant"
    packages = {f"pliant.{path.parent.name}" for path in source.glob("*/__init__.py")}
    modules = {f"pliant.{path.stem}" for path in source.glob("*.py")} - {"pliant.__init__", "pliant.__main__"}
    assert packages | modules <= named
