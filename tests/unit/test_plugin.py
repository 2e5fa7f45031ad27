"""The components as a plugin for other languages."""

import json

from tests.schema import GOLDEN, current


def test_the_schema_is_the_golden_one() -> None:
    assert current() == json.loads(GOLDEN.read_text()), "run 'make schema' and look at the change"


def test_every_property_is_documented() -> None:
    schema = current()
    for token, described in {**schema["resources"], **schema["types"]}.items():
        assert described.get("description"), token
        for part in ("inputProperties", "properties"):
            for name, described_property in described.get(part, {}).items():
                inherited = part == "inputProperties"
                assert described_property.get("description") or inherited, f"{token}.{name}"
