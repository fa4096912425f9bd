"""Sizes of memory as users write them: ``2GiB``, ``500 MB``, ``1.5G``. Pure."""

from __future__ import annotations

import re

from pliant.cli.output import problem

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def memory_bytes(option: str, text: str, problems: list[str], *, least: int = 1) -> int | None:
    """Bytes; None if it is no such size, and why is added to ``problems``.

    ``GB`` is 1000 times ``MB``, ``GiB`` 1024 times ``MiB``, ``G`` is ``GiB``, and a number alone is bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        problems.append(problem(f"{option} {text} is not a size of memory", f"for example {option} 2GiB or 500MB"))
        return None
    number, unit, binary = match.groups()
    decimal = unit is not None and not binary and text.strip().lower().endswith("b")
    found = int(float(number) * (1000 if decimal else 1024) ** _POWERS.get((unit or "").lower(), 0))
    if found < least:
        problems.append(problem(f"{option} {text} is too little: {least:,} bytes are the least", "give more"))
        return None
    return found
