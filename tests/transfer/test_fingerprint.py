import hashlib

import pytest
import torch
from torch import nn

from pliant.transfer.fingerprint import weights_sha256


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_equal_weights_have_equal_hashes_and_any_bit_shows():
    one = weights_sha256({"model": net()})
    assert one == weights_sha256({"model": net()})
    assert one != weights_sha256({"model": net(1)})
    assert one != weights_sha256({"other": net()})
    model = net()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nextafter(model[0].weight[0, 0], torch.tensor(9.0))
    assert weights_sha256({"model": model}) != one
    model = net()
    model[1].num_batches_tracked += 1
    assert weights_sha256({"model": model}) != one


def test_the_format_is_as_documented():
    model = nn.Module()
    model.b = nn.Parameter(torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
    model.register_buffer("a", torch.tensor(True))
    model.register_buffer("cache", torch.zeros(3), persistent=False)
    model.register_buffer("none", None)
    expected = hashlib.sha256()
    expected.update(b"m\na\ntorch.bool\n()\n\x01")
    expected.update(b"m\nb\ntorch.bfloat16\n(2,)\n" + bytes([0xC0, 0x3F, 0x00, 0xC0]))
    assert weights_sha256({"m": model}) == expected.hexdigest()


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.float16, torch.int64, torch.float8_e5m2])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_every_dtype_and_shape_is_hashed(dtype, shape):
    hashes = set()
    for value in (0, 1):
        model = nn.Module()
        model.register_buffer("x", torch.full(shape, value).to(dtype))
        hashes.add(weights_sha256({"m": model}))
    assert len(hashes) == (1 if shape == (0,) else 2)


def test_strides_compilation_and_order_of_models_do_not_matter():
    model, strided = nn.Linear(4, 4), nn.Linear(4, 4)
    with torch.no_grad():
        strided.bias.copy_(model.bias)
        strided.weight = nn.Parameter(model.weight.t().contiguous().t())
    assert weights_sha256({"m": model}) == weights_sha256({"m": strided})
    assert weights_sha256({"m": model}) == weights_sha256({"m": torch.compile(model)})
    two = {"a": net(1), "b": net(2)}
    assert weights_sha256(two) == weights_sha256(dict(reversed(two.items())))


def test_a_tied_weight_counts_under_each_name():
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    copied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    copied.load_state_dict(tied.state_dict())
    assert weights_sha256({"m": tied}) == weights_sha256({"m": copied})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_device_does_not_matter():
    assert weights_sha256({"m": net()}) == weights_sha256({"m": net().cuda()})
