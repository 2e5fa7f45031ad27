"""Stand-in for GitLab: serves git repositories over HTTP and answers for one runner token."""

import io
import secrets
import tarfile
from collections.abc import Mapping
from pathlib import Path

from lab import cluster, images
from lab.certificates import kept_secret
from lab.console import step
from lab.paths import STATE

NAMESPACE = "lab"
URL = "http://gitlab.lab.svc.cluster.local:8080"
PROJECT = "demo/app"
PROJECT_ID = 42
REPOSITORY = f"{URL}/{PROJECT}.git"
_LABELS = {"app": "gitlab"}


def runner_token() -> str:
    """Return the token of the lab's runner, made once."""
    return kept_secret(STATE / "runner-token", lambda: f"glrt-{secrets.token_urlsafe(20)}")


def up() -> None:
    """Start the stand-in."""
    # The image of the jobs: it has git with its HTTP backend, and perl for git.
    container = {
        "name": "gitlab",
        "image": images.reference("docker"),
        "command": ["perl", "/config/gitlab.pl", "8080", "/repositories", "/config/token"],
        "volumeMounts": [
            {"name": "repositories", "mountPath": "/repositories"},
            {"name": "config", "mountPath": "/config"},
        ],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    pod = {
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [
            {"name": "repositories", "emptyDir": {}},
            {"name": "config", "secret": {"secretName": "gitlab"}},
        ],
    }
    server = Path(__file__).with_suffix(".pl").read_text()
    deployment = cluster.deployment("gitlab", NAMESPACE, _LABELS, pod)
    # Never two at once: what is pushed must reach the one that serves.
    deployment["spec"]["strategy"] = {"type": "Recreate"}
    with step("starting GitLab's stand-in"):
        cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "gitlab", "namespace": NAMESPACE},
                "stringData": {"token": runner_token(), "gitlab.pl": server},
            },
            deployment,
            cluster.service("gitlab", NAMESPACE, _LABELS, [{"port": 8080}]),
        )
        cluster.rollout(NAMESPACE, "deployment/gitlab")


_PUSH = f"""set -eu
repository=/repositories/{PROJECT}.git
[ -d "$repository" ] || git init -q --bare -b main "$repository"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q "$repository" "$work" 2> /dev/null
cd "$work"
# Else git packs in the background, in a folder that is being removed.
git config gc.auto 0
git config user.name demo
git config user.email demo@example.com
git checkout -q -B "$2"
git rm -rfq --ignore-unmatch .
tar -xf -
git add -A
git commit -q --allow-empty -m "$1"
git push -q --force origin "$2"
git rev-parse HEAD
"""


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return files as a tar archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def push(files: Mapping[str, bytes], message: str = "change", branch: str = "main") -> str:
    """Commit the files to a branch of the project, which then holds just them.

    Args:
        files: Contents by path.
        message: The commit's message.
        branch: The branch; a new one begins at main.

    Returns:
        The commit's SHA.

    Raises:
        LabError: the repository did not take them.
    """
    return cluster.kubectl(
        *("-n", NAMESPACE, "exec", "-i", "deployment/gitlab", "--"),
        *("/bin/sh", "-c", _PUSH, "push", message, branch),
        stdin=packed(files),
    ).strip()
