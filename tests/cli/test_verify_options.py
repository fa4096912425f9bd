import pytest

from pliant.cli.main import main
from pliant.cli.verify_options import check_verify_options, verify_parser
from pliant.errors import ConfigError


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("")
    return path


def options(*words):
    return check_verify_options(verify_parser().parse_args([str(word) for word in words]))


def test_bits_are_compared_of_synchronous_runs_only(script):
    spec = options(script, "--staleness", "4").run.spec
    assert (spec.strategy, spec.staleness, spec.args) == ("all-reduce", None, ["--staleness", "4"])


def test_defaults(script):
    found = options(script, "--epochs", 3)
    assert (found.steps, found.workers, found.plan, found.keep, found.json) == (50, 3, None, None, False)
    assert found.run.spec.script == str(script)
    assert found.run.spec.args == ["--epochs", "3"]
    assert (found.run.spec.max_workers, found.run.spec.check_every, found.run.quiet) == (1, 0, True)


def test_all_are_taken_over(script, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text("[[event]]\nat_step = 3\nscale = 4\n")
    words = ["--steps", 20, "--workers", 4, "--plan", plan, "--threads", 2, "--patience", 3, "--json"]
    found = options(*words, "--keep-traces", tmp_path / "new", script)
    assert (found.steps, found.workers, found.json, found.keep) == (20, 4, True, tmp_path / "new")
    assert found.plan[0].scale == 4
    assert (found.run.spec.threads, found.run.spec.patience_s) == (2, 3.0)


def test_all_problems_at_once(tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text("[[event]]\nat_step = 3\nscale = 4\n")
    words = ["--steps", 2, "--workers", 1, "--plan", plan, "--threads", "x", "--keep-traces", tmp_path]
    with pytest.raises(ConfigError) as caught:
        options(*words, tmp_path / "no.py")
    text = str(caught.value)
    for problem in ("--steps 2", "--workers 1", "scale = 4", "--threads x", "is not empty", "no.py does not exist"):
        assert problem in text


def test_bad_input_starts_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PLIANT_HOME", str(tmp_path / "home"))
    assert main(["verify", str(tmp_path / "no.py")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()
