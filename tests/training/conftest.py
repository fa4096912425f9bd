from collections.abc import Callable, Iterator
from typing import Any

import pytest
from static_crew import Outcome, Template, scenarios_of


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))  # compile once for all crews
        patch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
        made = Template()
    yield made
    made.close()


@pytest.fixture(scope="session")
def crew_results(template: Template) -> Callable[[str, int], list[dict[str, Outcome]]]:
    """All scenarios of a module on a crew of one size; each combination is launched once per session."""
    known: dict[tuple[str, int], Any] = {}

    def results(module: str, size: int) -> list[dict[str, Outcome]]:
        if (module, size) not in known:
            known[module, size] = template.run(size, module, scenarios_of(module))
        found: list[dict[str, Outcome]] = known[module, size]
        return found

    return results
