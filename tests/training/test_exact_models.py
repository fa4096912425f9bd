import pytest
from static_crew import scenarios_of

CREWS = (1, 2, 3, 5, 7, 8)


@pytest.mark.parametrize("name", scenarios_of("scenarios_models"))
def test_the_same_bits_on_every_crew(crew_results, name):
    alone = crew_results("scenarios_models", 1)[0][name]
    assert alone[0] == "ok", alone[1]
    for size in CREWS[1:]:
        for rank, found in enumerate(crew_results("scenarios_models", size)):
            assert found[name][0] == "ok", f"rank {rank} of {size}: {found[name][1]}"
            assert found[name] == alone, f"rank {rank} of {size}"
