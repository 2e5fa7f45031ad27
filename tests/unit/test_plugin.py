"""The components as a plugin for other languages."""

import copy
import json
import re
from typing import Any

import pytest

from generate.arguments import PATH, render, settings_types
from generate.schema import GOLDEN, RELEASED, api, current, incompatibilities

SETTINGS = {field for settings in settings_types() for field in settings.model_fields}


def test_the_argument_types_are_the_generated_ones() -> None:
    assert PATH.read_text() == render(), "run 'make generate' and look at the change"


def test_the_schema_is_the_golden_one() -> None:
    assert current() == json.loads(GOLDEN.read_text()), "run 'make generate' and look at the change"


def test_every_property_is_documented() -> None:
    schema = current()
    for token, described in {**schema["resources"], **schema["types"]}.items():
        assert described.get("description"), token
        for part in ("inputProperties", "properties"):
            for name, described_property in described.get(part, {}).items():
                text = described_property.get("description", "")
                assert text, f"{token}.{name}"
                # In the reader's language: names are in camelCase.
                snake_case = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text))
                assert not snake_case & SETTINGS, f"{token}.{name}: {text}"


def test_users_of_the_recorded_version_are_not_broken() -> None:
    recorded = json.loads(RELEASED.read_text())["api"]
    assert incompatibilities(recorded, api(current())) == []
    assert incompatibilities(api(current()), recorded) == [], "run 'make generate': it is additive"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda new: new.pop("MinioCache"), "MinioCache is gone"),
        (
            lambda new: new["MinioCache"]["inputProperties"].pop("bucket"),
            "MinioCache.bucket is gone",
        ),
        (
            lambda new: new["MinioCache"]["inputProperties"].update(bucket="integer"),
            "MinioCache.bucket was string and is integer",
        ),
        (
            lambda new: new["MinioCache"]["inputProperties"].update(bucket="string!"),
            "MinioCache.bucket was string and is string!",
        ),
        (
            lambda new: new["MinioCache"]["inputProperties"].update(more="string!"),
            "MinioCache.more is new and required",
        ),
        (lambda new: new["MinioEngine"]["values"].pop("silo"), "MinioEngine.silo is gone"),
    ],
)
def test_what_breaks_users_is_found(change: Any, message: str) -> None:
    old = api(current())
    new = copy.deepcopy(old)
    change(new)
    assert message in incompatibilities(old, new)


def test_an_addition_breaks_nobody() -> None:
    old = api(current())
    new = copy.deepcopy(old)
    new["MinioCache"]["inputProperties"]["more"] = "string"
    new["Another"] = {"inputProperties": {}, "properties": {}, "values": {}}
    assert incompatibilities(old, new) == []
