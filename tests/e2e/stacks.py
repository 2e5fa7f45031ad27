"""Stacks of the tests' own on the lab."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pulumi import automation as auto

from lab import engine


@contextmanager
def deployed(program: Callable[[], None], project: str, folder: Path) -> Iterator[auto.Stack]:
    """Deploy a program in a project of its own; remove what it made in the end."""
    (folder / "Pulumi.yaml").write_text(f"name: {project}\nruntime: python\n")
    stack = engine.select_stack("test", program, folder, project, engine.environment())
    for kind in ("enableSecretMutable", "enableConfigMapMutable"):
        stack.set_config(f"kubernetes:{kind}", auto.ConfigValue("true"))
    try:
        stack.up()
        yield stack
    finally:
        stack.destroy()
        stack.workspace.remove_stack("test")
