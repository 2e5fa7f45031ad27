"""`make verify`: the same docker build in two jobs; the second must find the first one's layers."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import cluster, engine, gitlab, up
from lab.console import LabError, say, step
from lab.gitlab import Git, Result, ci
from lab.paths import ROOT

SAMPLE = ROOT / "lab/sample"
JOB = "build"
_BRANCH = "verify"
_CACHE = "history-non_protected"
_LOG_SECONDS = 0.5
"""The runner reads the log of a job's pod so often: the times of its lines are that exact."""
_BUILD = re.compile(r"\bdocker (buildx )?build ")
_CHANGED = ("src/app.c", b'"eight queens"', b'"eight queens, changed"')
_UNCHANGED = 4
"""How many steps of the sample's Dockerfile come before the changed file."""


@dataclass(frozen=True)
class Build:
    """A job's docker build, by the job's log."""

    job_seconds: float
    build_seconds: float
    steps: int
    reused: int
    cache_restored: bool
    cache_saved: bool


def read_trace(result: Result) -> Build:
    """Count a build's steps, and the steps that the builder says it reused.

    Raises:
        LabError: the log has no `docker build`.
    """
    commands = [line for line in result.trace if line.text.startswith("$ ")]
    starts = [n for n, line in enumerate(commands) if _BUILD.search(line.text)]
    if not starts:
        raise LabError(f"the job ran no docker build:\n{result.text[-2000:]}")
    begin, end = commands[starts[0]], commands[starts[0] + 1]
    steps, reused = set(), set()
    for line in result.trace:
        # "#7 [build 2/4] RUN make", and for a reused one "#7 CACHED" after it.
        if match := re.match(r"#(\d+) \[(?!internal)[^\]]*\d+/\d+\] (?!FROM)", line.text):
            steps.add(match[1])
        elif match := re.match(r"#(\d+) CACHED", line.text):
            reused.add(match[1])
    return Build(
        job_seconds=result.job_seconds,
        build_seconds=end.seconds - begin.seconds,
        steps=len(steps),
        reused=len(steps & reused),
        cache_restored=bool(result.restored) and all(result.restored.values()),
        cache_saved=bool(result.saved) and all(result.saved.values()),
    )


def _files() -> dict[str, bytes]:
    return {
        str(path.relative_to(SAMPLE)): path.read_bytes()
        for path in sorted(SAMPLE.rglob("*"))
        if path.is_file()
    }


def _outputs() -> dict[str, Any]:
    stack = up.select(engine.environment())
    return {name: output.value for name, output in stack.outputs().items()}


def _exec(namespace: str, target: str, script: str) -> str:
    return cluster.kubectl("-n", namespace, "exec", target, "--", "/bin/sh", "-c", script)


_MC = (
    ". /secrets/config.env; export MC_CONFIG_DIR=/tmp/mc;"
    'export MC_HOST_root="http://$MINIO_ROOT_USER:$MINIO_ROOT_PASSWORD@localhost:9000";'
)


def store(endpoint: str, command: str) -> str:
    """Run an `mc` command in the store's pod, where `root` is the store as its administrator."""
    host = endpoint.partition(":")[0]
    service, namespace = host.split(".")[:2]
    return _exec(namespace, f"statefulset/{service}", f"{_MC} mc {command}")


def _archives(outputs: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Return the sample's archives in the bucket: key and size."""
    listing = store(
        outputs["cache_endpoint"], f"ls --recursive --json root/{outputs['cache_bucket']}"
    )
    for entry in map(json.loads, listing.splitlines()):
        if f"project/{gitlab.PROJECT_ID}/{_CACHE}" in entry["key"]:
            yield entry["key"], entry["size"]


def _start_cold(outputs: Mapping[str, Any]) -> None:
    """Remove the layers and the archives of an earlier run."""
    daemon = outputs["docker_host"].removeprefix("tcp://").split(".")[0]
    clean = (
        "export DOCKER_HOST=unix:///var/run/docker.sock;"
        "docker images -q demo/app | xargs -r docker rmi -f;"
        "docker builder prune --all --force"
    )
    _exec(outputs["daemon_namespace"], f"statefulset/{daemon}", clean)
    for key, _ in _archives(outputs):
        store(outputs["cache_endpoint"], f"rm root/{outputs['cache_bucket']}/{key}")


def _run(files: Mapping[str, bytes], message: str) -> Build:
    """Run the sample's job and print its log.

    Raises:
        LabError: the job failed.
    """
    git = Git(gitlab.push(files, message, _BRANCH), _BRANCH)
    result = gitlab.run(ci.job(files[".gitlab-ci.yml"].decode(), JOB, git, timeout_seconds=600))
    say(gitlab.log(result))
    if not result.succeeded:
        raise LabError(f"job {result.number} failed ({result.failure_reason}): see its log above")
    return read_trace(result)


def _table(cold: Build, warm: Build) -> str:
    def row(title: str, first: str, second: str, ratio: float | None = None) -> str:
        return f"  {title:<24}{first:>12}{second:>12}{f'{ratio:8.1f}x' if ratio else ''}"

    def yes(value: bool) -> str:
        return "yes" if value else "no"

    return "\n".join(
        [
            row("", "first job", "second job") + "    ratio",
            row(
                f"docker build, ±{_LOG_SECONDS} s",
                f"{cold.build_seconds:.1f}",
                f"{warm.build_seconds:.1f}",
                cold.build_seconds / max(warm.build_seconds, _LOG_SECONDS),
            ),
            row(
                "whole job, seconds",
                f"{cold.job_seconds:.1f}",
                f"{warm.job_seconds:.1f}",
                cold.job_seconds / warm.job_seconds,
            ),
            row("steps reused", f"{cold.reused}/{cold.steps}", f"{warm.reused}/{warm.steps}"),
            row("cache restored", yes(cold.cache_restored), yes(warm.cache_restored)),
            row("cache saved", yes(cold.cache_saved), yes(warm.cache_saved)),
        ]
    )


def problems(cold: Build, warm: Build, *, has_archive: bool) -> list[str]:
    """Return the faults of a pair of builds: none where the platform keeps builds warm."""
    wrong = []
    if cold.reused:
        wrong.append(f"the first build was not cold: it reused {cold.reused} steps")
    if warm.reused < _UNCHANGED:
        wrong.append(
            f"the second build reused {warm.reused} steps of the first: {_UNCHANGED} were unchanged"
        )
    if not cold.cache_saved or not has_archive:
        wrong.append("the first job's cache is not in the bucket")
    if not warm.cache_restored:
        wrong.append("the second job did not get the cache of the first")
    return wrong


def main() -> None:
    """Run both jobs and print what they took.

    Raises:
        LabError: the second build was not warm, or the cache did not hit.
    """
    if not cluster.runs():
        raise LabError("the lab is not running; run 'make up' first")
    outputs = _outputs()
    with step("removing the layers and archives of an earlier run"):
        _start_cold(outputs)
    files = _files()
    with step("first job: no layer and no cache"):
        cold = _run(files, "the first commit")
    name, old, new = _CHANGED
    with step(f"second job: a fresh pod, a fresh clone, {Path(name).name} changed"):
        warm = _run({**files, name: files[name].replace(old, new)}, f"change {name}")
    archives = list(_archives(outputs))
    say(_table(cold, warm))
    for key, size in archives:
        say(f"  in bucket {outputs['cache_bucket']}: {key} ({size} bytes)")
    if wrong := problems(cold, warm, has_archive=bool(archives)):
        raise LabError("the platform does not keep builds warm:\n  - " + "\n  - ".join(wrong))
    say("  the second build is warm, and the cache is used")
