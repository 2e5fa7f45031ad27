"""The reference is what the components say of themselves, and says it of every setting."""

import re
from typing import Any

import pytest
from gitlab_runner_k8s import COMPONENTS
from gitlab_runner_k8s.validation.messages import secret_fields

from generate.arguments import description as full_description
from generate.arguments import settings_of
from generate.reference import (
    REFERENCE,
    allowed_text,
    argument_types,
    default_text,
    enums,
    own_fields,
    render,
    type_text,
)
from lab.paths import ROOT

every_type = pytest.mark.parametrize("name", argument_types())


def described(name: str) -> dict[str, str]:
    """Return the settings of an argument type, with what the reader is told of each."""
    fields = settings_of(name).model_fields
    return {field: full_description(setting) for field, setting in fields.items()}


def model_field(name: str, field: str) -> Any:
    return settings_of(name).model_fields[field]


def test_the_committed_reference_is_the_generated_one() -> None:
    assert REFERENCE.read_text() == render(), "run 'make generate' and look at the change"


@every_type
def test_a_setting_has_a_description_a_type_and_a_default(name: str) -> None:
    for field, description in described(name).items():
        assert len(description) > 10, f"{field} needs a docstring below it"
        assert description.endswith("."), field
        assert type_text(argument_types()[name].__annotations__[field]), field
        assert default_text(model_field(name, field)), field


@every_type
def test_what_the_description_says_of_the_default_is_true(name: str) -> None:
    for field, description in described(name).items():
        default = model_field(name, field).default
        said = description.partition("Default:")[2]
        if model_field(name, field).is_required():
            assert not said, f"{field} is required and has no default"
        elif isinstance(default, str) and "@sha256:" in default:
            assert "pinned" in said or "docker client" in said, field
        elif isinstance(default, int | str) and not isinstance(default, bool):
            is_in_words = field == "version"
            assert is_in_words or str(default) in said, f"{field}: the default is {default}"


@every_type
def test_a_number_has_a_range(name: str) -> None:
    hints = argument_types()[name].__annotations__
    for field in (field for field, hint in hints.items() if "integer" in type_text(hint)):
        allowed = allowed_text(model_field(name, field))
        assert re.match(r"\d+ (to \d+|or more)", allowed), f"{field} needs ge and le"


@every_type
def test_a_secret_is_called_one(name: str) -> None:
    for field, description in described(name).items():
        is_called_so = "as a Pulumi secret" in description
        assert is_called_so == (field in secret_fields()), field


def test_every_output_and_choice_has_a_description() -> None:
    for cls in [*COMPONENTS, *enums().values()]:
        for field, description in own_fields(cls).items():
            assert description, f"{cls.__name__}.{field}"


def test_every_component_says_what_it_raises() -> None:
    for cls in COMPONENTS:
        section = render().split(f"\n## {cls.__name__}\n")[1].split("\n## ")[0]
        assert "Raises `ArgsError`:" in section, cls.__name__


def test_every_link_leads_to_a_section() -> None:
    text = render()
    sections = {line[3:].lower() for line in text.splitlines() if line.startswith("## ")}
    links = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert links
    assert links <= sections


@pytest.mark.parametrize(
    ("name", "field", "default", "allowed"),
    [
        ("MonitoringArgs", "interval_seconds", "`30`", "5 to 120"),
        ("GitLabRunnerArgs", "gitlab_url", "**required**", "an https:// URL, such as"),
        ("MinioArgs", "volume_size", "`20Gi`", "a Kubernetes quantity, such as"),
        ("CacheArgs", "backend", "`minio`", "`minio` `s3` "),
        ("RunnerArgs", "request_concurrency", "unset", "1 to 10000"),
    ],
)
def test_defaults_and_rules_come_from_the_settings(
    name: str, field: str, default: str, allowed: str
) -> None:
    assert default_text(model_field(name, field)) == default
    assert allowed_text(model_field(name, field)).startswith(allowed)


def test_every_fault_names_a_test() -> None:
    folders = ("e2e", "engine", "unit", "upgrade", "policy")
    files = [path for folder in folders for path in (ROOT / "tests" / folder).glob("test_*.py")]
    code: dict[str, str] = {}
    for path in files:
        code[path.stem] = code.get(path.stem, "") + path.read_text()
    named = re.findall(r"`(test_\w+): (\w+)`", (ROOT / "docs/faults.md").read_text())
    assert len(named) > 20
    for module, name in named:
        assert re.search(rf"def test_\w*{name}", code[module]), f"{module}: {name}"
