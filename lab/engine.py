"""The real Pulumi engine, with its state in a directory and, where needed, stand-in providers."""

import os
import runpy
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pulumi import automation as auto

from lab import language
from lab.certificates import kept_secret
from lab.console import LabError
from lab.paths import LOGS, ROOT, STATE
from lab.toolchain import tool

PROVIDERS = ("kubernetes", "random", "tls")


def provider_mode() -> str:
    """Return `plugin` or `standin`, by LAB_PROVIDERS or by what is installed.

    Raises:
        LabError: LAB_PROVIDERS is none of plugin, standin and auto.
    """
    wanted = os.environ.get("LAB_PROVIDERS", "auto")
    if wanted not in {"plugin", "standin", "auto"}:
        raise LabError(f"LAB_PROVIDERS must be plugin, standin or auto, got '{wanted}'")
    if wanted != "auto":
        return wanted
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    plugins = home / "plugins"
    installed = [any(plugins.glob(f"resource-{name}-v*")) for name in PROVIDERS]
    return "plugin" if all(installed) else "standin"


@contextmanager
def providers(mode: str, kubeconfig: Path) -> Iterator[dict[str, str]]:
    """Serve the providers; yield the environment by which the engine finds them."""
    environment = {"KUBECONFIG": str(kubeconfig)}
    if mode == "plugin":
        yield environment
        return
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / "providers.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.providers"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        addresses = process.stdout.readline().strip()
        if not addresses:
            raise LabError(f"the stand-in providers did not start; see {LOGS / 'providers.log'}")
        home = {"PULUMI_HOME": str(STATE / "pulumi-home")}
        yield {**environment, **home, "PULUMI_DEBUG_PROVIDERS": addresses}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def kubernetes_plugin(served: dict[str, str]) -> Iterator[dict[str, str]]:
    """Serve the provider plugin `kubernetes` itself, in place of its stand-in.

    It is good for one command of the engine, which tells it to cancel at the end.

    Args:
        served: What `providers` yielded.
    """
    with (LOGS / "plugin.log").open("ab") as log:
        process = subprocess.Popen(
            [tool("pulumi-resource-kubernetes")],
            env={**os.environ, **served},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise LabError(f"the plugin did not start; see {LOGS / 'plugin.log'}")
        others = [
            address
            for address in served["PULUMI_DEBUG_PROVIDERS"].split(",")
            if not address.startswith("kubernetes:")
        ]
        yield {**served, "PULUMI_DEBUG_PROVIDERS": ",".join([*others, f"kubernetes:{port}"])}
    finally:
        process.terminate()
        process.wait()


def _passphrase() -> str:
    return kept_secret(STATE / "passphrase", lambda: secrets.token_urlsafe(32))


def select_stack(
    name: str,
    program: Callable[[], None],
    work_dir: Path,
    project: str,
    environment: dict[str, str],
    state: Path = STATE / "pulumi",
) -> auto.Stack:
    """Return a stack, made when it is not there.

    Args:
        name: Name of the stack.
        program: The Pulumi program; it runs in this process, so no language host is needed.
        work_dir: Where Pulumi.yaml is; the engine writes the stack's file there.
        project: Name of the project.
        environment: What `providers` yielded.
        state: Where its state is. Default: below the lab's directory.
    """
    state.mkdir(parents=True, exist_ok=True)
    command = auto.PulumiCommand(root=str(_command_root()))
    return auto.create_or_select_stack(
        stack_name=name,
        project_name=project,
        program=program,
        opts=auto.LocalWorkspaceOptions(
            work_dir=str(work_dir),
            pulumi_command=command,
            env_vars={
                **environment,
                "PULUMI_BACKEND_URL": f"file://{state}",
                "PULUMI_CONFIG_PASSPHRASE": _passphrase(),
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK": "true",
            },
        ),
    )


def cli(
    work_dir: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the Pulumi CLI as a user does: the program runs in a language host, not in this process.

    Args:
        work_dir: Where Pulumi.yaml is. The state is in `.state` there, unless `environment` says
            otherwise.
        environment: What `providers` yielded, or the like.
        arguments: Command and options.
    """
    return subprocess.run(
        [str(tool("pulumi")), *arguments, "--non-interactive", "--color", "never"],
        cwd=work_dir,
        env=cli_environment(work_dir, environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def cli_environment(work_dir: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return the variables with which `cli` runs; `environment` comes before what stands here."""
    state = work_dir / ".state"
    state.mkdir(exist_ok=True)
    return {
        **os.environ,
        **language.environment(),
        "PULUMI_HOME": str(STATE / "pulumi-home"),
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": _passphrase(),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        **environment,
    }


def state_text(name: str, project: str) -> str:
    """Return a stack's state as it is on disk, where secrets are encrypted."""
    return (STATE / f"pulumi/.pulumi/stacks/{project}/{name}.json").read_text()


def _command_root() -> Path:
    """Return a directory with `bin/pulumi`, as the Automation API wants it."""
    root = STATE / "pulumi-cli"
    link = root / "bin/pulumi"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tool("pulumi"))
    return root


def program_of(path: Path) -> Callable[[], None]:
    """Return a program file as a function."""

    def run() -> None:
        runpy.run_path(str(path), run_name="__main__")

    return run
