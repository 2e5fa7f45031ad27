"""Records the lab's stack as a fixture: `python -m tests.upgrade.record 0.1.0`, once a version.

What is secret in it is replaced by text that says so; what is derived from it previews as an
update, never as a replacement.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from lab import up
from lab.paths import ROOT

FOLDER = Path(__file__).parent / "fixtures"
SECRET = "4dabf18193072939515e22adb298388d"
STACK = "upgrade"


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


def main(version: str) -> None:
    deployment: Any = up.select({}).export_stack().deployment
    found = sorted(
        {text for resource in deployment["resources"] for text in secret_texts(resource)},
        key=len,
        reverse=True,
    )
    deployment.pop("secrets_providers", None)
    text = json.dumps(deployment, indent=1)
    for n, secret in enumerate(found):
        # As it is in JSON, and in the JSON of a secret inside of JSON.
        for form in (json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1]):
            text = text.replace(form, f"not-a-secret-{n}")
    text = text.replace(str(ROOT), "{ROOT}")
    text = text.replace(f"urn:pulumi:{up.STACK}::", f"urn:pulumi:{STACK}::")
    text = text.replace(f"{up.PROJECT}-{up.STACK}", f"{up.PROJECT}-{STACK}")
    settings = yaml.safe_load((up.WORKSPACE / f"stacks/Pulumi.{up.STACK}.yaml").read_text())
    config = {key: value for key, value in settings["config"].items() if "Token" not in key}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{version}.json").write_text(text + "\n")
    kept = yaml.safe_dump({"config": config}).replace(str(ROOT), "{ROOT}")
    (FOLDER / f"{version}.yaml").write_text(kept)


if __name__ == "__main__":
    main(sys.argv[1])
