"""Services as real processes; whatever they leave behind fails the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from service_lab import Service, services


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a service of a class of service_models.py, or of any other target."""
    with services(tmp_path) as start:
        yield start


@pytest.fixture
def serve(begin: Callable[..., Service]) -> Callable[..., Service]:
    """The same, once the model is loaded."""
    return lambda target, *options: begin(target, *options).wait_ready()


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """A service that is started once for a file: its tests leave it as well as they found it.

    Importing torch is nine tenths of what a service costs. Its counts are those of all tests so far.
    """
    known: dict[tuple[str, ...], Service] = {}
    with services(tmp_path_factory.mktemp("shared")) as start:

        def get(*words: str) -> Service:
            if words not in known:
                known[words] = start(*words).wait_ready()
            known[words].clear()
            return known[words]

        yield get


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Callable[..., Service]) -> Service:
    """The one that all tests of a file share, which says in SERVED what it is started with."""
    return share(*request.module.SERVED)
