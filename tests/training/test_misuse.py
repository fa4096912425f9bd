"""Every mistake in a training loop gets one clear error that names the place and the way out."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from loops import Points, cross_entropy, loader, mlp
from torch import nn

import pliant
from pliant.errors import ConfigError, NonFiniteLossError, UsageError
from pliant.transfer.fingerprint import weights_sha256


@pytest.fixture
def model():
    return mlp()


@pytest.fixture
def optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.fixture
def job(model, optimizer):
    made = pliant.join(model=model, optimizer=optimizer)
    yield made
    made.close()


def first_shard(job):
    """The first step and its inner loop; the outer loop is kept from being closed."""
    job.outer_loop = job.steps(loader())
    step = next(job.outer_loop)
    return step, iter(step)


def test_backward_left_out(job):
    _, shards = first_shard(job)
    next(shards)
    with pytest.raises(UsageError, match=r"backward was not called in shard 0 of step 0: call step\.backward\(loss\)"):
        next(shards)


def test_backward_twice(job, model):
    step, shards = first_shard(job)
    x, y = next(shards)
    step.backward(F.cross_entropy(model(x), y))
    with pytest.raises(UsageError, match=r"called 2 times in shard 0 of step 0.*iterate `step` once more"):
        step.backward(F.cross_entropy(model(x), y))


def test_backward_outside_the_inner_loop(job, model):
    step, shards = first_shard(job)
    for x, y in shards:
        loss = F.cross_entropy(model(x), y)
        step.backward(loss)
    with pytest.raises(UsageError, match="outside the inner loop"):
        step.backward(loss)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda model, x, y: F.cross_entropy(model(x), y, reduction="none"), r"shape \(2,\).*loss\.mean\(\)"),
        (lambda model, x, y: F.cross_entropy(model(x), y).detach(), "depends on no parameter.*detached"),
        (lambda model, x, y: F.cross_entropy(model(x), y).item(), "wants a tensor, got float in shard 0 of step 0"),
        (lambda model, x, y: None, "wants a tensor, got NoneType"),
    ],
)
def test_a_loss_that_is_none(job, model, loss, said):
    step, shards = first_shard(job)
    x, y = next(shards)
    with pytest.raises(UsageError, match=said):
        step.backward(loss(model, x, y))


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), torch.tensor(-0.5)])
def test_a_weight_that_is_none(job, model, weight):
    step, shards = first_shard(job)
    x, y = next(shards)
    with pytest.raises(UsageError, match="finite number of at least 0"):
        step.backward(F.cross_entropy(model(x), y), weight=weight)


def test_weights_that_are_all_zero(job, model):
    with pytest.raises(UsageError, match="all weights of step 0 are 0"):  # noqa: PT012
        for step in job.steps(loader()):
            for x, y in step:
                step.backward(F.cross_entropy(model(x), y), weight=0)


def test_a_loss_of_shape_one_is_a_scalar(job, model):
    step, shards = first_shard(job)
    x, y = next(shards)
    step.backward(F.cross_entropy(model(x), y).reshape(1))
    next(shards)


def test_optimizer_step_inside_the_inner_loop(job, model, optimizer):
    step, shards = first_shard(job)
    x, y = next(shards)
    step.backward(F.cross_entropy(model(x), y))
    before = weights_sha256({"model": model})
    with pytest.raises(
        UsageError, match=r"optimizer\.step\(\) was called before the inner loop had ended, in shard 0 of step 0"
    ):
        optimizer.step()
    assert weights_sha256({"model": model}) == before


def test_the_inner_loop_left_early(job, model):
    with pytest.raises(UsageError, match="step 0 was left before all its batches were done"):  # noqa: PT012
        for step in job.steps(loader()):
            for x, y in step:
                step.backward(F.cross_entropy(model(x), y))
                break


def test_the_inner_loop_left_early_and_the_optimizer_after_it(job, model, optimizer):
    with pytest.raises(UsageError, match=r"optimizer\.step\(\).* run to its end, without a break"):  # noqa: PT012
        for step in job.steps(loader()):
            for x, y in step:
                step.backward(F.cross_entropy(model(x), y))
                break
            optimizer.step()


def test_a_step_that_is_never_iterated(job):
    with pytest.raises(UsageError, match="step 0 was never iterated: write `for batch in step:`"):
        list(job.steps(loader()))


def test_a_step_iterated_within_itself(job, model):
    step, shards = first_shard(job)
    next(shards)
    with pytest.raises(UsageError, match="already being iterated"):
        next(iter(step))


@pytest.mark.parametrize("call", ["steps", "evaluate"])
def test_calls_within_the_body_of_a_step(job, model, call):
    for _ in job.steps(loader()):
        with pytest.raises(UsageError, match="cannot be called inside the body of a step"):
            next(job.steps(loader())) if call == "steps" else job.evaluate(loader(), lambda batch: 0.0)
        break


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ({"epochs": 0}, ["epochs=0: it must be at least 1"]),
        ({"epochs": -1, "steps": 0}, ["epochs=-1: it must be at least 1", "steps=0: it must be at least 1"]),
    ],
)
def test_lengths_that_are_none(job, lengths, said):
    with pytest.raises(ConfigError) as caught:
        next(job.steps(loader(), **lengths))
    assert caught.value.problems == said


def test_join_without_a_module_and_with_things_without_state():
    with pytest.raises(ConfigError) as caught:
        pliant.join(step=3, rate=object())
    assert len(caught.value.problems) == 3
    assert "join(step=...) got int" in caught.value.problems[0]
    assert "at least one torch.nn.Module" in caught.value.problems[2]


def test_join_with_an_unknown_choice(model):
    with pytest.raises(ConfigError, match='on_nonfinite="explode": choose "stop", "skip" or "continue"'):
        pliant.join(model=model, on_nonfinite="explode")


def test_sparse_gradients():
    model = nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Linear(4, 3))
    job = pliant.join(model=model)
    with pytest.raises(UsageError, match=r"model\.0\.weight has a sparse gradient.*sparse=False"):  # noqa: PT012
        for step in job.steps(loader()):
            for _, y in step:
                step.backward(F.cross_entropy(model(y), y))
    job.close()


def train_with_bad_step(model, optimizer, choice, bad):
    job = pliant.join(model=model, optimizer=optimizer, on_nonfinite=choice)
    seen = {}
    for step in job.steps(loader(), epochs=1):
        for x, y in step:
            loss = F.cross_entropy(model(x), y)
            step.backward(loss * bad if step.number == 1 else loss)
        seen[step.number] = (weights_sha256({"model": model}), step.loss)
        optimizer.step()
        optimizer.zero_grad()
    job.close()
    return seen, weights_sha256({"model": model})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_nonfinite_loss_stops_before_any_weight_is_changed(model, optimizer, bad):
    with pytest.raises(NonFiniteLossError, match=r'loss of step 1 is -?(nan|inf).*on_nonfinite="skip"\) or "continue"'):
        train_with_bad_step(model, optimizer, "stop", bad)
    assert all(bool(param.isfinite().all()) for param in model.parameters())


def test_a_nonfinite_loss_is_skipped(model, optimizer):
    seen, after = train_with_bad_step(model, optimizer, "skip", float("nan"))
    assert seen[1][1] != seen[1][1]
    assert seen[2][0] == seen[1][0], "the step was not skipped"
    assert after != seen[2][0]


def test_a_nonfinite_loss_goes_on(model, optimizer):
    train_with_bad_step(model, optimizer, "continue", float("nan"))
    assert any(bool(param.isnan().any()) for param in model.parameters())


def test_reentrant_checkpointing_names_the_way_out(job, model):
    def loss_of(x, y):
        x.requires_grad_()
        once = torch.utils.checkpoint.checkpoint(model, x, use_reentrant=True)
        return F.cross_entropy(once + torch.utils.checkpoint.checkpoint(model, x, use_reentrant=True), y)

    with pytest.raises(UsageError, match="use_reentrant=False"):  # noqa: PT012
        for step in job.steps(loader()):
            for x, y in step:
                step.backward(loss_of(x, y))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda batch: "high", "must return a number.*returned str"),
        (lambda batch: batch[0], "must return a number.*returned Tensor"),
        (lambda batch: {"a": 1.0, "b": None}, "returned dict"),
    ],
)
def test_an_evaluation_function_that_returns_no_number(job, function, said):
    with pytest.raises(UsageError, match=said):
        job.evaluate(loader(), function)


def test_an_evaluation_function_that_changes_its_mind(job):
    answers = iter([{"a": 1.0}, {"b": 1.0}])
    with pytest.raises(UsageError, match=r"returned \['b'\], before that \['a'\]"):
        job.evaluate(loader(), lambda batch: next(answers))


def test_evaluation_is_the_mean_over_samples_and_puts_the_modes_back(job, model):
    model[1].eval()
    seen = []

    def value(batch):
        seen.append((model.training, torch.is_grad_enabled()))
        return batch[1].float().mean()

    data = Points(27)
    found = job.evaluate(loader(data, batch_size=8, shards=4), value)
    assert found == pytest.approx(float(data.y.float().mean()))
    assert set(seen) == {(False, False)}
    assert model.training
    assert not model[1].training


def test_losses_before_and_after_the_inner_loop(job, model):
    for step in job.steps(loader(), steps=1):
        assert step.loss != step.loss
        assert step.losses == []
        assert step.is_main
        for batch in step:
            step.backward(cross_entropy(model)(batch))
        assert step.losses == [step.loss]
        assert step.loss == step.loss


def test_one_worker_trains_as_plain_torch_does(job, model, optimizer):
    """Not bit for bit: plain torch adds up in another order."""
    twin = mlp()
    plain = torch.optim.SGD(twin.parameters(), lr=0.1)
    data = Points(37)
    order = []
    for step in job.steps(loader(data, shuffle=False, batch_size=16)):
        for x, y in step:
            order.append(x)
            step.backward(F.cross_entropy(model(x), y))
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(torch.cat(order), data.x)
    for start in range(0, 37, 16):
        F.cross_entropy(twin(data.x[start : start + 16]), data.y[start : start + 16]).backward()
        plain.step()
        plain.zero_grad()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
