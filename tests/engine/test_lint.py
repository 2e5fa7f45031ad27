"""GitLab Runner accepts every configuration that the unit tests rendered."""

from pathlib import Path

import pytest

from lab.paths import ROOT
from tests import lint
from tests.required import missing

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def runner() -> None:
    if not lint.RUNNER.exists():
        missing("GitLab Runner is not built (make up)")


def test_every_configuration_is_valid(tmp_path: Path) -> None:
    rendered = sorted(lint.RENDERED.glob("*.toml"))
    if not rendered:
        missing("no configuration was rendered (make test)")
    golden = ROOT / "tests/golden/config.toml"
    assert lint.problems([golden, *rendered], tmp_path) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("request_concurency = 1", "unknown key"),
        ('request_concurrency = "one"', "decoding config"),
        ('shell = "fish"', "schema validation failed"),
    ],
)
def test_a_wrong_configuration_is_refused(line: str, said: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f"[[runners]]\n{line}\n")
    (problem,) = lint.problems([wrong], tmp_path)
    assert said in problem
