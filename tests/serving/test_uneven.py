"""Requests of different shapes as one batch, and apart again: nothing of a neighbour or of the padding is left."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pliant
from pliant.errors import ConfigError
from pliant.serving.pending import batch_frame, outputs_of
from pliant.serving.protocol.request import InferRequest, Tensor
from pliant.serving.replica.arrays import outputs_of as bytes_of
from pliant.serving.replica.arrays import requests_of
from pliant.serving.replica.exact import Tiled, why_not_exact
from pliant.serving.replica.model import signature_of
from pliant.serving.replica.template import examples_of
from pliant.serving.replica.uneven import answers_of
from pliant.wire.replica_messages import BatchAnswer
from pliant.wire.tensors import TensorHead

CLASSES = {"inputs": {"x": ("float32", (-1,))}}


def model_of(predict=lambda self, batch: batch, **attributes):
    return type("Made", (pliant.Model,), {"predict": predict, **attributes})()


class Sums(pliant.Model):
    """Running sums, and the whole one; both go wrong if the padding is counted, which is not zero."""

    inputs = {"x": ("float32", ("length", 2))}  # noqa: RUF012
    outputs = {"total": ("float32", (2,)), "running": ("float32", ("length", 2))}  # noqa: RUF012
    pad = {"length": (4, 8)}  # noqa: RUF012
    fill = {"x": 100.0}  # noqa: RUF012

    def predict(self, batch, length):
        mask = torch.arange(batch.shape[1]) < length[:, None]
        self.seen = batch
        return (batch * mask[..., None]).sum(dim=1), batch.cumsum(dim=1)


def test_padded_computed_and_cut_back():
    model = Sums()
    requests = [{"x": torch.ones(1, 3, 2)}, {"x": torch.full((2, 1, 2), 5.0)}, {"x": torch.ones(1, 0, 2)}]
    answers = answers_of(model, requests, signature_of(model))
    assert model.seen.shape == (4, 4, 2)
    assert model.seen[:, :, 0].tolist() == [[1, 1, 1, 100], [5, 100, 100, 100], [5, 100, 100, 100], [100] * 4]
    assert [answer["total"][:, 0].tolist() for answer in answers] == [[3], [5, 5], [0]]
    assert [list(answer["running"].shape) for answer in answers] == [[1, 3, 2], [2, 1, 2], [1, 0, 2]]
    assert answers[0]["running"][0, :, 1].tolist() == [1, 2, 3]


def test_of_one_size_nothing_is_padded():
    model = Sums()
    answers_of(model, [{"x": torch.rand(2, 8, 2)}] * 2, signature_of(model))
    assert model.seen.shape == (4, 8, 2)
    assert not (model.seen == 100).any()


def test_several_inputs_of_one_length_without_buckets():
    def predict(self, batch):
        self.seen = batch
        return {"y": batch["tokens"], "z": batch["mask"]}

    model = model_of(
        predict,
        inputs={"tokens": ("int64", ("length",)), "mask": ("bool", ("length",))},
        outputs={"z": ("bool", ("length",)), "y": ("int64", ("length",))},
        pad={"length": ()},
        fill={"tokens": -1},
    )
    requests = [{"tokens": torch.arange(n)[None], "mask": torch.ones(1, n, dtype=torch.bool)} for n in (5, 2)]
    first, second = answers_of(model, requests, signature_of(model))
    assert model.seen["tokens"].tolist() == [[0, 1, 2, 3, 4], [0, 1, -1, -1, -1]]
    assert model.seen["mask"].tolist() == [[True] * 5, [True, True, False, False, False]]
    assert first["y"].tolist() == [[0, 1, 2, 3, 4]]
    assert (second["y"].tolist(), second["z"].tolist()) == ([[0, 1]], [[True, True]])


class Clouds(pliant.Model):
    """Puts the points of all requests behind each other, in one flat list."""

    inputs = {"points": ("float32", (-1, 3))}  # noqa: RUF012

    def collate(self, requests):
        return torch.cat([points.flatten(0, 1) for points in requests])

    def predict(self, points):
        return points * 2

    def split(self, result, requests):
        parts = result.split([points.shape[0] * points.shape[1] for points in requests])
        return [part.view(points.shape).amax(dim=1) for part, points in zip(parts, requests, strict=True)]


def test_a_models_own_collate_and_split():
    model = Clouds()
    requests = [torch.rand(1, 4, 3), torch.rand(2, 9, 3)]
    answers = answers_of(model, [{"points": each} for each in requests], signature_of(model))
    for answer, points in zip(answers, requests, strict=True):
        assert torch.equal(answer, points.amax(dim=1) * 2)


def test_a_collate_that_adds_to_the_padding():
    def collate(self, requests):
        batch = pliant.Model.collate(self, requests)
        return batch, batch != 0

    def predict(self, batch):
        tokens, mask = batch
        return tokens * mask + 1

    model = model_of(
        predict, collate=collate, inputs={"x": ("int64", ("n",))}, outputs={"y": ("int64", ("n",))}, pad={"n": ()}
    )
    answers = answers_of(model, [{"x": torch.tensor([[1, 2, 3]])}, {"x": torch.tensor([[7]])}], signature_of(model))
    assert [answer["y"].tolist() for answer in answers] == [[[2, 3, 4]], [[8]]]


@pytest.mark.parametrize(
    ("predict", "told"),
    [
        (lambda self, batch: batch[:, :-1], r"shape \[-1, 3\], and its dimension 1 is n, which is 4"),
        (lambda self, batch: batch[1:], r"was given 3 rows, and its output 'y' has shape \[2, 4\]"),
        (lambda self, batch: batch.sum(), r"was given 3 rows, and its output 'y' has shape \[\]"),
        (lambda self, batch: batch.sum(dim=1), "its dimension 1 is n, which is 4"),
        (lambda self, batch: {"z": batch}, r"output 'z' is not among the model's outputs \(y\)"),
        (lambda self, batch: {"y": 3}, "output 'y' is a int, not a tensor"),
    ],
)
def test_answers_that_are_none(predict, told):
    model = model_of(predict, inputs={"x": ("int64", ("n",))}, outputs={"y": ("int64", ("n",))}, pad={"n": (4,)})
    requests = [{"x": torch.ones(2, 3, dtype=torch.int64)}, {"x": torch.ones(1, 4, dtype=torch.int64)}]
    with pytest.raises(ValueError, match=told):
        answers_of(model, requests, signature_of(model))


def test_a_split_that_forgets_one():
    model = model_of(split=lambda self, result, requests: [result], collate=lambda self, requests: requests[0])
    with pytest.raises(ValueError, match="was given 2 requests, and returned 1 answers"):
        answers_of(model, [{"x": torch.ones(1, 1)}] * 2, signature_of(model))


def test_the_example_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    tagger, clouds = re.findall(r"```python\n((?:# tagger.py|class Clouds).*?)```", page, re.S)
    names = {"torch": torch, "pliant": pliant}
    exec(tagger, names)
    exec(clouds, names)
    model, requests = names["Tagger"](), [{"tokens": torch.full((1, n), n)} for n in (3, 40, 64)]
    model.load()
    with torch.inference_mode():
        together = answers_of(model, requests[1:], signature_of(model))
        for request, answer in zip(requests[1:], together, strict=True):
            (alone,) = answers_of(model, [request], signature_of(model))
            assert alone["tags"].shape == (1, request["tokens"].shape[1], 9)
            torch.testing.assert_close(answer, alone)
    model = names["Clouds"]()
    model.net = torch.nn.Linear(3, 16)
    answers = answers_of(model, [{"points": torch.rand(2, 5, 3)}, {"points": torch.rand(1, 7, 3)}], signature_of(model))
    assert [answer.shape for answer in answers] == [(2, 16), (1, 16)]


# ---------------------------------------------------------------- what a class says


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"inputs": {"x": ("float32", 3)}}, "it should be like"),
        ({"inputs": {"x": ("float32", ("a b",))}}, "it should be like"),
        ({"inputs": {"x": ("float33", (3,))}}, "'float33' is no dtype"),
        ({"outputs": {"y": ("float32", ("n",))}}, "the outputs have a dimension 'n', and no input has it"),
        ({**CLASSES, "pad": {"n": ()}}, "pad names a dimension 'n', and no input has it: none has a name"),
        ({"inputs": {"x": ("int64", ("n",))}, "pad": {"n": (4, 2)}}, r"pad of 'n' is \(4, 2\); it should"),
        ({"inputs": {"x": ("int64", ("n",))}, "pad": {"n": 4}}, "pad of 'n' is 4; it should be sizes that"),
        ({"inputs": {"x": ("int64", ("n",))}, "pad": {"n": ()}}, "pad is given and outputs is not"),
        ({**CLASSES, "fill": {"z": 0}}, "fill names 'z', which is no input: there is x"),
        ({"inputs": {"x": ("int64", (3,))}, "fill": {"x": 0.5}}, "fill of 'x' is 0.5, which INT64 cannot hold"),
        ({"inputs": {"x": ("bool", (3,))}, "fill": {"x": "no"}}, "fill of 'x' is 'no', which BOOL cannot hold"),
        ({**CLASSES, "predict": lambda self, batch, lenght: batch}, "predict wants 'lenght'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told(attributes, told):
    with pytest.raises(ConfigError, match=told):
        signature_of(model_of(**attributes))


def test_all_problems_at_once():
    with pytest.raises(ConfigError) as caught:
        signature_of(model_of(inputs={"x": ("float33", (3,))}, pad={"n": ()}, fill={"z": 1}))
    assert len(caught.value.problems) == 4


def test_a_model_that_yields_has_nothing_to_pad():
    def predict(self, batch):
        yield batch

    with pytest.raises(ConfigError, match="there is nothing to pad"):
        signature_of(model_of(predict, inputs={"x": ("int64", ("n",))}, outputs={"y": ("int64", ())}, pad={"n": ()}))


def test_defaults_of_predict_are_no_sizes():
    signature = signature_of(model_of(lambda self, batch, n, scale=2.0, **more: batch, inputs={"x": ("int64", ("n",))}))
    assert signature.told == ("n",)
    assert signature.uneven
    assert not signature_of(model_of(**CLASSES)).uneven


def test_a_model_is_warmed_up_in_all_its_shapes():
    image = {"image": ("float32", (3, "h", "w")), "scale": ("float32", ("h",))}
    signature = signature_of(model_of(inputs=image, outputs={"y": ("float32", ())}, pad={"h": (4, 8), "w": (2,)}))
    found = [{name: list(tensor.shape) for name, tensor in each.items()} for each in examples_of(signature)]
    assert found == [{"image": [1, 3, h, 2], "scale": [1, h]} for h in (4, 8)]
    assert examples_of(signature_of(model_of(**CLASSES))) == []
    many = {dim: tuple(range(1, 9)) for dim in ("h", "w")}
    assert len(examples_of(signature_of(model_of(inputs=image, outputs={"y": ("float32", ())}, pad=many)))) == 32


# ---------------------------------------------------------------- exact


def test_the_tile_and_a_bucket_are_one_shape():
    model = Sums()
    signature, tiled = signature_of(model), Tiled(model, 8)
    requests = [{"x": torch.rand(1, n, 2)} for n in (1, 4, 3)]
    together = answers_of(tiled, requests, signature)
    assert model.seen.shape == (8, 4, 2)
    for request, answer in zip(requests, together, strict=True):
        (alone,) = answers_of(tiled, [request], signature)
        assert model.seen.shape == (8, 4, 2)
        assert all(torch.equal(alone[name], answer[name]) for name in ("total", "running"))


def test_what_cannot_be_exact_is_told():
    longest = signature_of(model_of(inputs={"x": ("int64", ("n",))}, outputs={"y": ("int64", ())}, pad={"n": ()}))
    assert "--exact needs sizes that 'n' is padded to" in why_not_exact(longest)[0]
    assert "the model's own collate" in why_not_exact(signature_of(Clouds()))[0]
    assert why_not_exact(signature_of(Sums())) == []


# ---------------------------------------------------------------- over the wire


class Mirror(pliant.Model):
    inputs = {"x": ("float32", ("n", "m")), "k": ("int64", ("n",))}  # noqa: RUF012
    outputs = {"x": ("float32", ("n", "m")), "k": ("int64", ("n",))}  # noqa: RUF012
    fill = {"x": float("inf"), "k": -7}  # noqa: RUF012

    def predict(self, batch):
        return batch


SIZES = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 8), st.integers(0, 5)), min_size=1, max_size=8)


@given(SIZES, st.sampled_from([(), (4, 8), (8,)]), st.sampled_from([(), (5,)]))
def test_what_goes_in_comes_out(sizes, high, wide):
    """From the bytes of requests to the bytes of their answers, through both ends of the router's socket."""
    model = Mirror()
    model.pad = {"n": high, "m": wide}
    signature, requests = signature_of(model), []
    for number, (rows, n, m) in enumerate(sizes):
        floats, whole = torch.randn(rows, n, m), torch.full((rows, n), number)
        requests.append(
            InferRequest(
                (
                    Tensor(TensorHead("x", "FP32", (rows, n, m)), floats.numpy().tobytes()),
                    Tensor(TensorHead("k", "INT64", (rows, n)), whole.numpy().tobytes()),
                )
            )
        )
    head, parts = batch_frame(1, requests, uneven=True)
    answers = answers_of(model, requests_of(head.requests, b"".join(parts)), signature)
    told = [bytes_of(answer, request.rows) for answer, request in zip(answers, requests, strict=True)]
    payload = b"".join(bytes(part) for _, own in told for part in own)
    found = outputs_of(BatchAnswer(1, (), requests=tuple(heads for heads, _ in told)), payload, [])
    for outputs, request in zip(found, requests, strict=True):
        assert [output.head for output in outputs] == list(request.heads)
        assert [bytes(output.data) for output in outputs] == [tensor.data for tensor in request.inputs]
