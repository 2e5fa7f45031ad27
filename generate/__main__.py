"""Writes what follows from the settings."""

import json
import subprocess
import sys
from types import ModuleType

from lab.paths import ROOT


def main() -> None:
    """Write the argument types first: the schema and the reference are made of them.

    Each in a process of its own, which imports what the one before wrote.
    """
    for step in ("arguments", "schema", "reference"):
        done = subprocess.run([sys.executable, "-m", "generate", step], check=False, cwd=ROOT)
        if done.returncode:
            sys.exit(done.returncode)  # it has said why


def arguments() -> None:
    """Write the argument types."""
    # Without the components, which import the file that is written: it may be out of date.
    package = ModuleType("gitlab_runner_k8s")
    package.__path__ = [str(ROOT / "components/gitlab_runner_k8s")]
    sys.modules[package.__name__] = package
    from generate import arguments

    arguments.PATH.write_text(arguments.render())


def schema() -> None:
    """Write the plugin's schema, and what users rely on of it."""
    from generate import schema

    schema.release()
    text = json.dumps(schema.current(), indent=2, sort_keys=True) + "\n"
    schema.GOLDEN.write_text(text)


def reference() -> None:
    """Write the reference."""
    from generate import reference

    reference.REFERENCE.write_text(reference.render())


if __name__ == "__main__":
    {"arguments": arguments, "schema": schema, "reference": reference, "": main}[
        "".join(sys.argv[1:])
    ]()
