"""What the documents say is so: their code runs, their links lead somewhere, the files they name exist."""

from __future__ import annotations

import os
import subprocess
import sys

import documents as docs
import pytest

BLOCKS = docs.all_blocks()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_python_blocks_are_python(block):
    compile(block.code, block.where, "exec")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.runnable], ids=lambda block: block.where)
def test_runnable_blocks_run(block, tmp_path):
    script = tmp_path / "block.py"
    script.write_text(block.code, encoding="utf-8")
    environment = {**os.environ, "PLIANT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script)]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", docs.documents(), ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path):
    targets = [match["target"] for match in docs.LINK.finditer(path.read_text(encoding="utf-8"))]
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", docs.documents(), ids=lambda path: path.name)
def test_tests_that_documents_name_are_there(path):
    named = docs.named_tests(path.read_text(encoding="utf-8"))
    tests = docs.ROOT / "tests"
    texts = {file: "".join(found.read_text(encoding="utf-8") for found in tests.rglob(file)) for file, _ in named}
    assert [(file, test) for file, test in named if f"def {test}(" not in texts[file]] == []


def test_where_is_it_table_names_files_that_exist():
    contributing = docs.ROOT / "CONTRIBUTING.md"
    if not contributing.exists():
        pytest.skip("there is no CONTRIBUTING.md")
    paths = docs.table_paths(contributing.read_text(encoding="utf-8"))
    assert paths, "CONTRIBUTING.md has no table of files"
    bases = (docs.ROOT, docs.ROOT / "src" / "pliant")
    assert [path for path in paths if not any((base / path).exists() for base in bases)] == []


def test_blocks_are_found_with_their_marks():
    text = "a\n\n```python\nx = 1\n```\n\n<!-- runnable -->\n```python\ny = 2\n```\n\n```python runnable\nz = 3\n```\n"
    found = docs.blocks_of(text, "doc")
    assert [(block.code, block.runnable) for block in found] == [
        ("x = 1\n", False),
        ("y = 2\n", True),
        ("z = 3\n", True),
    ]


def test_named_tests_are_found():
    text = "`test_a.py::test_b`, `tests/c/test_d.py::test_e`, `test_f.py`"
    assert docs.named_tests(text) == [("test_a.py", "test_b"), ("test_d.py", "test_e")]


def test_paths_are_found_in_tables_only():
    table = "| what | file |\n|---|---|\n| the tree | `comm/tree.py`, `tests/comm/test_tree.py::test_x` |\n"
    text = "`src/none.py`\n\n" + table
    assert docs.table_paths(text) == ["comm/tree.py", "tests/comm/test_tree.py"]
