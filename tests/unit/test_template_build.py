"""The tool that writes each template.yml: `python -m templates.build`."""

from pathlib import Path

import pytest

from lab.paths import ROOT
from templates import build

FOLDERS = sorted({path.parent for path in (ROOT / "templates").glob("*/*.yml")})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source.yml").write_text("script:\n  - |\n    (\n    !include run.sh\n    )\n")
    return tmp_path / "source.yml"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_building_again_changes_nothing(folder: Path) -> None:
    """If this fails, run `make generate`."""
    assert build.build(folder / "source.yml") == (folder / "template.yml").read_text()


def test_a_file_is_indented_as_its_line_is(source: Path) -> None:
    source.with_name("run.sh").write_text("if true; then\n\n  id\nfi\n")
    text = build.build(source).removeprefix(build.HEADER)
    assert text == "script:\n  - |\n    (\n    if true; then\n\n      id\n    fi\n    )\n"


def test_a_missing_file_is_named(source: Path) -> None:
    with pytest.raises(build.BuildError, match=r"source\.yml:4: run\.sh: No such file"):
        build.build(source)


def test_an_included_file_has_no_input(source: Path) -> None:
    source.with_name("run.sh").write_text("echo '$[[ inputs.image ]]'\n")
    with pytest.raises(build.BuildError, match=r"source\.yml:4: run\.sh: has '\$\[\['"):
        build.build(source)


def test_nothing_is_written_where_a_template_cannot_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"a": "a: 1\n", "b": "!include c\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "source.yml").write_text(text)
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    with pytest.raises(build.BuildError):
        build.main()
    assert not list(tmp_path.glob("*/template.yml"))
    (tmp_path / "b/c").write_text("c: 1\n")
    build.main()
    assert (tmp_path / "b/template.yml").read_text() == f"{build.HEADER}c: 1\n"
