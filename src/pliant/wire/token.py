"""The secret that every call to the coordinator needs: a file that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from pliant.errors import ConfigError

_TOKEN_BYTES = 32


def create_token(path: Path) -> str:
    """The token in ``path``; a new random one if the file does not exist yet.

    Safe against two processes doing this at once: both get the same token. The file appears complete or not at all,
    and is never readable by others. Creates the directory (mode 0700).

    Raises:
        ConfigError: As :func:`read_token`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return read_token(path)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_TOKEN_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # unlike rename, this does not replace the token of a faster process
    finally:
        fresh.unlink()
    return read_token(path)


def read_token(path: Path) -> str:
    """The token in ``path``.

    Raises:
        ConfigError: The file is missing, empty, or readable by other users.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        token = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise ConfigError(
            f"no token file {path}: no coordinator was ever started there; start one with `pliant up`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token file {path}: {error}") from error
    if mode & 0o077:
        raise ConfigError(
            f"the token file {path} has mode {mode:04o}: other users could read it. "
            f"Delete it and restart the coordinator for a new one, or `chmod 600 {path}` if nobody has read it"
        )
    if not token:
        raise ConfigError(f"the token file {path} is empty; delete it and restart the coordinator")
    return token


def token_matches(given: str, expected: str) -> bool:
    """Compare in a time that does not tell how much of ``given`` was right."""
    return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
