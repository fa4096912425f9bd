"""The argument parser that all verbs use."""

from __future__ import annotations

import argparse


def verb_parser(verb: str, summary: str, *, example: str) -> argparse.ArgumentParser:
    """A parser with ``--json`` and an example at the end of its help."""
    parser = argparse.ArgumentParser(
        prog=f"pliant {verb}",
        description=summary,
        epilog="example:\n" + "\n".join(f"  {line}" for line in example.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")
    return parser
