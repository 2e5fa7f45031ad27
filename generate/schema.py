"""The schema that the plugin serves, and what users rely on of it."""

import json
import sys
from functools import cache
from typing import Any

from gitlab_runner_k8s import __version__
from gitlab_runner_k8s.plugin import PluginProvider

from lab.paths import ROOT

GOLDEN = ROOT / "components/schema.json"
RELEASED = ROOT / "tests/golden/api.json"
"""What users rely on: every input, output and type, since the version that it names."""
Api = dict[str, dict[str, dict[str, str]]]


@cache
def current() -> dict[str, Any]:
    """Return the schema of the components as they are."""
    schema: dict[str, Any] = json.loads(PluginProvider().schema or "{}")
    return schema


def _kind(described: dict[str, Any]) -> str:
    """Return a property's type in short, without its description."""
    if "$ref" in described:
        return str(described["$ref"]).rpartition("/")[2].rpartition(":")[2]
    inner = described.get("items") or described.get("additionalProperties")
    return f"{described['type']}<{_kind(inner)}>" if inner else str(described["type"])


def api(schema: dict[str, Any]) -> Api:
    """Return what users rely on: by resource and type, each property with its type.

    A required input ends in `!`.
    """
    found: Api = {}
    for token, described in {**schema["resources"], **schema["types"]}.items():
        required = {
            "inputProperties": set(described.get("requiredInputs", [])),
            "properties": set()
            if "inputProperties" in described
            else set(described.get("required", [])),
        }
        found[token.rpartition(":")[2]] = {
            part: {
                name: _kind(value) + ("!" if name in required[part] else "")
                for name, value in sorted(described.get(part, {}).items())
            }
            for part in required
        } | {"values": {str(item["value"]): "value" for item in described.get("enum", [])}}
    return found


def incompatibilities(old: Api, new: Api) -> list[str]:
    """Return what breaks users: what is gone, is of another type, or is newly required."""
    problems = []
    for token, parts in old.items():
        if token not in new:
            problems.append(f"{token} is gone")
            continue
        for part, names in parts.items():
            for name, kind in names.items():
                now = new[token][part].get(name)
                if now is None:
                    problems.append(f"{token}.{name} is gone")
                elif now not in {kind, kind.rstrip("!")}:
                    problems.append(f"{token}.{name} was {kind} and is {now}")
            problems += [
                f"{token}.{name} is new and required"
                for name, kind in new[token][part].items()
                if kind.endswith("!") and name not in names
            ]
    return problems


def release() -> None:
    """Record what users rely on from this version on.

    Raises:
        SystemExit: it breaks users, and the version does not say so.
    """
    known: dict[str, Any] = {"version": "", "api": {}}
    if RELEASED.exists():
        known = json.loads(RELEASED.read_text())
    new = api(current())
    problems = incompatibilities(known["api"], new)
    # Before 1.0 the minor version says that something breaks, as semantic versioning has it.
    parts = 2 if __version__.startswith("0.") else 1
    told = __version__.split(".")[:parts] != known["version"].split(".")[:parts]
    if problems and not told:
        sys.exit("the version must say that this breaks users:\n  " + "\n  ".join(problems))
    text = json.dumps({"version": __version__, "api": new}, indent=1, sort_keys=True) + "\n"
    RELEASED.write_text(text)
