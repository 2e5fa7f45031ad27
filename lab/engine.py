"""The real Pulumi engine: its state in a directory, its provider plugins installed, its stacks."""

import json
import os
import re
import runpy
import secrets
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from pulumi import automation as auto

from lab import language
from lab.certificates import kept_secret
from lab.console import LabError, say
from lab.paths import KUBECONFIG, ROOT, STATE, replace
from lab.process import BOUND
from lab.toolchain import tool

HOME = STATE / "pulumi-home"
STAND_INS = ("aws", "random", "tls")
"""The providers that no registry serves: lab/providers stands in for them."""
_PATIENCE = 60.0


def environment(kubeconfig: Path = KUBECONFIG) -> dict[str, str]:
    """Install the provider plugins; return the environment by which the engine finds them.

    Args:
        kubeconfig: The cluster that the provider `kubernetes` talks to.
    """
    _install("kubernetes", [str(tool("pulumi-resource-kubernetes"))])
    for name in STAND_INS:
        python = ["env", f"PYTHONPATH={ROOT}", sys.executable]
        _install(name, [*python, "-m", "lab.providers", name])
    helm = {f"HELM_{kind}_HOME": str(STATE / "helm") for kind in ("CACHE", "CONFIG", "DATA")}
    return {"KUBECONFIG": str(kubeconfig), "PULUMI_HOME": str(HOME), **helm}


def _install(name: str, command: list[str]) -> None:
    """Install a plugin as the version that the SDK asks for; it dies with the engine."""
    version = metadata.version(f"pulumi-{name}")
    path = HOME / f"plugins/resource-{name}-v{version}/pulumi-resource-{name}"
    _script(path, [*BOUND, *command])


def _script(path: Path, command: list[str]) -> None:
    text = f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'
    if not path.exists() or path.read_text() != text:
        replace(path, text, mode=0o755)


def _passphrase() -> str:
    return kept_secret(STATE / "passphrase", lambda: secrets.token_urlsafe(32))


class _Command(auto.PulumiCommand):
    """The CLI; an interrupted caller waits until it has saved the state and given the lock back."""

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: Callable[[str], Any] | None = None,
        on_error: Callable[[str], Any] | None = None,
    ) -> auto.CommandResult:
        """Run a command.

        Raises:
            CommandError: the command failed.
            KeyboardInterrupt: it was interrupted, and has ended.
        """
        with ThreadPoolExecutor(1) as worker:
            thread = worker.submit(threading.get_native_id).result()
            call = super().run
            result = worker.submit(call, args, cwd, additional_env, on_output, on_error)
            try:
                return result.result()
            except KeyboardInterrupt:
                try:
                    if _signal_children(thread, signal.SIGINT):
                        say("  interrupted: waiting for pulumi; interrupt again to kill it")
                        wait([result], _PATIENCE)
                finally:
                    _signal_children(thread, signal.SIGKILL)
                raise


