import shutil

import pytest

MODULE = "scenarios_compile"


@pytest.mark.few(0)
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler")
def test_a_compiled_model_gives_the_same_bits_on_two_workers(crew_results):
    (alone,) = crew_results(MODULE, 1)
    assert alone["a_compiled_model"][0] == "ok", alone["a_compiled_model"][1]
    assert crew_results(MODULE, 2) == [alone, alone]
