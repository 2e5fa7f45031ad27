"""What the lab asks of GitLab's stand-in: push a commit, submit a job, read its result."""

import base64
import functools
import hashlib
import hmac
import io
import json
import secrets
import tarfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from lab import cluster, images
from lab.certificates import kept_secret
from lab.console import LabError, step
from lab.gitlab import ci
from lab.gitlab.model import PROJECT, URL, Job, Result
from lab.gitlab.server import jobs as server
from lab.gitlab.trace import Trace
from lab.paths import STATE

NAMESPACE = "lab"
_PORT = 8080
_LABELS = {"app": "gitlab"}
_SERVER = Path(__file__).parent / "server"
# How long the stand-in may be away: its pod starts in a few seconds.
_AWAY_SECONDS = 60


def _runner_key() -> str:
    return kept_secret(STATE / "runner-key", lambda: secrets.token_hex(32))


def _admin_token() -> str:
    return kept_secret(STATE / "gitlab-admin-token", lambda: secrets.token_hex(32))


def runner_token(name: str = "gitlab-runner") -> str:
    """Return the authentication token of a runner; each name is a runner of its own."""
    return server.runner_token(_runner_key(), name)


def _objects() -> list[dict[str, Any]]:
    files = {path.name: path.read_text() for path in sorted(_SERVER.glob("*.py"))}
    keys = {"runner": _runner_key(), "admin": _admin_token()}
    content = json.dumps([files, keys]).encode()
    container = {
        "name": "gitlab",
        "image": images.reference("gitlab-runner-helper"),
        "command": ["python3", "-m", "server", str(_PORT), "/repositories", "/keys", URL],
        "workingDir": "/program",
        "volumeMounts": [
            {"name": "repositories", "mountPath": "/repositories"},
            {"name": "program", "mountPath": "/program/server"},
            {"name": "keys", "mountPath": "/keys"},
        ],
        "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
    }
    pod = {
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [
            {"name": "repositories", "emptyDir": {}},
            {"name": "program", "configMap": {"name": "gitlab"}},
            {"name": "keys", "secret": {"secretName": "gitlab"}},
        ],
    }
    deployment = cluster.deployment("gitlab", NAMESPACE, _LABELS, pod)
    # Never two at once: a job must reach the server that its runner asks.
    deployment["spec"]["strategy"] = {"type": "Recreate"}
    digest = hmac.new(_admin_token().encode(), content, hashlib.sha256).hexdigest()
    deployment["spec"]["template"]["metadata"]["annotations"] = {"lab/content": digest}
    meta = {"name": "gitlab", "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files},
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": keys},
        deployment,
        cluster.service("gitlab", NAMESPACE, _LABELS, [{"port": _PORT}]),
    ]


def up() -> None:
    """Start the stand-in, anew where its program or its keys have changed."""
    with step("starting GitLab's stand-in"):
        cluster.apply(*_objects())
        cluster.rollout(NAMESPACE, "deployment/gitlab")


_PUSH = """set -eu
repository=$1
[ -d "$repository" ] || git init -q --bare -b main "$repository"
# One push at a time: git refuses the second of two that move the branch at once.
exec 9> "$repository.lock"
flock 9
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q "$repository" "$work" 2> /dev/null
cd "$work"
# Else git packs in the background, in a folder that is being removed.
git config gc.auto 0
git config user.name demo
git config user.email demo@example.com
git checkout -q -B "$3"
git rm -rfq --ignore-unmatch .
tar -xf -
git add -A
git commit -q --allow-empty -m "$2"
# As GitLab does, so that a job finds its commit when the branch has moved on.
git push -q --force origin "$3" "HEAD:refs/pipelines/$(git rev-parse HEAD)"
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
        branch: The branch. An existing one is reset to main first.

    Returns:
        The commit's SHA.

    Raises:
        LabError: the repository did not take them.
    """
    return cluster.kubectl(
        *("-n", NAMESPACE, "exec", "-i", "deployment/gitlab", "--"),
        *("/bin/sh", "-c", _PUSH, "push", f"/repositories/{PROJECT}.git", message, branch),
        stdin=packed(files),
    ).strip()


@functools.cache
def _address() -> str:
    place = "jsonpath={.spec.clusterIP}"
    host = cluster.kubectl("-n", NAMESPACE, "get", "service", "gitlab", "-o", place)
    return f"http://{host}:{_PORT}"


