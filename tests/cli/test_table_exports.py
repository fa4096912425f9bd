"""``pliant export``: tables out of checkpoints."""

import json
import sys

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

import pliant
from pliant.backends.launch import launch_here, write_launch
from pliant.cli.export import main
from pliant.cli.main import main as pliant_main
from pliant.cli.table_targets import Target, choose_targets
from pliant.config import Home
from pliant.errors import ConfigError, CoordinatorError
from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint
from pliant.wire.api import JobSpec

POSITION = dict.fromkeys(("call", "step_of_call", "passes", "epoch", "samples"), 4) | {"loss": None, "ended": []}


class Net(torch.nn.Module):
    """Two tables, of 5 rows and of none."""

    def __init__(self):
        super().__init__()
        self.people = pliant.Embedding("users", 3, optimizer=pliant.RowAdagrad(lr=0.1))
        self.words = pliant.Embedding("tags", 2, optimizer=pliant.RowSGD(lr=0.1), min_count=2)
        self.people.store.push(torch.tensor([-4, 0, 1, 9, 1 << 60]), torch.randn(5, 3), step=1)
        self.words.store.push(torch.tensor([8]), torch.randn(1, 2), step=1)


def leave_checkpoint(directory, tracked, step=40):
    snapshot = take_snapshot(tracked, POSITION | {"step": step}, job="clicks", staging=Staging())
    return write_checkpoint(directory, snapshot, keep=9)[0]


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def job(tmp_path, net, monkeypatch):
    """A job that has left a checkpoint."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv("PLIANT_HOME", str(home.path))
    directory = home.job("clicks") / "checkpoints"
    write_launch(home, launch_here(JobSpec("clicks", "clicks.py", checkpoints=str(directory)), entry="module:function"))
    return leave_checkpoint(directory, {"model": net})


def test_a_table_as_safetensors(job, net, tmp_path):
    out = tmp_path / "users.safetensors"
    assert main(["clicks", "--table", "users", "--out", str(out)]) == 0
    found = load_file(out)
    assert found.keys() == net.people.get_extra_state().keys()
    assert all(torch.equal(found[key], value) for key, value in net.people.get_extra_state().items())


def test_a_table_as_parquet(job, net, tmp_path):
    out = tmp_path / "deep" / "u"
    assert main(["clicks", "--table", "users", "--out", str(out), "--format", "parquet"]) == 0
    found = pyarrow.parquet.read_table(out)
    assert sorted(found["id"].to_pylist()) == [-4, 0, 1, 9, 1 << 60]
    np.testing.assert_array_equal(np.array(found["row"].to_pylist(), np.float32), net.people.get_extra_state()["rows"])
    assert [path.name for path in out.parent.iterdir()] == ["u"]


def test_all_tables_of_a_checkpoint_into_a_directory(job, tmp_path, capsys):
    out = tmp_path / "tables"
    assert main([str(job), "--format", "safetensors", "--out", str(out), "--json"]) == 0
    tags, users = json.loads(capsys.readouterr().out)
    assert (tags["table"], tags["rows"], tags["dim"], users["rows"], users["step"]) == ("tags", 0, 2, 5, 40)
    assert (users["file"], users["checkpoint"]) == (str(out / "users.safetensors"), str(job))
    assert users["size_bytes"] == (out / "users.safetensors").stat().st_size
    assert load_file(out / "tags.safetensors")["pending.ids"].tolist() == [8]


def test_without_out_the_tables_are_listed(job, capsys):
    assert main(["clicks"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split("\n") == ["tags   0 rows  of 2 numbers", "users  5 rows  of 3 numbers", ""]
    assert str(job) in printed.err


def test_the_newest_good_checkpoint_is_taken(job, tmp_path, capsys):
    newer = leave_checkpoint(job.parent, {"model": Net()}, step=50)
    (newer / "state.safetensors").write_bytes(b"")
    assert main([str(job.parent), "--json"]) == 0
    printed = capsys.readouterr()
    assert {each["step"] for each in json.loads(printed.out)} == {40}
    assert f"passed over: {newer / 'state.safetensors'} has 0 bytes" in printed.err


def test_what_cannot_be_found(job, tmp_path, capsys):
    with pytest.raises(CoordinatorError, match="no job named 'click' was ever started"):
        main(["click"])
    assert pliant_main(["export", "click"]) == 6
    with pytest.raises(ConfigError, match="no good checkpoint"):
        main([str(tmp_path)])
    plain = leave_checkpoint(tmp_path / "plain", {"model": torch.nn.Linear(1, 1)})
    with pytest.raises(ConfigError, match="has no tables, only the models model"):
        main([str(plain)])


def test_without_pyarrow_the_extra_is_named_and_nothing_written(job, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'pliant\[parquet\]'"):
        main(["clicks", "--format", "parquet", "--out", str(tmp_path / "tables")])
    assert not (tmp_path / "tables").exists()


def test_a_disk_that_takes_nothing(job, tmp_path):
    out = tmp_path / "file" / "users.safetensors"
    out.parent.touch()
    with pytest.raises(ConfigError, match=r"table users could not be written to .*users\.safetensors"):
        main(["clicks", "--table", "users", "--out", str(out)])


def problems_of(tables, **given):
    with pytest.raises(ConfigError) as caught:
        choose_targets(tables, **{"table": None, "kind": None, "out": None} | given)
    return caught.value.problems


def test_what_options_mean(tmp_path):
    out = tmp_path / "a.parquet"
    assert choose_targets(["a"], table=None, kind=None, out=out) == [Target("a", out, "parquet")]
    assert choose_targets(["a"], table=None, kind="safetensors", out=out) == [Target("a", out, "safetensors")]
    inside = Target("a", tmp_path / "a.safetensors", "safetensors")
    assert choose_targets(["a", "b"], table="a", kind="safetensors", out=tmp_path) == [inside]
    assert choose_targets(["a", "b"], table=None, kind=None, out=None) == [Target("a"), Target("b")]


def test_wrong_options_are_told_all_at_once(tmp_path):
    assert len(problems_of(["users"], table="user", kind="csv", out=tmp_path)) == 2
    assert "did you mean users?" in problems_of(["users"], table="user")[0]
    assert "add --out" in problems_of(["users"], kind="parquet")[0]
    assert "does not say in which format" in problems_of(["a", "b"], out=tmp_path)[0]
    assert "is one file, and there are the tables a, b" in problems_of(["a", "b"], out=tmp_path / "x.parquet")[0]
    assert "a name that is no file's" in problems_of(["a/b", "c"], kind="parquet", out=tmp_path)[0]
    (tmp_path / "a.parquet").touch()
    assert "is there already" in problems_of(["a"], out=tmp_path / "a.parquet")[0]
    assert "is there already" in problems_of(["a", "b"], kind="parquet", out=tmp_path)[0]