def _signal_children(thread: int, number: signal.Signals) -> bool:
    children = Path(f"/proc/self/task/{thread}/children").read_text().split()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(int(child), number)
    return bool(children)


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
        environment: What the function `environment` returned.
        state: Where its state is. Default: below the lab's directory.
    """
    state.mkdir(parents=True, exist_ok=True)
    # In a session of its own: Ctrl-C in a terminal reaches it once, by `_Command`.
    _script(STATE / "pulumi-cli/bin/pulumi", ["setsid", *BOUND, str(tool("pulumi"))])
    command = _Command(root=str(STATE / "pulumi-cli"))
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


def update(stack: auto.Stack) -> auto.UpResult:
    """Update a stack, and print what happens to its resources.

    Raises:
        LabError: the update failed; with the reason of each resource, once and in full.
    """
    reasons: list[str] = []
    errors: list[str] = []

    def note(event: auto.EngineEvent) -> None:
        if event.res_outputs_event:
            step = event.res_outputs_event.metadata
            operation = str(getattr(step.op, "value", step.op))
            if operation not in {"same", "read"} and not step.type.startswith("pulumi:"):
                say(f"    {operation:<8} {_resource(step.urn)}")
        diagnostic = event.diagnostic_event
        if diagnostic and diagnostic.severity == "error":
            text = _MARKUP.sub("", diagnostic.message).strip()
            # What stopped the program comes again as an unhandled error.
            if not any(reason in text for reason in reasons) and text != "update failed":
                about = f"{_resource(diagnostic.urn)}:\n" if diagnostic.urn else ""
                reasons.append(about + text)

    try:
        return stack.up(on_event=note, on_error=errors.append, color="never")
    except auto.errors.CommandError:
        raise LabError("\n".join(["the update failed:", *(reasons or errors)])) from None


_MARKUP = re.compile(r"<\{%.*?%\}>")


def _resource(urn: str) -> str:
    *_, kind, name = urn.split("::")
    return f"{kind.rpartition('$')[2]} {name}"


def recover(stack: auto.Stack, project: str) -> None:
    """Clear what a killed update of a stack left: its lock and its unfinished operations.

    The next update repeats them: the provider `kubernetes` takes over an object that is there.

    Args:
        stack: The stack; its state is in a directory.
        project: Name of the project.

    Raises:
        LabError: another update runs.
    """
    state = Path(stack.workspace.env_vars["PULUMI_BACKEND_URL"].removeprefix("file://"), ".pulumi")
    folder = state / f"locks/organization/{project}/{stack.name}"
    locks = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    if running := next(filter(_runs, locks), None):
        pid = running["pid"]
        raise LabError(f"another update of the stack runs (pid {pid}): wait for its end")
    if locks:
        stack.cancel()
        say(f"  cancelled the update of a process that is gone (pid {locks[0]['pid']})")
    file = state / f"stacks/{project}/{stack.name}.json"
    if file.exists() and '"pending_operations"' in file.read_text():
        exported = stack.export_stack()
        deployment = dict(exported.deployment or {})
        pending = deployment.pop("pending_operations")
        stack.import_stack(auto.Deployment(exported.version, deployment))
        say(f"  {len(pending)} operations were cut off: they are done again")


def _runs(lock: dict[str, Any]) -> bool:
    """Tell whether the update that made a lock still runs. The lab's state is on this machine."""
    try:
        return Path(f"/proc/{lock['pid']}/comm").read_text().strip() == "pulumi"
    except OSError:
        return False


def cli(
    work_dir: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the Pulumi CLI as a user does: the program runs in a language host, not in this process.

    Args:
        work_dir: Where Pulumi.yaml is. The state is in `.state` there, unless `environment` says
            otherwise.
        environment: What the function `environment` returned, or the like.
        arguments: Command and options.
    """
    return subprocess.run(
        [*BOUND, str(tool("pulumi")), *arguments, "--non-interactive", "--color", "never"],
        cwd=work_dir,
        env=cli_environment(work_dir, environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def cli_environment(work_dir: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return the variables with which `cli` runs; `environment` overrides the defaults."""
    state = work_dir / ".state"
    state.mkdir(exist_ok=True)
    return {
        **os.environ,
        **language.environment(),
        "PULUMI_HOME": str(HOME),
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": _passphrase(),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        **environment,
    }


def state_text(name: str, project: str) -> str:
    """Return a stack's state as it is on disk, where secrets are encrypted."""
    return _state(name, project).read_text()


def salt(name: str, project: str) -> str | None:
    """Return the salt with which the secrets of a stack's state are encrypted; None before one."""
    state = _state(name, project)
    if not state.exists():
        return None
    latest = json.loads(state.read_text())["checkpoint"]["latest"] or {}
    return latest.get("secrets_providers", {}).get("state", {}).get("salt")  # type: ignore[no-any-return]


def _state(name: str, project: str) -> Path:
    return STATE / f"pulumi/.pulumi/stacks/{project}/{name}.json"


def program_of(path: Path) -> Callable[[], None]:
    """Return a program file as a function."""

    def run() -> None:
        runpy.run_path(str(path), run_name="__main__")

    return run
