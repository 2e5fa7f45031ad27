"""Where the runner's Helm chart comes from."""

import json
import os
import urllib.request
from http.client import HTTPException
from typing import Any

from gitlab_runner_k8s import pins

from lab.paths import ROOT, STATE, replace

STAND_IN = ROOT / "lab/chart/gitlab-runner"
_SECONDS = 10


def chart() -> dict[str, Any]:
    """Return where the runner's chart is: GITLAB_RUNNER_CHART, GitLab's own, or the stand-in.

    The variable names a folder, an archive or an OCI reference; `name=repository` names a chart
    of a repository. GITLAB_RUNNER_CHART_VERSION names its version; a folder or an archive has one
    already. Without a variable the choice is made once, so that the next update changes nothing.
    """
    wanted = os.environ.get("GITLAB_RUNNER_CHART")
    if wanted:
        name, _, repository = wanted.partition("=")
        version = os.environ.get("GITLAB_RUNNER_CHART_VERSION")
        source = {"chart": name, "repository": repository or None}
        return source | ({"version": version} if version else {})
    chosen = STATE / "chart.json"
    if not chosen.exists():
        official = {"chart": pins.CHART_NAME, "repository": pins.CHART_REPOSITORY}
        stand_in = {"chart": str(STAND_IN), "repository": None}
        replace(chosen, json.dumps(official if _is_served() else stand_in))
    named: dict[str, Any] = json.loads(chosen.read_text())
    return named


def _is_served() -> bool:
    """Tell whether GitLab's repository is reached and has the version that is pinned."""
    try:
        index = f"{pins.CHART_REPOSITORY}/index.yaml"
        with urllib.request.urlopen(index, timeout=_SECONDS) as answer:
            archive = f"{pins.CHART_NAME}-{pins.CHART_VERSION}.tgz"
            return archive.encode() in answer.read()
    except (OSError, HTTPException):
        return False
