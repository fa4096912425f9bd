import copy

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pliant.errors import ConfigError, StateError
from pliant.transfer.capture import capture, check_tracked, restore
from pliant.transfer.fingerprint import weights_sha256
from pliant.transfer.spec import decode, encode


def travel(tracked):
    """Capture, encode, copy the bytes, decode: what another worker has in its hands."""
    meta, tensors = encode(capture(tracked))
    return decode(meta, [tensor.clone() for tensor in tensors])


def frozen(tracked):
    """The whole state as comparable bytes."""
    meta, tensors = encode(capture(tracked))
    return meta, [tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors]


class Net(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.first = nn.Linear(4, 6, dtype=dtype)
        self.norm = nn.BatchNorm1d(6, dtype=dtype)
        self.second = nn.Linear(6, 3, dtype=dtype)
        self.unused = nn.Linear(2, 2, dtype=dtype)
        self.frozen = nn.Parameter(torch.randn(3, dtype=dtype), requires_grad=False)
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    def forward(self, x):
        self.cache = self.cache + 1  # replaces the object, as many modules do
        return self.second(torch.relu(self.norm(self.first(x)))) + self.frozen


def step(tracked, number):
    model, optimizer = tracked["model"], tracked["optimizer"]
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(number)).to(model.first.weight.dtype)

    def closure():
        optimizer.zero_grad()
        loss = model(x).float().square().mean()
        if "scaler" in tracked:
            tracked["scaler"].scale(loss).backward()
        else:
            loss.backward()
        return loss

    if isinstance(optimizer, torch.optim.LBFGS):
        loss = optimizer.step(closure)
    else:
        loss = closure()
        if "scaler" in tracked:
            tracked["scaler"].step(optimizer)
            tracked["scaler"].update()
        else:
            optimizer.step()
    scheduler = tracked.get("scheduler")
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        scheduler.step(loss.detach())
    elif scheduler is not None:
        scheduler.step()
    if "average" in tracked:
        tracked["average"].update_parameters(model)


def continues_alike(build, *, steps=5):
    """A newcomer that has done something else takes over the state, and both go on with the same bits."""
    torch.manual_seed(0)
    survivor = build()
    for number in range(steps):
        step(survivor, number)
    torch.manual_seed(1)
    newcomer = build()
    for number in range(50, 52):
        step(newcomer, number)
    assert frozen(newcomer) != frozen(survivor)
    restore(newcomer, travel(survivor))
    assert frozen(newcomer) == frozen(survivor)
    for number in range(steps, 2 * steps):
        step(survivor, number)
        step(newcomer, number)
        assert frozen(newcomer) == frozen(survivor)


