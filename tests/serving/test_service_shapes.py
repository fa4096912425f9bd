"""Requests of different lengths to a service: who shares a batch, and what each gets."""

import io
import json
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from service_models import RAISES, Tagger


@pytest.fixture
def tagger(monkeypatch, tmp_path):
    """The model itself, in this process."""
    monkeypatch.setenv("SERVICE_GATE", str(tmp_path))
    model = Tagger()
    model.load()
    return model


def shapes(service):
    """Of the batches so far."""
    return [json.loads(line) for line in (service.gate / "shapes").read_text().splitlines()]


def right(answer, tokens, model):
    """Whether it is what the model says of these tokens alone, without any padding."""
    assert answer.status_code == 200, answer.text
    told = {name: torch.tensor(rows) for name, rows in answer.json().items()}
    with torch.inference_mode():
        tags, mean = model.predict(torch.tensor(tokens), torch.tensor([len(tokens[0])] * len(tokens)))
    assert told["tags"].shape == tags.shape
    return torch.allclose(told["tags"], tags, atol=1e-5) and torch.allclose(told["mean"], mean, atol=1e-5)


def test_lengths_of_one_bucket_share_a_batch_and_each_gets_its_own_answer(share, tagger):
    service = share("Tagger", "--replicas", "1")
    service.hold()
    first = service.later([[1]])
    service.wait_held()
    texts = [[[5, 6, 7]], [list(range(20, 32))], [[8] * 8], [[9, 10], [11, 12]], [list(range(40, 49))]]
    answers = []
    for number, text in enumerate(texts):  # one behind the other, so that their order is known
        answers.append(service.later(text))
        service.wait_requests(number + 2)
    service.release()
    assert right(first.result(), [[1]], tagger)
    assert all(right(answer.result(), text, tagger) for answer, text in zip(answers, texts, strict=True))
    assert shapes(service) == [[1, 8], [4, 8], [2, 16]]


def test_a_poisonous_text_harms_no_other(share, tagger):
    service = share("Tagger", "--replicas", "1")
    service.hold()
    first = service.later([[1]])
    service.wait_held()
    texts = [[[2, 3]], [[4, 5, int(RAISES)]], [[6]], [[7] * 7]]
    answers = []
    for number, text in enumerate(texts):
        answers.append(service.later(text))
        service.wait_requests(number + 2)
    service.release()
    first.result()
    assert [answer.result().status_code for answer in answers] == [200, 500, 200, 200]
    assert all(right(answers[n].result(), texts[n], tagger) for n in (0, 2, 3))
    assert shapes(service) == [[1, 8], [4, 8], [2, 8], [1, 8], [1, 8], [2, 8]]


def test_a_text_that_is_too_long_is_refused(share):
    service = share("Tagger", "--replicas", "1")
    answer = service.predict([[1] * 17])
    assert answer.status_code == 400
    assert "input tokens has length 17; at most 16 is taken. Expected tokens: INT64 [-1, -1]" in answer.json()["error"]


def test_a_models_own_collate(serve):
    service = serve("Clouds", "--replicas", "1")
    clouds = [torch.rand(rows, points, 2) for rows, points in ((1, 3), (2, 5), (1, 1), (3, 7))]
    service.hold()
    answers = [service.later(clouds[0].tolist())]
    service.wait_held()
    answers += [service.later(cloud.tolist()) for cloud in clouds[1:]]
    service.wait_requests(4)
    service.release()
    for answer, cloud in zip(answers, clouds, strict=True):
        assert torch.allclose(torch.tensor(answer.result().json()), cloud.sum(dim=1) * 2)
    assert shapes(service) == [[3, 2], [2 * 5 + 1 + 3 * 7, 2]]


def answers_under_load(service, *, requests=600, texts=10):
    """Text -> the different answers that it got, as bytes, among others of all lengths."""
    chance = random.Random(3)
    lengths = [chance.randint(1, 16) for _ in range(texts)]
    bodies = []
    for length in lengths:
        file = io.BytesIO()
        np.save(file, np.array([[chance.randrange(1, 500) for _ in range(length)]]))
        bodies.append(file.getvalue())
    found = defaultdict(set)

    def ask(number):
        answer = service.client.post(
            f"{service.url}/predict", content=bodies[number], headers={"Content-Type": "application/octet-stream"}
        )
        assert answer.status_code == 200, answer.text
        found[number].add(answer.content)

    order = [number % texts for number in range(requests)]
    chance.shuffle(order)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, order))
    return found


def test_exact_a_bucket_is_the_fixed_shape(serve):
    service = serve("Tagger", "--exact", "--batch", "4", "--replicas", "1:2")
    found = answers_under_load(service)
    assert {len(answers) for answers in found.values()} == {1}
    assert {tuple(shape) for shape in shapes(service)} == {(4, 8), (4, 16)}


def test_without_there_are_several(serve):
    found = answers_under_load(serve("Tagger", "--batch", "4", "--replicas", "1:2"))
    assert max(len(answers) for answers in found.values()) > 1
