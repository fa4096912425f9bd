"""What ``pliant verify`` promises: a clean script is identical, and each planted cause is found and named."""

import json
import os
import sys
from pathlib import Path

import pytest

from pliant.cli.verify_plan import diagnose
from pliant.cli.verify_traces import read_run

SCRIPTS = Path(__file__).parent / "verify_scripts"
ALL = "PLIANT_TEST_EVERY_PLANT"
"""Set it to have every plant run through the whole of ``pliant verify`` (twenty jobs, minutes)."""

CAUSES = {
    "unseeded": "unseeded",
    "own generator": "own-generator",
    "untracked": "lost-at-join",
    "counter": "counts-batches",
    "rough kernel": "nondeterministic",
    "stream": "stream",
    "threads": "threads",
}


@pytest.fixture(scope="module")
def crews(tmp_path_factory):
    """Traces of every plant but the one that needs a join: of one worker, of one again, and of two."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
    from static_crew import Template  # noqa: PLC0415 - lives beside other tests

    directory = tmp_path_factory.mktemp("crews")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERIFY_CREW_TRACES", str(directory))
        template = Template()
    names = ["nothing", *(plant.replace(" ", "_") for plant in CAUSES if plant != "untracked")]
    try:
        for size in (1, 1, 2):
            for worker in template.run(size, "verify_crew", names):
                problems = {name: text for name, (kind, text) in worker.items() if kind != "ok"}
                assert not problems, "\n".join(problems.values())
    finally:
        template.close()
    return directory


@pytest.mark.parametrize("plant", ["", *(plant for plant in CAUSES if plant != "untracked")])
def test_each_plant_has_its_cause_in_real_traces(crews, plant):
    where = crews / plant.replace(" ", "-")
    alone, again, two = (read_run(where / name) for name in ("1", "1-again", "2"))
    assert len(alone.states) == len(two.states) == 5, "the state before each of four steps, and behind the last"
    assert set(two.states[4]) == {"w1", "w2"}
    found = diagnose(alone, two, again)
    assert found.cause == CAUSES.get(plant)
    names = {"own generator": "generator (random generator)", "counter": "calls"}
    if plant in names:
        assert names[plant] in found.difference.changed
    if plant == "threads":
        assert found.difference is None or found.difference.threads == (1, 2)


def verify(lab, *words):
    """Run the verb; returns what it printed and its exit code."""
    done = lab("verify", *words)
    return done, done.returncode


def test_a_clean_script_is_identical(lab, tmp_path):
    traces = tmp_path / "traces"
    done, code = verify(lab, "--steps", 24, "--json", "--keep-traces", traces, SCRIPTS / "script.py")
    assert code == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["identical"]
    assert verdict["cause"] is None
    assert verdict["steps"] == 24
    assert min(verdict["joined"], verdict["killed"], verdict["left"]) >= 1
    assert verdict["explanation"] == []
    assert done.stderr.count("verify: 24 steps in") == 2
    storm = read_run(traces / "traces-disturbed")
    assert len(storm.entered) >= 5, "two founders, one that joined, two replacements"
    assert max(len(workers) for workers in storm.states.values()) == 3
    assert read_run(traces / "traces-undisturbed").states.keys() == storm.states.keys()


@pytest.mark.parametrize(
    "plant",
    [
        plant
        if plant == "untracked"
        else pytest.param(plant, marks=pytest.mark.skipif(ALL not in os.environ, reason=f"{ALL} is not set"))
        for plant in CAUSES
    ],
)
def test_each_plant_is_caught_by_the_command(lab, plant):
    done, code = verify(lab, "--steps", 10, SCRIPTS / "script.py", "--plant", plant)
    assert code == 7, done.stderr
    assert done.stdout.startswith("identical, but" if plant == "stream" else "not identical: the runs differ from step")
    words = {
        "unseeded": ["unseeded randomness before training", "model.0.weight, before step 0"],
        "own generator": ["random numbers are drawn outside the shard's streams", "generator (random generator)"],
        "untracked": ["an untracked piece of state", "which had joined", "model.2.size", "model.0.weight, before step"],
        "counter": ["a global counter", "calls (not tracked)"],
        "rough kernel": ["something is not deterministic"],
        "stream": ["the dataset ignores its shard"],
        "threads": ["different numbers of intra-op threads"],
    }
    for text in words[plant]:
        assert text in done.stdout
    assert "what to do:" in done.stdout