def _call(method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
    """Return the answer of the stand-in, which may be away for a while."""
    data = None if body is None else json.dumps(body).encode()
    deadline = time.monotonic() + _AWAY_SECONDS
    while True:
        headers = {"Authorization": f"Bearer {_admin_token()}"}
        request = urllib.request.Request(f"{_address()}/lab/{path}", data, headers, method=method)
        try:
            with cluster.OPENER.open(request, timeout=60) as response:
                answer: bytes = response.read()
                return answer
        except HTTPError as error:
            with error:
                message = error.read().decode(errors="replace") or error.reason
            raise LabError(f"GitLab's stand-in: {method} {path}: {message}") from None
        except (OSError, HTTPException) as error:
            if time.monotonic() > deadline:
                raise LabError(f"GitLab's stand-in does not answer: {error}") from None
            _address.cache_clear()
            time.sleep(0.5)


def submit(job: Job, runner: str = "gitlab-runner") -> int:
    """Queue a job for a runner; return the job's number.

    Raises:
        LabError: the stand-in does not answer, or knows no job that this one depends on.
    """
    body = {
        # A call that is repeated, because its answer was lost, queues no second job.
        "key": secrets.token_hex(8),
        "runner": runner,
        "payload": ci.payload(job),
        "dependencies": job.dependencies,
    }
    number: int = json.loads(_call("POST", "jobs", body))["id"]
    return number


def wait(number: int, seconds: float = 900, show: Callable[[str], object] | None = None) -> Result:
    """Wait for a job's end and return its result.

    Args:
        number: The job's number.
        seconds: How long to wait; a job that takes longer is canceled.
        show: Called with each new line of the job's log.

    Raises:
        LabError: the job has not ended in that time, or the stand-in lost it in a restart.
    """
    deadline = time.monotonic() + seconds
    trace = None
    while True:
        job = json.loads(_call("GET", f"jobs/{number}?offset={len(trace.raw) if trace else 0}"))
        if trace is None and job["started"]:
            trace = Trace(job["started"], show)
        if trace:
            trace.feed(base64.b64decode(job["trace"]))
        if job["finished"]:
            break
        if time.monotonic() > deadline:
            cancel(number)
            text = trace.raw.decode(errors="replace")[-2000:] if trace else "no runner took it"
            raise LabError(f"job {number} is {job['status']} after {seconds:.0f} s:\n{text}")
    started = job["started"] or job["finished"]
    trace = trace or Trace(started)
    trace.close()
    return Result(
        number=number,
        status=job["status"],
        failure_reason=job["failure_reason"],
        exit_code=job["exit_code"],
        trace=trace.lines,
        raw=bytes(trace.raw),
        seconds=trace.seconds,
        restored=trace.restored,
        saved=trace.saved,
        queued=started - job["created"],
        job_seconds=job["finished"] - started,
        pod=trace.pod,
    )


def run(
    job: Job,
    runner: str = "gitlab-runner",
    show: Callable[[str], object] | None = None,
    seconds: float = 900,
) -> Result:
    """Submit a job and wait for its end. An interruption cancels the job.

    Args:
        job: The job.
        runner: The runner that it waits for.
        show: Called with each new line of the job's log.
        seconds: How long to wait; a job that takes longer is canceled.

    Raises:
        LabError: as `submit` and `wait` say.
    """
    number = submit(job, runner)
    try:
        return wait(number, seconds, show)
    except KeyboardInterrupt:
        cancel(number)
        raise


def cancel(number: int) -> None:
    """Cancel a job. Its runner learns of it with the next answer that it gets for the job.

    Raises:
        LabError: there is no such job.
    """
    _call("POST", f"jobs/{number}/cancel")


def state(number: int) -> str:
    """Return the job's status: pending, running, canceling, success, failed or canceled.

    Raises:
        LabError: there is no such job.
    """
    status: str = json.loads(_call("GET", f"jobs/{number}"))["status"]
    return status


def artifacts(number: int, kind: str = "archive") -> bytes:
    """Return what a job uploaded: the archive of its artifacts, or a report.

    Args:
        number: The job's number.
        kind: GitLab's type of the artifact, such as archive, dotenv or terraform.

    Raises:
        LabError: there is no such job, or it has no such artifact.
    """
    return _call("GET", f"jobs/{number}/artifacts/{kind}")


def runners() -> Mapping[str, tuple[str, ...]]:
    """Return the runners that were seen: the system IDs of their managers by name."""
    seen = json.loads(_call("GET", "runners"))
    return {name: tuple(managers) for name, managers in seen.items()}


def log(result: Result) -> str:
    """Return a job's log as GitLab shows it: sections as headings with their duration."""
    trace = Trace(0.0)
    trace.feed(result.raw)
    trace.close()
    lines = []
    for text, section in trace.headed():
        seconds = round(trace.seconds.get(section, 0.0))
        duration = f"  [{seconds // 60:02}:{seconds % 60:02}]" if section else ""
        lines.append(f"{text}{duration}\n")
    return "".join(lines)
