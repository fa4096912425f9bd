import pytest
import torch
from static_crew import scenarios_of

MODULE = "scenarios_gpu"

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("name", scenarios_of(MODULE))
@pytest.mark.parametrize("size", [2, 3])
def test_workers_that_share_a_gpu_give_the_bits_of_one(crew_results, size, name):
    (alone,) = crew_results(MODULE, 1)
    assert alone[name][0] == "ok", alone[name][1]
    for rank, found in enumerate(crew_results(MODULE, size)):
        assert found[name] == alone[name], f"rank {rank} of {size}"
