"""``pliant resume``, and ``pliant run`` where an earlier run has left checkpoints."""

import argparse

import pytest
import torch

from pliant.backends.launch import launch_here, write_launch
from pliant.cli.checkpoints import discard_checkpoints, newest_checkpoint, step_of
from pliant.cli.resume import _parser, check_resume
from pliant.cli.run import create_job
from pliant.cli.run_options import check_options, run_parser
from pliant.config import Home
from pliant.errors import ConfigError, CoordinatorError
from pliant.parallel.tables.embedding import Embedding
from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint
from pliant.wire.api import JobSpec, PlanEvent
from pliant.wire.messages import UNBOUNDED
from pliant.wire.tables import RowSGD


class FakeClient:
    """A coordinator that knows which names are taken."""

    def __init__(self, *live):
        self.live, self.created = set(live), []

    def job(self, name):
        if name in self.live:
            return argparse.Namespace(state="running")
        raise CoordinatorError("none", status=404)

    def create_job(self, spec):
        if spec.name in self.live:
            raise CoordinatorError(f"{spec.name} is already running", status=409)
        self.created.append(spec)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def leave_checkpoint(directory, step=40):
    path = directory / f"step-{step:08d}"
    path.mkdir(parents=True)
    return path


def options(script, *words):
    return check_options(run_parser().parse_args([*map(str, words), str(script)]), cores=4)


def start_once(home, script, **fields):
    """As ``pliant run`` leaves it."""
    directory = str(home.job("train") / "checkpoints")
    spec = JobSpec(
        "train", str(script), args=["--lr", "1"], max_workers=4, checkpoints=directory, launch="old", **fields
    )
    write_launch(home, launch_here(spec, entry="module:function"))
    return spec


def resume(home, *words):
    return check_resume(home, _parser().parse_args(list(words)))


def test_a_run_gets_its_directory_from_its_name(home, script):
    client = FakeClient()
    spec = create_job(client, options(script, "--checkpoint-every", 7, "--keep", 2), home=home)
    assert (spec.checkpoints, spec.checkpoint_every, spec.keep) == (str(home.job("train") / "checkpoints"), 7, 2)
    assert client.created == [spec]


def test_a_made_up_name_takes_the_next_number(home, script):
    leave_checkpoint(home.job("train") / "checkpoints")
    spec = create_job(FakeClient("train-2"), options(script), home=home)
    assert (spec.name, spec.checkpoints) == ("train-3", str(home.job("train-3") / "checkpoints"))


@pytest.mark.parametrize("words", [["--name", "train"], ["--checkpoints", "DIR"]])
def test_checkpoints_of_an_earlier_run_are_neither_used_nor_deleted(home, script, tmp_path, words):
    directory = tmp_path / "mine" if "DIR" in words else home.job("train") / "checkpoints"
    words = [str(directory) if word == "DIR" else word for word in words]
    kept = leave_checkpoint(directory)
    client = FakeClient()
    with pytest.raises(ConfigError) as caught:
        create_job(client, options(script, *words), home=home)
    text = str(caught.value)
    assert all(
        word in text for word in (str(directory), "before step 40", "pliant resume train", "--name", "--discard")
    )
    assert client.created == []
    assert kept.exists()
    assert create_job(client, options(script, *words, "--discard"), home=home).name == "train"
    discard_checkpoints(directory)
    assert not kept.exists()


def test_a_running_job_is_what_is_in_the_way(home, script):
    leave_checkpoint(home.job("train") / "checkpoints")
    with pytest.raises(CoordinatorError, match="already running"):
        create_job(FakeClient("train"), options(script, "--name", "train"), home=home)


def test_discarding_leaves_everything_else(tmp_path):
    leave_checkpoint(tmp_path)
    (tmp_path / "notes.txt").touch()
    discard_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    discard_checkpoints(tmp_path / "nothing")


def test_the_newest_checkpoint(tmp_path):
    assert newest_checkpoint("") is None
    assert newest_checkpoint(str(tmp_path / "nothing")) is None
    leave_checkpoint(tmp_path, 5)
    assert step_of(newest_checkpoint(str(tmp_path))) == 5


def test_what_is_not_given_stays_as_it_was(home, script):
    old = start_once(home, script, start_workers=2, threads=3, keep=9, checkpoint_every=5, plan=[PlanEvent(1, kill=1)])
    leave_checkpoint(home.job("train") / "checkpoints")
    launch, chosen = resume(home, "train")
    spec = launch.spec
    assert spec.resume
    assert spec.launch not in ("", "old")
    assert (spec.min_workers, spec.max_workers, spec.start_workers) == (1, 4, 2)
    assert (spec.threads, spec.args, spec.keep, spec.checkpoint_every) == (3, ["--lr", "1"], 9, 5)
    assert (spec.plan, spec.checkpoints, spec.script) == ([], old.checkpoints, str(script))
    assert (chosen.spec, chosen.entry, chosen.discard) == (spec, "module:function", False)
    assert launch.environment == launch_here(old).environment


