"""Files that their owner alone can read, and that change as a whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Replace ``path``: readers see the old content or the new one, never a part of one.

    Raises:
        OSError: It could not be written; ``path`` is what it was.
    """
    fresh = path.with_name(f".{path.stem}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    fresh.replace(path)
