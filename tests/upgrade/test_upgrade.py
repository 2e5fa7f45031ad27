"""An update from every recorded version: nothing that holds data, and no authority, is replaced.

A fixture of the lab is previewed on the lab, where the API server refuses what it lets nobody
change. The others need no cluster: the provider plugin says what it replaces. They cannot
tell what the API server alone refuses (a smaller claim, another class of one), what it defaults,
nor what a newer version of a provider replaces.
"""

from collections.abc import Callable

import pytest

from tests.upgrade.conftest import KEPT, Recorded
from tests.upgrade.record import FOLDER, SCENARIOS, is_of_lab, read

pytestmark = pytest.mark.engine
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
FIXTURES = [pytest.param(name, marks=pytest.mark.lab if is_of_lab(name) else ()) for name in NAMES]
# What an update from a recorded version deletes on purpose.
DELETED = {
    # Nothing read it: the runner signs URLs, and jobs call the store.
    "0.1.0-alpha.2.everything": ["delete Secret gitlab-runner-cache-runner-ca"],
}


@pytest.mark.parametrize("name", FIXTURES)
def test_an_update_loses_nothing(name: str, recorded: Callable[[str], Recorded]) -> None:
    seen = recorded(name).preview()
    assert len([step for step in seen if step.operation == "same"]) > 20
    assert [str(step) for step in seen if step.loses] == []
    deleted = [str(step) for step in seen if step.operation == "delete"]
    assert deleted == DELETED.get(name, [])


@pytest.mark.parametrize("name", [max(filter(is_of_lab, NAMES))])
@pytest.mark.lab
def test_the_check_can_fail(name: str, recorded: Callable[[str], Recorded]) -> None:
    seen = recorded(name).preview({"namespaces": {"daemon": "elsewhere"}})
    assert any(step.loses and step.kind.endswith(":StatefulSet") for step in seen)


def test_whatever_is_kept_is_recorded() -> None:
    kinds = {resource["type"] for name in NAMES for resource in read(name)[0]["resources"]}
    assert [kept for kept in KEPT if not any(kind.endswith(kept) for kind in kinds)] == []


def test_there_is_a_version_to_update_from() -> None:
    scenarios = {path.stem for path in SCENARIOS.glob("*.yaml")}
    assert scenarios == {name.rpartition(".")[2] for name in NAMES if not is_of_lab(name)}
    assert any(is_of_lab(name) for name in NAMES)
