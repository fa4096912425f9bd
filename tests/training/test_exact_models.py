import pytest
from static_crew import crews, scenarios_of

MODULE = "scenarios_models"
CREWS = crews(2, 3, 5, 7, 8, few=(3, 8))


@pytest.mark.parametrize("name", scenarios_of(MODULE))
@pytest.mark.parametrize("size", CREWS)
def test_the_same_bits_as_on_one_worker(crew_results, size, name):
    (alone,) = crew_results(MODULE, 1)
    assert alone[name][0] == "ok", alone[name][1]
    for rank, found in enumerate(crew_results(MODULE, size)):
        assert found[name][0] == "ok", f"rank {rank} of {size}: {found[name][1]}"
        assert found[name] == alone[name], f"rank {rank} of {size}"
