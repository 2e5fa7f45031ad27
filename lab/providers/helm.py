"""Stand-in for the resource `helm.v3.Release`, through Helm's own program."""

import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from lab.paths import STATE
from lab.providers.base import (
    Call,
    Change,
    Failure,
    Properties,
    Resource,
    changed_paths,
    has_unknown,
)
from lab.toolchain import tool

_SETTINGS = (
    "chart",
    "version",
    "values",
    "repositoryOpts",
    "timeout",
    "atomic",
    "cleanupOnFail",
    "maxHistory",
    "skipAwait",
    "waitForJobs",
)


def _helm(*arguments: str, seconds: float = 120) -> str:
    # Helm's own files stay out of the user's home.
    homes = {f"HELM_{kind}_HOME": str(STATE / "helm") for kind in ("CACHE", "CONFIG", "DATA")}
    result = subprocess.run(
        [str(tool("helm")), *arguments],
        env={**os.environ, **homes, "KUBECACHEDIR": str(STATE / "discovery")},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )
    if result.returncode != 0:
        raise Failure(f"helm {arguments[0]}: {result.stderr.strip()[-1500:]}")
    return result.stdout


def _source(inputs: Properties) -> list[str]:
    """Return the arguments by which Helm finds the chart."""
    found = [inputs["chart"]]
    repository = (inputs.get("repositoryOpts") or {}).get("repo")
    if repository:
        found += ["--repo", repository]
    if inputs.get("version"):
        found += ["--version", inputs["version"]]
    return found


def finds(chart: Properties) -> bool:
    """Tell whether Helm reaches a chart."""
    try:
        _helm("show", "chart", *_source(chart), seconds=15)
    except (Failure, subprocess.TimeoutExpired):
        return False
    return True


class Release(Resource):
    """A Helm release."""

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Resolve the chart, and name the release where it has no name."""
        inputs = {"timeout": 300, "maxHistory": 0, "namespace": "default", **news}
        if not inputs.get("name"):
            inputs["name"] = olds.get("name") or f"{call.name}-{secrets.token_hex(4)}"
        if has_unknown(inputs):
            return inputs  # the real provider does not look for the chart either
        chart = yaml.safe_load(_helm("show", "chart", *_source(inputs)))
        wanted = inputs.get("version")
        if wanted and chart["version"] != wanted:
            raise Failure(f"chart {inputs['chart']} is {chart['version']}, and {wanted} was asked")
        inputs["version"] = chart["version"]
        return inputs

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Replace for another name or namespace; everything else is an upgrade."""
        return Change.of(changed_paths(inputs, news), {"name", "namespace"}.__contains__)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Install the release."""
        if call.preview:
            return "", inputs
        self._run("install", inputs)
        return f"{inputs['namespace']}/{inputs['name']}", self._outputs(inputs)

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Upgrade the release with the whole of the new values."""
        if call.preview:
            return {**outputs, **news}
        history = ["--history-max", str(news["maxHistory"]), "--reset-values"]
        self._run("upgrade", news, history)
        return self._outputs(news)

    def _run(self, command: str, inputs: Properties, extra: Sequence[str] = ()) -> None:
        arguments = [command, inputs["name"], *_source(inputs), *extra]
        arguments += ["--namespace", inputs["namespace"], "--timeout", f"{inputs['timeout']}s"]
        arguments += ["--atomic"] if inputs.get("atomic") else []
        arguments += [] if inputs.get("skipAwait") else ["--wait"]
        arguments += ["--wait-for-jobs"] if inputs.get("waitForJobs") else []
        if command == "upgrade" and inputs.get("cleanupOnFail"):
            arguments.append("--cleanup-on-fail")
        # Values go in by a file that only its owner can read, never by an argument.
        handle, name = tempfile.mkstemp(suffix=".yaml")
        try:
            with os.fdopen(handle, "w") as file:
                yaml.safe_dump(inputs.get("values") or {}, file)
            _helm(*arguments, "--values", name, seconds=inputs["timeout"] + 60)
        finally:
            Path(name).unlink()

    def _status(self, namespace: str, name: str) -> Properties | None:
        try:
            text = _helm("status", name, "--namespace", namespace, "-o", "json")
        except Failure as failure:
            if "not found" in str(failure):
                return None
            raise
        status: Properties = json.loads(text)
        return status

    def _outputs(self, inputs: Properties) -> Properties:
        release = self._status(inputs["namespace"], inputs["name"])
        if release is None:
            raise Failure(f"release {inputs['namespace']}/{inputs['name']} is gone")
        return {
            **inputs,
            "status": {
                "name": release["name"],
                "namespace": release["namespace"],
                "revision": release["version"],
                "status": release["info"]["status"],
                "version": inputs.get("version", ""),
                "chart": inputs["chart"],
            },
        }

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Return the release as it is now, with the values that it has."""
        namespace, _, name = identity.partition("/")
        if self._status(namespace, name) is None:
            return None
        values = json.loads(_helm("get", "values", name, "--namespace", namespace, "-o", "json"))
        found = {**inputs, "name": name, "namespace": namespace, "values": values or {}}
        return found, {**outputs, **{key: found[key] for key in _SETTINGS if key in found}}

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Uninstall the release."""
        namespace, _, name = identity.partition("/")
        if self._status(namespace, name) is not None:
            timeout = outputs.get("timeout", 300)
            _helm(
                *("uninstall", name, "--namespace", namespace, "--wait"),
                *("--timeout", f"{timeout}s"),
                seconds=timeout + 60,
            )
