"""Unix sockets at long paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for ``path`` to bind or connect a socket to, while this block lasts.

    A socket's address holds 107 bytes (unix(7)), which a home directory can easily exceed: so it is named through a
    descriptor of its directory.

    Raises:
        OSError: There is no such directory.
    """
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
