"""The page of the serving comparison says what was measured, what is met, and what could not run; and Pliant's own part
of the harness works in this environment, where the peers are not installed.
"""

from __future__ import annotations

import dataclasses

import pytest
from benchmarks.page import this_machine
from benchmarks.serving import aims
from benchmarks.serving.accounts import BurstRun, KillRun, MemoryRun, Turn
from benchmarks.serving.measure import QUICK, measure_kills, measure_throughput, running
from benchmarks.serving.order import Order
from benchmarks.serving.plots import plot
from benchmarks.serving.results import ServingResults, markdown, write
from benchmarks.serving.scenarios import look_at_memory, questions
from benchmarks.serving.shapes import LARGE, ROWS, SMALL
from benchmarks.serving.system_pliant import SYSTEMS as PLIANT
from benchmarks.serving.systems import SYSTEMS

MIB = 1 << 20


def turn(
    system: str, requests: int, *, number: int = 0, batched: bool = False, p99_s: float = 0.01, cpu_s: float = 1.0
):
    return Turn(number, system, "mlp", batched, 8, requests, 1.0, 0.005, p99_s, cpu_s, 0.1)


def verdicts(**given) -> dict[str, bool]:
    """Aim -> met, of those that this says something about."""
    parts = {"turns": [], "bursts": [], "kills": [], "memory": [], **given}
    lines = aims.table(**parts).splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line.endswith(" yes |") for line in lines}


def test_throughput_is_compared_with_the_better_framework_and_each_systems_better_way():
    turns = [turn("bare", 100), turn("litserve", 50), turn("ray", 20), turn("ray", 80, batched=True, p99_s=0.02)]
    ours = [turn("pliant", 30), turn("pliant", 90, batched=True, p99_s=0.015, cpu_s=1.5)]
    assert list(verdicts(turns=turns + ours).values()) == [True, True, True]
    slower = [turn("pliant", 79, batched=True, p99_s=0.015, cpu_s=1.5)]
    assert list(verdicts(turns=turns + slower).values()) == [False, True, True]
    late = [turn("pliant", 90, batched=True, p99_s=0.03, cpu_s=1.5)]
    assert list(verdicts(turns=turns + late).values()) == [True, False, True]
    costly = [turn("pliant", 90, batched=True, p99_s=0.015, cpu_s=2.0)]
    assert list(verdicts(turns=turns + costly).values()) == [True, True, False]


def test_the_cells_in_which_others_are_ahead_are_listed():
    turns = [turn("bare", 100, cpu_s=0.5), turn("ray", 110, p99_s=0.02), turn("pliant", 100, batched=True, cpu_s=1.0)]
    told = aims.behind(turns).splitlines()
    assert told == [
        "* mlp, 8 at a time, bare: processor time 0.50 times ours",
        "* mlp, 8 at a time, ray: 1.10 times the requests, processor time 0.91 times ours",
    ]
    assert aims.behind([turn("bare", 90, p99_s=0.02), turn("pliant", 100)]) == "Nowhere in this run."


def test_one_lost_request_misses_the_aim():
    good = [KillRun("pliant", 0, 0, 0.1)] * 10
    assert list(verdicts(kills=good).values()) == [True, True]
    assert list(verdicts(kills=[*good, KillRun("pliant", 0, 1, 0.1)]).values()) == [False, True]
    assert list(verdicts(kills=[*good, KillRun("pliant", 0, 0, None)]).values()) == [True, False]


def test_a_start_is_measured_against_importing_torch():
    runs = [BurstRun("start", "import torch", 2.0), BurstRun("start", "pliant", 2.4), BurstRun("zero", "pliant", 0.4)]
    assert list(verdicts(bursts=runs).values()) == [False, True]


def test_a_second_copy_of_the_weights_misses_the_aim():
    one = ROWS[LARGE].weights_bytes - ROWS[SMALL].weights_bytes

    def runs(copies: float) -> list[MemoryRun]:
        small = MemoryRun("pliant", SMALL, 2, 4, 200 * MIB, 0)
        return [small, MemoryRun("pliant", LARGE, 2, 4, small.pss_bytes + int(copies * one), 0)]

    assert list(verdicts(memory=runs(1.05)).values()) == [True]
    assert list(verdicts(memory=runs(2.0)).values()) == [False]


def test_the_page_names_what_could_not_run_and_what_failed(tmp_path):
    results = ServingResults("2026-01-01", True, this_machine(), notes=["Something else ran."])
    results.missing["ray"] = "not installed"
    results.settings["pliant"], results.versions["pliant"] = {"options": "none"}, {"pliant": "1"}
    results.turns = [
        turn("bare", 100),
        turn("pliant", 50),
        Turn(0, "litserve", "mlp", False, 8, problem="it is not up"),
    ]
    results.bursts = [BurstRun("burst", "ray", None, problem="1 of 2 processes answered within 90 s")]
    results.kills = [KillRun("litserve", 3, 4, None, {"cut": 3, "hung": 4}, went_down=True)]
    page = markdown(results)
    assert "* ray: not installed" in page
    assert "Something else ran." in page
    assert "none: it is not up" in page
    assert "(1 of 1: 1 of 2 processes answered within 90 s)" in page
    assert "| litserve | 1 | 3 (3-3), most 3 | 4 (4-4), most 4 |  | 1 | 1 | cut, hung |" in page
    assert "50 (50-50), **0.50**<br>5.0 / 10.0" in page
    written = write(results, tmp_path)
    plot(results, written.with_suffix(".png"))
    assert {path.name for path in tmp_path.iterdir()} == {
        f"2026-01-01-serving-quick.{end}" for end in ("md", "json", "png")
    }


def test_every_system_says_how_it_is_set():
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
    assert all(system.settings and system.packages for system in SYSTEMS)


@pytest.mark.few(0)
@pytest.mark.slow
def test_pliant_goes_through_the_scenarios():
    """The real service, the real client, a real SIGKILL."""
    plan = dataclasses.replace(QUICK, connections=(2,), warm_s=0.1, seconds=0.2)
    asked = questions()
    system = dataclasses.replace(PLIANT[0], models=("mlp",))
    turns = list(measure_throughput([system], asked, plan))
    assert [each.problem for each in turns] == ["", ""]
    assert all(each.requests and each.cpu_s and not each.failures for each in turns)
    (kill,) = measure_kills([system], asked, plan)
    assert (kill.failed, kill.hung, kill.problem) == (0, 0, "")
    assert kill.replaced_s is not None
    with running(system) as server:
        memory = look_at_memory(system, server, Order(SMALL, replicas=2, pids=True), asked[SMALL])
    assert memory.problem == ""
    assert memory.processes == 6  # command, router, zygote, template, replicas
    assert memory.pss_bytes > 50 * MIB