def test_workers_plan_and_rules_can_be_others(home, script, tmp_path):
    start_once(home, script)
    leave_checkpoint(home.job("train") / "checkpoints")
    plan = tmp_path / "plan.toml"
    plan.write_text("[[event]]\nat_step = 50\nscale = 7\n")
    words = ["--workers", "2:8", "--plan", str(plan), "--keep", "1", "--checkpoint-every", "0", "--patience", "3"]
    spec = resume(home, "train", *words)[0].spec
    assert (spec.min_workers, spec.max_workers, spec.start_workers) == (2, 8, 2)
    assert (spec.plan, spec.keep, spec.checkpoint_every, spec.patience_s) == ([PlanEvent(50, scale=7)], 1, 0, 3.0)
    assert resume(home, "train", "--start", "3")[0].spec.start_workers == 3


def test_the_strategy_may_be_another_one(home, script):
    start_once(home, script)
    leave_checkpoint(home.job("train") / "checkpoints")
    assert resume(home, "train")[0].spec.strategy == "all-reduce"
    spec = resume(home, "train", "--strategy", "parameter-server", "--servers", "2:3")[0].spec
    assert (spec.strategy, spec.min_servers, spec.max_servers, spec.copies) == ("parameter-server", 2, 3, 2)
    with pytest.raises(ConfigError, match="the strategy all-reduce has no servers"):
        resume(home, "train", "--servers", "2:3")


def test_servers_and_copies_stay_as_they_were(home, script):
    start_once(home, script, strategy="parameter-server", min_servers=2, max_servers=3, copies=1)
    leave_checkpoint(home.job("train") / "checkpoints")
    spec = resume(home, "train")[0].spec
    assert (spec.strategy, spec.min_servers, spec.max_servers, spec.copies) == ("parameter-server", 2, 3, 1)
    spec = resume(home, "train", "--copies", "2")[0].spec
    assert (spec.min_servers, spec.max_servers, spec.copies) == (2, 3, 2)
    assert resume(home, "train", "--strategy", "all-reduce")[0].spec.strategy == "all-reduce"


def test_the_limit_of_memory_stays_changes_and_ends(home, script):
    start_once(home, script, strategy="parameter-server", server_memory_bytes=5 << 20)
    leave_checkpoint(home.job("train") / "checkpoints")

    def resumed(*words):
        return resume(home, "train", *words)[0].spec.server_memory_bytes

    assert resumed() == resumed("--copies", "1") == 5 << 20
    assert resumed("--server-memory", "1GB") == 1_000_000_000
    assert resumed("--server-memory", "none") is None
    assert resumed("--strategy", "all-reduce") is None


def test_staleness_stays_changes_and_ends(home, script):
    start_once(home, script, strategy="parameter-server", staleness=4)
    leave_checkpoint(home.job("train") / "checkpoints")

    def resumed(*words):
        return resume(home, "train", *words)[0].spec.staleness

    assert resumed() == resumed("--copies", "1") == 4
    assert resumed("--staleness", "none") == UNBOUNDED
    assert resumed("--staleness", "sync") is None
    assert resumed("--strategy", "all-reduce") is None
    with pytest.raises(ConfigError, match="--staleness 3: the strategy all-reduce has no servers"):
        resumed("--strategy", "all-reduce", "--staleness", "3")


def test_a_report_to_compare_with_is_read_first(home, script, tmp_path):
    start_once(home, script)
    leave_checkpoint(home.job("train") / "checkpoints")
    words = ["--report", str(tmp_path / "r.json"), "--compare", str(tmp_path / "none.json")]
    with pytest.raises(ConfigError, match=r"none.json cannot be read: No such file"):
        resume(home, "train", *words)


def test_all_problems_at_once(home, script):
    start_once(home, script)
    script.unlink()
    with pytest.raises(ConfigError) as caught:
        resume(home, "train", "--workers", "3:1", "--keep", "0", "--checkpoint-every", "x")
    text = "\n".join(caught.value.problems)
    for part in (
        "has left no checkpoint in",
        "does not exist any more",
        "MIN is above MAX",
        "--keep 0",
        "--checkpoint-every x",
    ):
        assert part in text


def test_an_unknown_job_is_not_found(home):
    with pytest.raises(CoordinatorError, match="was ever started") as caught:
        resume(home, "nobody")
    assert caught.value.status == 404


def test_directories_that_cannot_be(script, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not a directory"):
        options(script, "--checkpoints", tmp_path / "file" / "below")
    with pytest.raises(ConfigError, match="--checkpoint-every -1"):
        options(script, "--checkpoint-every=-1")


def test_a_job_with_tables_does_not_go_on_without_servers(home, script):
    start_once(home, script, strategy="parameter-server")
    model = torch.nn.ModuleDict({name: Embedding(name, 2, optimizer=RowSGD(lr=0.1)) for name in ("users", "tags")})
    position = dict.fromkeys(("call", "step_of_call", "passes", "epoch", "samples"), 0) | {"loss": None, "ended": []}
    snapshot = take_snapshot({"model": model}, position | {"step": 40}, job="train", staging=Staging())
    write_checkpoint(home.job("train") / "checkpoints", snapshot, keep=1)
    leave_checkpoint(home.job("train") / "checkpoints", 50)  # without files: the one before it is taken
    with pytest.raises(ConfigError) as caught:
        resume(home, "train", "--strategy", "all-reduce")
    [text] = caught.value.problems
    assert "--strategy all-reduce: job train has the tables tags, users" in text
    assert resume(home, "train")[0].spec.strategy == "parameter-server"
