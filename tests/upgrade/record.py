"""Records states as fixtures, once a version: `python -m tests.upgrade.record 0.1.0`.

It records the lab's stack, which has to run, and each of scenarios/ by stand-ins that keep
resources in the state alone; names behind the version record those alone (`lab`, `everything`).

What is secret in a state is replaced by text that says so; what is derived from it previews as an
update, never as a replacement.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from pulumi import automation as auto

from lab import engine, up
from lab.paths import ROOT
from lab.providers import kept
from lab.up import PROJECT

FOLDER = Path(__file__).parent / "fixtures"
SCENARIOS = Path(__file__).parent / "scenarios"
SECRET = "4dabf18193072939515e22adb298388d"
STACK = "upgrade"
# Of no use to an update, and different on every machine.
_LEFT_OUT = {"created", "modified", "sourcePosition", "stackTrace"}
_SHORT = {
    "{ROOT}": str(ROOT),
    "{PLATFORM}": f"urn:pulumi:{STACK}::{PROJECT}::{PROJECT}:index:RunnerPlatform",
}
Config = dict[str, Any]


def settings_path(folder: Path) -> Path:
    """Return where the stack's file is in a project's folder."""
    return folder / f"stacks/Pulumi.{STACK}.yaml"


def select(folder: Path, config: Config, environment: dict[str, str]) -> auto.Stack:
    """Return the repository's own program as a stack, with all that is its own in a folder."""
    settings_path(folder).parent.mkdir()
    (folder / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
    settings_path(folder).write_text(yaml.safe_dump({"config": config}))
    program = engine.program_of(ROOT / "__main__.py")
    stack = engine.select_stack(STACK, program, folder, PROJECT, environment, folder / "state")
    stack.set_all_config(_secret_settings(config))
    return stack


def _secret_settings(config: Config) -> dict[str, auto.ConfigValue]:
    """Return the secrets that a stack's file asks for, with values that are none."""
    fleets = config.get(f"{PROJECT}:fleets", {})
    keys = [f"fleets.{fleet}.runnerToken" for fleet in fleets] or ["runnerToken"]
    values = {key: f"glrt-0123456789abcdefgh-{n}" for n, key in enumerate(keys)}
    if "username" in config.get(f"{PROJECT}:registryMirror", {}):
        values["registryMirror.password"] = "a-made-up-password"
    return {
        f"{PROJECT}:{key}": auto.ConfigValue(value, secret=True) for key, value in values.items()
    }


def _secrets(value: Any) -> set[str]:
    """Return every text that is, or is inside of, a secret."""
    if isinstance(value, dict):
        if SECRET in value:
            return _texts(json.loads(value["plaintext"]))
        return {text for item in value.values() for text in _secrets(item)}
    return {text for item in value for text in _secrets(item)} if isinstance(value, list) else set()


def _texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {text for item in value.values() for text in _texts(item)}
    if isinstance(value, list):
        return {text for item in value for text in _texts(item)}
    return {value} if isinstance(value, str) and len(value) >= 12 else set()


def secret_texts(resource: dict[str, Any]) -> set[str]:
    """Return what is secret by itself: a Helm release's values are all marked as such."""
    is_release = resource["type"].endswith(":Release")
    return set() if is_release else _secrets([resource.get("inputs"), resource.get("outputs")])


def _write(name: str, deployment: Any, config: Config) -> None:
    """Write a state, a line for each resource, and the settings that led to it."""
    found = sorted(
        {text for resource in deployment["resources"] for text in secret_texts(resource)},
        key=len,
        reverse=True,
    )
    resources = [
        {key: value for key, value in resource.items() if key not in _LEFT_OUT}
        for resource in deployment["resources"]
    ]
    lines = ",\n".join(json.dumps(resource, separators=(",", ":")) for resource in resources)
    text = f'{{"manifest":{json.dumps(deployment["manifest"])},"resources":[\n{lines}\n]}}\n'
    for n, secret in enumerate(found):
        # As it is in JSON, and in the JSON of a secret inside of JSON.
        for form in (json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1]):
            text = text.replace(form, f"not-a-secret-{n}")
    text = text.replace(f"urn:pulumi:{up.STACK}::", f"urn:pulumi:{STACK}::")
    text = text.replace(f"{PROJECT}-{up.STACK}", f"{PROJECT}-{STACK}")
    (FOLDER / f"{name}.json").write_text(_shortened(text))
    kept_config = {key: value for key, value in config.items() if "Token" not in key}
    (FOLDER / f"{name}.yaml").write_text(_shortened(yaml.safe_dump({"config": kept_config})))


def is_of_lab(name: str) -> bool:
    """Tell whether a fixture was recorded on the lab: those of scenarios are named after them."""
    return not any(name.endswith(f".{path.stem}") for path in SCENARIOS.glob("*.yaml"))


def _shortened(text: str) -> str:
    for short, long in _SHORT.items():
        text = text.replace(long, short)
    return text


def read(name: str) -> tuple[dict[str, Any], Config]:
    """Return a recorded state, and the settings that led to it."""
    state, settings = ((FOLDER / f"{name}.{kind}").read_text() for kind in ("json", "yaml"))
    for short, long in _SHORT.items():
        state, settings = state.replace(short, long), settings.replace(short, long)
    return json.loads(state), yaml.safe_load(settings)["config"]


def _lab(version: str) -> None:
    settings = yaml.safe_load((up.WORKSPACE / f"stacks/Pulumi.{up.STACK}.yaml").read_text())
    _write(version, up.select({}).export_stack().deployment, settings["config"])


def _scenario(version: str, name: str) -> None:
    config = yaml.safe_load((SCENARIOS / f"{name}.yaml").read_text())["config"]
    with TemporaryDirectory() as folder, kept.environment() as environment:
        stack = select(Path(folder), config, environment)
        stack.up()
        _write(f"{version}.{name}", stack.export_stack().deployment, config)


def main(version: str, names: Iterable[str]) -> None:
    for name in names or ("lab", *sorted(path.stem for path in SCENARIOS.glob("*.yaml"))):
        if name == "lab":
            _lab(version)
        else:
            _scenario(version, name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
