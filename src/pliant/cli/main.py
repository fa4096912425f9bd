"""``pliant``: finds the verb, loads its module and nothing else, and turns errors into messages and exit codes.

A verb's module has ``main(argv) -> int``. This file must stay cheap to import: ``pliant --help`` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from pliant.cli import exit_codes
from pliant.cli.output import note, print_error
from pliant.errors import PliantError

VERBS = {
    "run": "train with a script on a changing number of workers, and follow it",
    "resume": "go on with a job from its newest checkpoint, at any number of workers",
    "scale": "change the number of workers of a running job",
    "status": "show jobs, or one job and its workers",
    "stop": "stop a job at its next step boundary, or at once",
    "events": "show what happened to a job, and what each event cost",
    "verify": "prove that a script ends with the same bits whatever happens, or name what breaks that",
    "serve": "serve a model on as many replicas as its requests need",
    "push": "give a service other weights, without a gap",
    "export": "write the tables of a checkpoint as files for other programs",
    "up": "start the coordinator and leave it running",
    "down": "end the coordinator",
}
"""Verb to summary; the verb's code is in the module ``pliant.cli.<verb>``."""

_HELP_FLAGS = {"-h", "--help", "help"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the process's exit code (see :mod:`pliant.cli.exit_codes`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        note(_help())
        return exit_codes.BAD_INPUT
    verb, *rest = arguments
    if verb in _HELP_FLAGS:
        print(_help())
        return exit_codes.OK
    if verb == "--version":
        print(f"pliant {importlib.import_module('importlib.metadata').version('pliant')}")
        return exit_codes.OK
    if verb not in VERBS:
        close = get_close_matches(verb, VERBS, n=1)
        note(f"error: unknown command {verb!r}")
        note(f"  hint: `pliant {close[0]}`?" if close else "  hint: `pliant --help` lists the commands")
        return exit_codes.BAD_INPUT
    return _guarded(importlib.import_module(f"pliant.cli.{verb}").main, rest)


def _guarded(verb: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    try:
        return verb(arguments)
    except PliantError as error:
        print_error(error)
        return exit_codes.of_error(error)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`); keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.OK


def _help() -> str:
    lines = [
        "Elastic training for PyTorch: workers join, leave and die; the weights come out the same.",
        "",
        "usage: pliant COMMAND [options]",
        "",
        "commands:",
        *(f"  {verb:<8}{summary}" for verb, summary in VERBS.items()),
        "",
        "example:",
        "  pliant run --workers 1:4 train.py     in one terminal",
        "  pliant scale train 3                  in another one",
        "",
        "`pliant COMMAND --help` shows the options and an example of each. Every command has --json:",
        "data goes to stdout, everything else to stderr.",
        "",
        "exit codes:",
        *(f"  {code:>3}  {meaning}" for code, meaning in exit_codes.TABLE),
        "",
        "environment:",
        "  PLIANT_HOME  directory of the coordinator, its token and its logs (default: ~/.pliant)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