def with_optimizer(make, dtype=torch.float32):
    def build():
        model = Net(dtype)
        return {"model": model, "optimizer": make(model.parameters())}

    return build


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, amsgrad=True),
    "adamw-tensor-lr": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01), foreach=False),
    "adamw-fused": lambda p: torch.optim.AdamW(p, fused=True),
    "adagrad": torch.optim.Adagrad,
    "rmsprop": lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.5),
    "radam": torch.optim.RAdam,
    "nadam": torch.optim.NAdam,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "adafactor": torch.optim.Adafactor,
    "lbfgs": lambda p: torch.optim.LBFGS([q for q in p if q.requires_grad], max_iter=3, history_size=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_continue_bit_for_bit(name):
    continues_alike(with_optimizer(OPTIMIZERS[name]))


class Fp32Moments(torch.optim.Optimizer):
    """Momentum in float32 beside bfloat16 parameters, with a nested state."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    moments = state.setdefault("moments", [torch.zeros(parameter.shape, dtype=torch.float32), 0])
                    moments[0].mul_(0.9).add_(parameter.grad.float())
                    moments[1] += 1
                    parameter.sub_((group["lr"] * moments[0]).to(parameter.dtype))


def test_float32_state_of_bfloat16_parameters_keeps_its_bits():
    build = with_optimizer(Fp32Moments, torch.bfloat16)
    continues_alike(build)
    survivor, newcomer = build(), build()
    for number in range(3):
        step(survivor, number)
    restore(newcomer, travel(survivor))
    parameter = newcomer["model"].first.weight
    found = newcomer["optimizer"].state[parameter]["moments"][0]
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.to(torch.bfloat16).float()), "the lower bits must matter in this test"


def test_parameter_groups_and_their_options_survive():
    def build():
        model = Net()
        groups = [
            {"params": model.first.parameters(), "lr": 0.5, "weight_decay": 0.1},
            {"params": [*model.norm.parameters(), *model.second.parameters()]},
        ]
        return {"model": model, "optimizer": torch.optim.AdamW(groups, lr=0.01)}

    survivor = build()
    survivor["optimizer"].param_groups[0]["lr"] = 0.125
    survivor["optimizer"].param_groups[1]["note"] = "mine"
    step(survivor, 0)
    newcomer = build()
    restore(newcomer, travel(survivor))
    assert newcomer["optimizer"].param_groups[0]["lr"] == 0.125
    assert newcomer["optimizer"].param_groups[1]["note"] == "mine"
    assert newcomer["optimizer"].param_groups[0]["params"][0] is newcomer["model"].first.weight
    continues_alike(build)


def test_a_tensor_learning_rate_stays_the_same_object():
    survivor, newcomer = (with_optimizer(OPTIMIZERS["adamw-tensor-lr"])() for _ in range(2))
    survivor["optimizer"].param_groups[0]["lr"].fill_(0.75)
    mine = newcomer["optimizer"].param_groups[0]["lr"]
    restore(newcomer, travel(survivor))
    assert newcomer["optimizer"].param_groups[0]["lr"] is mine
    assert mine.item() == 0.75


SCHEDULERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "multistep": lambda o: lr_scheduler.MultiStepLR(o, [2, 6], 0.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    "onecycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=20),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3, cycle_momentum=False),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda n: 0.9**n),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=10.0),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[3]
    ),
    "chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, total_iters=4), lr_scheduler.ExponentialLR(o, 0.9)], optimizer=o
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("tensor_lr", [False, True])
def test_schedulers_continue_bit_for_bit(name, tensor_lr):
    def build():
        model = Net()
        lr = torch.tensor(0.1) if tensor_lr else 0.1
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, foreach=False)
        return {"model": model, "optimizer": optimizer, "scheduler": SCHEDULERS[name](optimizer)}

    continues_alike(build)


@pytest.mark.parametrize("average", [None, get_ema_multi_avg_fn(0.9)])
def test_averaged_models_continue_bit_for_bit(average):
    def build():
        model = Net()
        averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=average is not None)
        return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "average": averaged}

    continues_alike(build)


def test_a_gradient_scaler_continues_bit_for_bit():
    def build():
        model = Net()
        return {
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
            "scaler": torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3),
        }

    continues_alike(build)


class Counter:
    def __init__(self):
        self.seen = {}

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_a_class_of_the_users_own_is_tracked():
    survivor, newcomer = {"counter": Counter()}, {"counter": Counter()}
    survivor["counter"].seen = {(1, "a"): {2, 3}}
    restore(newcomer, travel(survivor))
    assert newcomer["counter"].seen == {(1, "a"): {2, 3}}


def test_restoring_is_in_place_and_takes_gradients_along():
    survivor, newcomer = Net(), Net()
    survivor(torch.randn(4, 4)).sum().backward()
    newcomer.unused.weight.grad = torch.ones(2, 2)
    pointers = [parameter.data_ptr() for parameter in newcomer.parameters()]
    norm = newcomer.norm.running_mean
    restore({"model": newcomer}, travel({"model": survivor}))
    assert [parameter.data_ptr() for parameter in newcomer.parameters()] == pointers
    assert newcomer.norm.running_mean is norm
    assert newcomer.unused.weight.grad is None
    assert torch.equal(newcomer.first.weight.grad, survivor.first.weight.grad)
    assert newcomer.first.weight.requires_grad
    assert not newcomer.frozen.requires_grad
    assert torch.equal(newcomer.cache, torch.ones(2))
    assert newcomer.training


def test_training_mode_is_the_scripts_own():
    survivor, newcomer = Net(), Net()
    survivor.eval()
    restore({"model": newcomer}, travel({"model": survivor}))
    assert newcomer.training


def test_tied_weights_stay_tied():
    def tied():
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    survivor, newcomer = tied(), tied()
    restore({"model": newcomer}, travel({"model": survivor}))
    assert newcomer[1].weight is newcomer[0].weight
    assert weights_sha256({"m": newcomer}) == weights_sha256({"m": survivor})


class Shifty(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2))
        self.register_buffer("later", None)
        self.register_buffer("gone", torch.ones(2))
        self.register_buffer("grows", torch.ones(2), persistent=False)
        self.inner = nn.Identity()


def test_buffers_that_come_go_grow_and_appear():
    survivor, newcomer = Shifty(), Shifty()
    survivor.later = torch.arange(3)
    survivor.gone = None
    survivor.grows = torch.zeros(5, dtype=torch.float64)
    survivor.inner.register_buffer("made", torch.full((2,), 7.0), persistent=False)
    newcomer.inner.register_buffer("stale", torch.zeros(1), persistent=False)
    restore({"model": newcomer}, travel({"model": survivor}))
    assert newcomer.later.tolist() == [0, 1, 2]
    assert newcomer.gone is None
    assert torch.equal(newcomer.grows, survivor.grows)
    assert newcomer.inner.made.tolist() == [7.0, 7.0]
    assert not hasattr(newcomer.inner, "stale")
    assert list(newcomer.state_dict()) == list(survivor.state_dict())
    assert frozen({"model": newcomer}) == frozen({"model": survivor})


class WithExtra(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.extra = 0

    def get_extra_state(self):
        return {"extra": self.extra}

    def set_extra_state(self, state):
        self.extra = state["extra"]


def test_extra_state_of_inner_modules_travels():
    survivor, newcomer = nn.Sequential(WithExtra()), nn.Sequential(WithExtra())
    survivor[0].extra = 5
    restore({"model": newcomer}, travel({"model": survivor}))
    assert newcomer[0].extra == 5


def refused(newcomer, survivor):
    before = frozen(newcomer)
    with pytest.raises(StateError) as caught:
        restore(newcomer, travel(survivor))
    assert frozen(newcomer) == before, "a refusal leaves everything as it was"
    return str(caught.value)


def test_a_model_of_another_shape_is_refused_with_both_shapes():
    message = refused({"model": nn.Linear(4, 3)}, {"model": nn.Linear(5, 3)})
    for part in ("model.weight", "(3, 4)", "(3, 5)", "model of another shape on another worker"):
        assert part in message
    message = refused({"net": nn.Linear(4, 3)}, {"net": nn.Linear(4, 3).double()})
    assert "net.weight" in message
    assert "torch.float64" in message
    message = refused({"net": nn.BatchNorm1d(4, affine=False)}, {"net": nn.BatchNorm1d(5, affine=False)})
    assert "net.running_" in message


def test_other_names_groups_and_keywords_are_refused():
    assert "only this worker has ['bias']" in refused(
        {"model": nn.Linear(4, 3)}, {"model": nn.Linear(4, 3, bias=False)}
    )
    one, two = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
    first = {"model": one, "optimizer": torch.optim.SGD(one.parameters())}
    assert "['optimizer']" in refused({"model": one}, {"optimizer": first["optimizer"]})
    message = refused({"o": first["optimizer"]}, {"o": torch.optim.SGD(two.parameters())})
    assert "o has groups of [2] parameters on this worker and of [1]" in message
    assert "something else" in refused({"o": first["optimizer"]}, {"o": Counter()})
    assert "something else" in refused({"o": one}, {"o": Counter()})


def test_a_load_that_raises_is_named():
    class Fussy(Counter):
        def load_state_dict(self, state):
            raise KeyError("nope")

        def state_dict(self):
            return {}

    with pytest.raises(StateError, match=r"fussy: Fussy\.load_state_dict\(\) refused .*KeyError.*nope"):
        restore({"fussy": Fussy()}, {"fussy": {}})


def test_objects_without_state_are_named_all_at_once():
    class Half:
        def state_dict(self):
            return {}

    with pytest.raises(ConfigError) as caught:
        check_tracked({"model": nn.Linear(1, 1), "scheduler": None, "half": Half()})
    assert len(caught.value.problems) == 2
    assert "scheduler=...) got NoneType, which has no state_dict and no load_state_dict" in caught.value.problems[0]
    assert "join(half=...) got Half, which has no load_state_dict" in caught.value.problems[1]


def test_a_lazy_model_is_told_to_run_once():
    with pytest.raises(StateError, match=r"model\.weight has no shape yet"):
        capture({"model": nn.LazyLinear(3)})


def test_a_captured_state_is_not_tied_to_the_receivers_objects():
    survivor = {"model": Net()}
    survivor["optimizer"] = torch.optim.Adam(survivor["model"].parameters())
    step(survivor, 0)
    state = travel(survivor)
    expected = copy.deepcopy(state["optimizer"]["state"][1]["exp_avg"])
    newcomer = {"model": Net()}
    newcomer["optimizer"] = torch.optim.Adam(newcomer["model"].parameters())
    restore(newcomer, state)
    step(newcomer, 1)
    assert torch.equal(state["optimizer"]["state"][1]["exp_avg"], expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("options", [{}, {"fused": True}, {"capturable": True}])
def test_state_on_a_gpu_travels_through_host_memory(options):
    def build():
        model = Net(torch.bfloat16).cuda()
        return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), **options)}

    survivor, newcomer = build(), build()
    for tracked in (survivor, newcomer):
        tracked["model"](torch.randn(8, 4, device="cuda", dtype=torch.bfloat16)).sum().backward()
        tracked["optimizer"].step()
    meta, tensors = encode(capture(survivor))
    restore(newcomer, decode(meta, [tensor.cpu() for tensor in tensors]))
    again, copies = encode(capture(newcomer))
    assert again == meta
    assert all(one.dtype == two.dtype and torch.equal(one, two) for one, two in zip(tensors, copies, strict=True))
    assert [one.device for one in tensors] == [two.device for two in copies]
