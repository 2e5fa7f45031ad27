"""The schema that the plugin serves: `python -m tests.schema` writes the golden copy."""

import json
import sys
from typing import Any

from gitlab_runner_k8s import COMPONENTS, __version__
from gitlab_runner_k8s._meta import PACKAGE
from pulumi.provider.experimental.component import ComponentProvider

from lab.paths import ROOT

GOLDEN = ROOT / "components/schema.json"


def provider() -> ComponentProvider:
    """Return the provider that the plugin's host serves."""
    return ComponentProvider(COMPONENTS, PACKAGE, version=__version__)


def current() -> dict[str, Any]:
    """Return the schema of the components as they are."""
    schema: dict[str, Any] = json.loads(provider().schema or "{}")
    return schema


if __name__ == "__main__":
    text = json.dumps(current(), indent=2, sort_keys=True) + "\n"
    GOLDEN.write_text(text)
    sys.stdout.write(f"wrote {GOLDEN}\n")
