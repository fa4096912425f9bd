"""With --exact an input gets the same bits whatever batch it falls into; without, the test shows that it does not."""

import io
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from service_models import Wide

from pliant.serving.replica.exact import Tiled, padded_to


def answers_under_load(service, *, requests=1000, inputs=12):
    """Input -> the different answers that it got, as bytes; the number of replicas changes meanwhile."""
    rows = torch.randn(inputs, 64, generator=torch.Generator().manual_seed(1)).numpy()
    found = defaultdict(set)

    def ask(number):
        file = io.BytesIO()
        np.save(file, rows[number : number + 1])
        headers = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
        answer = service.client.post(f"{service.url}/predict", content=file.getvalue(), headers=headers)
        assert answer.status_code == 200, answer.text
        found[number].add(answer.content)

    order = [number % inputs for number in range(requests)]
    random.Random(2).shuffle(order)
    with ThreadPoolExecutor(24) as threads:
        asked = [threads.submit(ask, number) for number in order]
        service.pliant("scale", "model", "3:3").check_returncode()
        service.wait_replicas(3)
        for each in asked[requests // 2 :]:
            each.result()
        list(threads.map(ask, order[: requests // 2]))
        for each in asked:
            each.result()
    return found


def test_one_answer_for_each_input(serve):
    service = serve("Wide", "--exact", "--batch", "8", "--replicas", "1:1")
    found = answers_under_load(service)
    assert len(list(service.directory.glob("v1/r*.log"))) == 3
    assert {len(answers) for answers in found.values()} == {1}


def test_without_there_are_several(serve):
    found = answers_under_load(serve("Wide", "--batch", "8", "--replicas", "1:1"))
    assert max(len(answers) for answers in found.values()) > 1


def test_the_tile():
    model = Wide()
    model.load()
    tiled, rows = Tiled(model, 8), torch.randn(5, 64)
    with torch.inference_mode():
        whole = model.predict(padded_to(rows, 8))[:5]
        for number in range(5):
            assert torch.equal(tiled.predict(rows[number : number + 1])[0], whole[number])
        assert torch.equal(tiled.predict(rows), whole)


def test_a_model_that_yields_has_no_batch(begin):
    service = begin("Counting", "--exact")
    assert service.process.wait(60) == 1
    assert "there is no batch for --exact" in service.stderr


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_padding(rows):
    tensor = torch.arange(rows * 2.0).view(rows, 2)
    padded = padded_to(tensor, 8)
    assert padded.shape == (8, 2)
    assert torch.equal(padded[:rows], tensor)
    assert torch.equal(padded[rows:], tensor[:1].expand(8 - rows, 2))
