"""A stand-in for Pulumi's host of Python programs.

The newest one that the Go proxy serves runs no plugins and no policy packs for the lab's CLI.
"""

import os
import subprocess
import sys
from pathlib import Path

from lab.console import LabError
from lab.paths import BIN, CACHE, ROOT, replace

EXECUTOR = "pulumi-language-python-exec"
"""Pulumi's own script that runs a program; the host only starts it."""
NODE = CACHE / "node"
"""The packages that the TypeScript example needs."""


def executor() -> Path:
    """Return Pulumi's script that runs a program, taken once out of the CLI's own Go module."""
    path = BIN / EXECUTOR
    if not path.exists():
        # Not above: the image of the CLI has the script, and nothing that builds programs.
        from lab.toolchain import module_file

        module = "github.com/pulumi/pulumi/sdk/v3"
        # Whole or not at all: two tests may do this at once.
        replace(path, module_file("core", module, f"python/cmd/{EXECUTOR}").read_bytes())
    return path


def install_node_modules() -> None:
    """Install, once, the packages of the TypeScript example; npm runs none of their scripts.

    Raises:
        LabError: npm is missing, or the registry refuses.
    """
    wanted = (ROOT / "examples/typescript/package.json").read_bytes()
    have = NODE / "package.json"
    if have.exists() and have.read_bytes() == wanted and (NODE / "node_modules/.ready").exists():
        return
    NODE.mkdir(parents=True, exist_ok=True)
    have.write_bytes(wanted)
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
    command = ["npm", "install", *options, f"--cache={CACHE / 'npm'}"]
    try:
        subprocess.run(command, cwd=NODE, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise LabError("npm is missing: install Node.js 20 or newer") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"npm install: {error.stderr.strip()[-1000:]}") from error
    (NODE / "node_modules/.ready").touch()


def environment() -> dict[str, str]:
    """Return the environment in which the CLI finds a host for Python, and this Python.

    A CLI that was installed has a host beside it, which is then the one in use.

    Raises:
        LabError: the CLI is not built.
    """
    from lab.toolchain import tool

    cli = tool("pulumi").resolve()
    beside = cli.with_name("pulumi-language-python").exists()
    if not beside:
        executor()
    stand_in = [] if beside else [str(ROOT / "lab/language/bin")]
    folders = [*stand_in, str(cli.parent), str(BIN), str(Path(sys.executable).parent)]
    return {"PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")])}
