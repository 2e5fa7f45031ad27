"""A stand-in for Pulumi's host of Python programs, which no package registry serves."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab.console import LabError
from lab.paths import BIN, CACHE, ROOT
from lab.toolchain import tool

EXECUTOR = "pulumi-language-python-exec"
"""Pulumi's own script that runs a program; the host only starts it."""


NODE = CACHE / "node"
"""Where the packages are that the TypeScript example needs."""


def executor() -> Path:
    """Return Pulumi's script that runs a program, taken once out of the CLI's own Go module.

    Raises:
        LabError: the module cannot be had.
    """
    path = BIN / EXECUTOR
    if path.exists():
        return path
    found = subprocess.run(
        ["go", "mod", "download", "-json", "github.com/pulumi/pulumi/sdk/v3"],
        cwd=ROOT / "lab/tools/pulumi",
        capture_output=True,
        text=True,
    )
    if found.returncode != 0:
        raise LabError(f"{EXECUTOR} cannot be had from the CLI's Go module: {found.stderr.strip()}")
    # Whole or not at all: two tests may do this at once.
    unfinished = path.with_name(f".{EXECUTOR}.{os.getpid()}")
    shutil.copyfile(Path(json.loads(found.stdout)["Dir"]) / "python/cmd" / EXECUTOR, unfinished)
    unfinished.rename(path)
    return path


def install_node_modules() -> None:
    """Install, once, what the TypeScript example is checked with; npm runs no script of it.

    Raises:
        LabError: npm is missing, or the registry refuses.
    """
    wanted = (ROOT / "examples/typescript/package.json").read_bytes()
    have = NODE / "package.json"
    if have.exists() and have.read_bytes() == wanted and (NODE / "node_modules/.ready").exists():
        return
    NODE.mkdir(parents=True, exist_ok=True)
    have.write_bytes(wanted)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
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
        LabError: the CLI is not there, or the script that runs programs is not.
    """
    cli = tool("pulumi").resolve()
    beside = cli.with_name("pulumi-language-python").exists()
    if not beside:
        executor()
    stand_in = [] if beside else [str(ROOT / "lab/language/bin")]
    folders = [*stand_in, str(cli.parent), str(BIN), str(Path(sys.executable).parent)]
    return {"PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")])}
