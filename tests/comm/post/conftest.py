from collections.abc import Iterator

import pytest
from post_kit import Lab


@pytest.fixture
def make_lab(tmp_path) -> Iterator:
    made: list[Lab] = []

    def make(kind: str) -> Lab:
        # Longer than the address of a socket may be.
        made.append(Lab(kind, tmp_path / ("long" * 20) / ("longer" * 10) / "post"))
        return made[-1]

    yield make
    for lab in made:
        lab.close_all()


@pytest.fixture(params=["ipc", "tcp", "memory"])
def lab(request, make_lab) -> Lab:
    """Each kind of post."""
    return make_lab(request.param)


@pytest.fixture(params=["ipc", "tcp"])
def real_lab(request, make_lab) -> Lab:
    """Posts over ZeroMQ."""
    return make_lab(request.param)
