import tomllib

from pliant.testing.launch import Launch, plan_text


def test_options_become_the_commands_own(tmp_path):
    plan = [{"at_step": 3, "kill": 1}]
    options = {"workers": "1:2", "checkpoint_every": 5, "quiet": True, "plan": plan}
    launch = Launch(tmp_path / "train.py", ("--epochs", "1"), tmp_path / "files", options, name="job")
    words = launch.words()
    assert words[:3] == ["run", "--name", "job"]
    assert words[words.index("--checkpoint-every") + 1] == "5"
    assert words[words.index("--quiet") + 1] == "--plan"
    assert words[-3:] == [str(tmp_path / "train.py"), "--epochs", "1"]
    assert tomllib.loads((tmp_path / "files" / "job.toml").read_text()) == {"event": plan}


def test_a_plan_may_be_a_file(tmp_path):
    words = Launch(tmp_path / "train.py", (), tmp_path, {"plan": "demo.toml"}).words()
    assert words[words.index("--plan") + 1] == "demo.toml"


def test_plan_values_are_toml():
    plan = [{"at_step": 1, "kill_coordinator": True}, {"at_step": 2, "slow": {"workers": 1, "factor": 2.5}}]
    assert tomllib.loads(plan_text(plan)) == {"event": plan}
