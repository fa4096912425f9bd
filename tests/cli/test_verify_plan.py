"""From synthetic traces to the first difference and its cause; and the plan of the disturbed run."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.cli.verify_causes import TEXTS, describe
from pliant.cli.verify_plan import diagnose, disturbances, first_difference, needs_second
from pliant.cli.verify_traces import Run, gather, read_run
from pliant.control.spec_plan import check_spec
from pliant.wire.api import JobSpec
from pliant.wire.trace import TraceEntered, TraceMean, TraceNames, TraceShard, TraceState

NAMES = ["model.weight", "model.bias", "the numbers of optimizer"]
SHARDS = 4
STEPS = 6


class Story:
    """What the workers of a run write down, if nothing is wrong; ``change`` says what is."""

    def __init__(self, *, workers=("w1",), joins=None, steps=STEPS, stream=False):
        self.joins = dict.fromkeys(workers, 0) | (joins or {})
        self.steps, self.stream = steps, stream
        self.states, self.shards, self.means = {}, {}, {}
        self.threads, self.changed, self.between = {}, {}, {}

    def state(self, step, name, *, on=None, value="bad"):
        """From ``step`` on, ``name`` has another value."""
        for at in range(step, self.steps + 1):
            for worker in [on] if on else self.joins:
                self.states[at, worker, name] = value
        return self

    def shard(self, step, shard, **fields):
        self.shards[step, shard] = fields
        return self

    def run(self):
        lines = {worker: self._of(worker, at) for worker, at in self.joins.items()}
        return gather(lines)

    def _of(self, worker, joined):
        yield TraceEntered(joined, 1, list(self.joins), newcomer=joined > 0)
        yield TraceNames(NAMES)
        threads = self.threads.get(worker, 1)
        for step in range(joined, self.steps + 1):
            digests = [self.states.get((step, worker, name), f"{name} {step}") for name in NAMES]
            yield TraceState(step, digests, threads, self.between.get(step, []))
            if step == self.steps:
                return
            there = sorted((name for name, at in self.joins.items() if at <= step), key=lambda name: int(name[1:]))
            for shard in range(SHARDS):
                if there[shard * len(there) // SHARDS] == worker:
                    yield self._shard(step, shard, threads)
            yield TraceMean(step, 0, self.means.get(step, f"gradient {step}"))

    def _shard(self, step, shard, threads):
        usual = {"batch": f"batch {step} {shard}", "loss": f"loss {step} {shard}", "drawn": "", "threads": threads}
        fields = usual | {"stream": self.stream, "changed": self.changed.get((step, shard), [])}
        return TraceShard(step, 0, shard, **(fields | self.shards.get((step, shard), {})))


ALONE = Story().run()


def disturbed(**options):
    """Two founders, and one more from step 3 on. w1 has shards 0 and 1, w2 the others; later w3 has shard 3."""
    return Story(workers=("w1", "w2"), joins={"w3": 3}, **options)


def test_nothing_differs():
    found = diagnose(ALONE, disturbed().run())
    assert found.passed
    assert found.difference is None
    assert describe(found) == []
    assert not needs_second(ALONE, disturbed().run())
    assert diagnose(ALONE, disturbed().run(), ALONE).passed


def test_unseeded():
    run = disturbed().state(0, "model.bias").run()
    found = diagnose(ALONE, run)
    assert (found.cause, found.difference.where, found.difference.tensor) == ("unseeded", "initial", "model.bias")
    assert not needs_second(ALONE, run), "it is clear already"
    text = "\n".join(describe(found))
    assert "model.bias, before step 0" in text
    assert "torch.manual_seed" in text


def test_a_founder_that_differs_at_once_counts_batches():
    story = disturbed().shard(0, 2, loss="other").state(1, "model.weight")
    story.changed[0, 2] = ["calls"]
    found = diagnose(ALONE, story.run(), ALONE)
    assert (found.cause, found.difference.where) == ("counts-batches", "loss")
    assert (found.difference.step, found.difference.shard, found.difference.workers) == (0, 2, ("w2",))
    assert found.state == (1, "model.weight")
    text = "\n".join(describe(found))
    assert "the loss of shard 2 of step 0 on w2" in text
    assert "model.weight, before step 1" in text
    assert "calls (not tracked)" in text


def test_a_newcomer_that_differs_has_lost_something():
    story = disturbed().shard(3, 3, loss="other").state(4, "model.weight")
    plain = Story()
    plain.between = {1: ["size"], 2: ["size"]}
    found = diagnose(plain.run(), story.run(), plain.run())
    assert (found.cause, found.difference.workers) == ("lost-at-join", ("w3",))
    assert found.difference.changed == ("size",), "the name of what the loop's body changed before"
    assert "w3, which had joined" in "\n".join(describe(found))


def test_a_newcomer_and_an_old_worker_that_differ_have_lost_nothing():
    story = disturbed().shard(3, 0, loss="other").shard(3, 3, loss="other")
    assert diagnose(ALONE, story.run(), ALONE).cause == "counts-batches"


def test_a_newcomer_that_differs_only_later_has_still_lost_something():
    assert diagnose(ALONE, disturbed().shard(5, 3, loss="other").run(), ALONE).cause == "lost-at-join"


def test_an_own_generator():
    story = disturbed().shard(1, 3, batch="other")
    story.changed[1, 3] = ["dataset.rng (random generator)"]
    found = diagnose(ALONE, story.run(), ALONE)
    assert (found.cause, found.difference.where) == ("own-generator", "batch")
    story = disturbed().shard(1, 3, loss="other")
    story.changed[1, 3] = ["rng (random generator)"]
    assert diagnose(ALONE, story.run(), ALONE).cause == "own-generator"


def test_data_that_depends_on_the_worker_and_data_that_is_another_one_each_time():
    run = disturbed().shard(2, 3, batch="other", loss="other").run()
    assert needs_second(ALONE, run)
    assert diagnose(ALONE, run, ALONE).cause == "data-depends"
    again = Story().shard(1, 0, batch="other").run()
    found = diagnose(ALONE, run, again)
    assert (found.cause, found.difference.step, found.repeated) == ("data-varies", 1, False)


@pytest.mark.parametrize("where", ["loss", "gradient", "update"])
def test_what_two_undisturbed_runs_have_as_well_is_not_deterministic(where):
    stories = disturbed(), Story()
    for story in stories:
        if where == "loss":
            story.shard(2, 1, loss=f"other {id(story)}")
        elif where == "gradient":
            story.means[2] = f"other {id(story)}"
        else:
            story.state(3, "model.bias", value=f"other {id(story)}")
    found = diagnose(ALONE, stories[0].run(), stories[1].run())
    assert (found.cause, found.difference.where, found.difference.step) == ("nondeterministic", where, 2)


def test_not_deterministic_although_the_disturbed_run_was_lucky():
    again = Story().shard(4, 1, loss="other").state(5, "model.bias").run()
    found = diagnose(ALONE, disturbed().run(), again)
    assert (found.cause, found.state) == ("nondeterministic", (5, "model.bias"))


def test_a_gradient_alone():
    story = disturbed()
    story.means[2] = "other"
    story.state(3, "model.weight")
    found = diagnose(ALONE, story.run(), ALONE)
    assert (found.cause, found.difference.where, found.state) == ("counts-batches", "gradient", (3, "model.weight"))


@pytest.mark.parametrize(("worker", "cause"), [("w2", "loop-body"), ("w3", "lost-at-join")])
def test_an_update_alone(worker, cause):
    run = disturbed().state(5, "model.weight", on=worker).run()
    found = diagnose(ALONE, run, ALONE)
    assert (found.cause, found.difference.where, found.difference.step) == (cause, "update", 4)
    assert found.difference.workers == (worker,)
    assert f"model.weight after step 4 on {worker}" in "\n".join(describe(found))


@pytest.mark.parametrize("where", ["loss", "gradient", "nothing"])
def test_other_threads(where):
    story = disturbed()
    story.threads["w2"] = 4
    if where == "loss":
        story.shard(1, 2, loss="other")
    elif where == "gradient":
        story.means[1] = "other"
    run = story.run()
    found = diagnose(ALONE, run)
    assert found.cause == "threads"
    assert not needs_second(ALONE, run)
    assert (found.difference is None) == (where == "nothing"), "identical by luck is no pass either"
    if where != "nothing":
        assert "(4 threads there, 1 otherwise)" in "\n".join(describe(found))


def same_in_all_shards(story):
    for step in range(STEPS):
        for shard in range(SHARDS):
            story.shard(step, shard, batch=f"batch {step}")
    return story.run()


def test_a_stream_that_ignores_its_shard():
    alone, run = (same_in_all_shards(story) for story in (Story(stream=True), disturbed(stream=True)))
    found = diagnose(alone, run)
    assert (found.cause, found.difference) == ("stream", None)
    assert "ignores its shard" in "\n".join(describe(found))


def test_equal_samples_of_a_map_style_dataset_and_a_stream_that_repeats_itself_once_are_no_mistake():
    assert diagnose(same_in_all_shards(Story()), same_in_all_shards(disturbed())).passed
    alone, run = Story(stream=True), disturbed(stream=True)
    for story in (alone, run):
        story.shard(0, 0, batch="same").shard(0, 1, batch="same")
    assert diagnose(alone.run(), run.run()).passed


def test_a_shard_that_was_computed_twice_counts_on_each_worker():
    run = disturbed().run()
    line = run.shards[2, 0][1]["w1"]
    run.shards[2, 0][1]["w9"] = msgspec.structs.replace(line, loss="other")
    found = first_difference(ALONE, run)
    assert (found.where, found.shard, found.workers) == ("loss", 1, ("w9",))


def test_a_tensor_that_only_one_of_them_has():
    run = disturbed().run()
    state = run.states[3]["w2"]
    run.states[3]["w2"] = type(state)({**state.digests, "optimizer's state": "new"}, 1)
    assert first_difference(ALONE, run).tensor == "optimizer's state"


def test_every_cause_has_a_text_with_advice():
    assert all(text.title and text.advice for text in TEXTS.values())


@given(
    where=st.sampled_from(["state", "batch", "loss", "mean"]),
    step=st.integers(0, STEPS - 1),
    shard=st.integers(0, SHARDS - 1),
    worker=st.sampled_from(["w1", "w2"]),
)
def test_whatever_differs_is_found_in_its_step_and_has_a_cause(where, step, shard, worker):
    story = disturbed()
    if where == "state":
        story.state(step, "model.weight", on=worker)
    elif where == "mean":
        story.means[step] = "other"
    else:
        story.shard(step, shard, **{where: "other"})
    found = diagnose(ALONE, story.run(), ALONE)
    assert found.difference.step == (max(0, step - 1) if where == "state" else step)
    assert found.cause is not None
    assert not found.passed
    assert describe(found)


def test_empty_traces_are_not_taken_for_a_difference():
    assert first_difference(Run(), Run()) is None


def test_traces_from_files_with_a_last_line_that_is_not_whole(tmp_path):
    for worker, lines in {"w2": [TraceNames(["a"]), TraceState(0, ["x"], 1)], "w10": [TraceNames(["a"])]}.items():
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        (tmp_path / f"trace-{worker}.jsonl").write_bytes(text + b'{"type": "TraceSta')
    run = read_run(tmp_path)
    assert run.states[0]["w2"].digests == {"a": "x"}
    assert list(run.states) == [0]


@given(steps=st.integers(6, 500), most=st.integers(2, 8))
def test_the_plan_of_the_disturbed_run(steps, most):
    plan = disturbances(steps, most)
    check_spec(JobSpec(name="x", script="x", max_workers=most, start_workers=2, plan=plan))
    assert all(0 < event.at_step < steps for event in plan)
    assert [event.at_step for event in plan] == sorted({event.at_step for event in plan})
    if steps >= 18:
        kinds = {name for event in plan for name in ("scale", "kill", "leave") if getattr(event, name)}
        assert kinds == {"scale", "kill", "leave"}
