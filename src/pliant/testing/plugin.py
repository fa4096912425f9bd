"""The pytest plugin: the fixture ``elastic``. Loaded by pytest itself wherever ``pliant`` is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

try:
    import pytest
except ImportError as error:
    raise ImportError("pliant.testing.plugin needs pytest: pip install 'pliant[testing]'") from error

from pliant.testing.lab import Lab
from pliant.testing.result import Result
from pliant.testing.waiting import DEADLINE_S


def pytest_addoption(parser: pytest.Parser) -> None:
    """One setting: ``pliant_deadline_s`` in pytest's configuration file."""
    text = "the longest that a wait in the fixture `elastic` may take, in seconds"
    parser.addini("pliant_deadline_s", text, default=str(DEADLINE_S))


@pytest.fixture(scope="session")
def undisturbed_results() -> dict[str, Result]:
    """Each undisturbed run happens once in a session (with pytest-xdist: once in each of its processes)."""
    return {}


@pytest.fixture
def elastic(request: pytest.FixtureRequest, tmp_path: Path, undisturbed_results: dict[str, Result]) -> Iterator[Lab]:
    """Runs elastic jobs and disturbs them: see :class:`pliant.testing.Lab`.

    Scripts are looked for beside the test file, then in pytest's root directory. At the end of the test everything
    that it started is ended; a process that had to be killed for that makes the test fail.
    """
    search = [request.path.parent, request.config.rootpath]
    deadline_s = float(request.config.getini("pliant_deadline_s"))
    with Lab(tmp_path / "pliant-home", search=search, deadline_s=deadline_s, calm=undisturbed_results) as lab:
        yield lab
