"""The table of verbs: help, unknown verbs, and what is (not) imported for an answer."""

import subprocess
import sys
from pathlib import Path

import pytest

from pliant.cli import exit_codes
from pliant.cli.main import VERBS, main

HEAVY = ("torch", "numpy", "rich", "websockets", "matplotlib", "starlette", "uvicorn")


def imported_by(*arguments, home) -> set[str]:
    """Modules that a command has loaded when it ends."""
    program = (
        "import sys\nfrom pliant.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('\\nMODULES', *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PLIANT_HOME": str(home)},
    )
    return {name.partition(".")[0] for name in done.stderr.rpartition("MODULES")[2].split()}


@pytest.mark.parametrize(
    "arguments", [("--help",), ("status",), ("run", "--help"), ("scale", "--help"), ("up", "--help")]
)
def test_quick_commands_import_nothing_heavy(tmp_path, arguments):
    assert imported_by(*arguments, home=tmp_path) & set(HEAVY[:1]) == set()
    if arguments != ("run", "--help"):
        assert imported_by(*arguments, home=tmp_path) & set(HEAVY) == set()


def test_help_lists_every_verb_and_every_exit_code(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in VERBS)
    assert all(meaning in text for _, meaning in exit_codes.TABLE)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_file_help_with_an_example_and_json(capsys, verb):
    assert Path(sys.modules["pliant.cli"].__path__[0], f"{verb}.py").is_file()
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert "example:" in text
    assert f"pliant {verb}" in text.partition("example:")[2]
    assert "--json" in text


def test_unknown_verb_is_named_with_the_nearest(capsys):
    assert main(["statsu"]) == exit_codes.BAD_INPUT
    error = capsys.readouterr().err
    assert "unknown command 'statsu'" in error
    assert "hint: `pliant status`?" in error


def test_no_verb_shows_the_help_on_stderr(capsys):
    assert main([]) == exit_codes.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: pliant" in captured.err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("pliant ")
