from collections.abc import Callable, Iterator

import pytest
from parallel_helpers import mesh

from pliant.comm.mesh import MeshGroup


@pytest.fixture
def make_mesh() -> Iterator[Callable[[int], list[MeshGroup]]]:
    made: list[MeshGroup] = []

    def make(size: int) -> list[MeshGroup]:
        groups = mesh(size)
        made.extend(groups)
        return groups

    yield make
    for group in made:
        group.abort()
        group.close()
