"""Runs one build as a way does it, and returns what it took."""

import hashlib
import itertools
import json
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from bench import node, plan, stack, trace
from bench.stack import HUB, INDEX, REGISTRY, Bench
from lab import cluster, gitlab, images
from lab.console import LabError
from lab.gitlab import Git, Line, Result, ci
from lab.paths import BIN, KUBECONFIG, ROOT
from lab.toolchain import tool
from lab.verify import read_trace

_TIMEOUT = 900
BASE_HOSTS = {"registry": REGISTRY, "hub": HUB, "mirror": "docker.io"}


@dataclass(frozen=True)
class Sources:
    """What a project's branch holds; a text for each part that a change writes anew."""

    source: str
    dependency: str
    base: str
    branch: str = "main"

    def files(self, workload: plan.Workload) -> dict[str, bytes]:
        """Return the branch's files."""
        found = {
            str(path.relative_to(workload.folder)): path.read_bytes()
            for path in sorted(workload.folder.rglob("*"))
            if path.is_file()
        }
        for name, text in (
            (workload.source_file, self.source),
            (workload.dependency_file, self.dependency),
        ):
            kept = found[name].decode().replace("version 0", f"version {text}")
            found[name] = kept.encode()
        return found


@dataclass
class Project:
    """A way's project of a workload, as its builds go on."""

    way: plan.Way
    workload: plan.Workload
    name: str
    main: Sources = field(init=False)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        text = self._new()
        self.main = Sources(text, text, text)

    def _new(self) -> str:
        return f"{self.name}-{next(self._numbers)}"

    @property
    def base(self) -> str:
        """The reference of its base image."""
        return f"{BASE_HOSTS[self.way.base_host]}/bench/{self.workload.base}:{self.tag}"

    @property
    def tag(self) -> str:
        """The tag of its base image: what changes it for one way leaves the others'."""
        return f"{self.way.key}-{self.workload.key}"

    @property
    def image(self) -> str:
        """The name of the image that it builds."""
        return f"{REGISTRY}/bench/{self.tag}"

    def change(self, situation: str) -> Sources:
        """Return what the next build in a situation builds; main keeps what was merged."""
        new = self._new()
        if situation == "branch":
            return replace(self.main, source=new, branch=f"branch-{new}")
        if situation in {"source", "dependency", "base"}:
            self.main = replace(self.main, **{situation: new})
        return self.main

    def ci(self, sources: Sources) -> str:
        """Return the project's .gitlab-ci.yml."""
        way = self.way
        job: dict[str, Any] = {
            "variables": {"IMAGE": self.image, "BASE": self.base, "INDEX": INDEX},
            "script": trace.timed(way.script),
        }
        if way.fleet == "dind":
            job["variables"]["DOCKER_HOST"] = "tcp://docker:2375"
            # Without TLS, so that the baseline need not make certificates first.
            arguments = ["--host=tcp://0.0.0.0:2375", "--tls=false"]
            job["services"] = [
                {
                    "name": images.reference("docker"),
                    "alias": "docker",
                    "command": [
                        "dockerd",
                        *arguments,
                        *(f"--insecure-registry={host}" for host in (REGISTRY, HUB)),
                        *way.daemon_arguments,
                    ],
                    "variables": {"HEALTHCHECK_TCP_PORT": "2375"},
                }
            ]
        if way.cached_paths:
            job["cache"] = self._cache(sources)
        return yaml.safe_dump({"build": job})

    def _cache(self, sources: Sources) -> dict[str, Any]:
        entry: dict[str, Any] = {"paths": list(self.way.cached_paths)}
        if self.way.keeps == "dependencies":
            # What `key: files:` makes of the dependency's file.
            digest = hashlib.sha256(sources.dependency.encode()).hexdigest()[:16]
            return {**entry, "key": f"{self.tag}-{digest}"}
        return {
            **entry,
            "key": f"{self.tag}-$CI_COMMIT_REF_SLUG",
            "fallback_keys": [f"{self.tag}-$CI_DEFAULT_BRANCH"],
        }


class Bank:
    """The projects of one run, each with the last thing that was built of it."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.name = bench, name
        self._projects: dict[tuple[str, str], Project] = {}

    def project(self, way: plan.Way, workload: plan.Workload) -> tuple[Project, bool]:
        """Return a project, and whether it is new: nothing was built of it yet."""
        key = (way.key, workload.key)
        is_new = key not in self._projects
        if is_new:
            project = Project(way, workload, f"{self.name}-{way.number}{way.key[:3]}")
            self._projects[key] = project
            self._push_base(project, project.main)
        return self._projects[key], is_new

    def _push_base(self, project: Project, sources: Sources) -> None:
        kind = project.workload.base
        self.bench.push_base(kind, sources.base, f"bench/{kind}", [project.tag])

    def build(self, project: Project, situation: str, fleet: str = "") -> dict[str, Any]:
        """Build in a situation, by the way's own fleet or another; return times and costs."""
        sources = project.change(situation)
        if situation == "base":
            self._push_base(project, sources)
        pods = self.bench.pods
        stack.wait_for_quiet()
        before = {role: pod.link.counters() for role, pod in pods.items()}
        with node.watched(self.bench.roles()) as usage:
            result = run(self.bench, project, sources, fleet)
        sample = read(result)
        sample["bytes"] = {
            role: {way: count - before[role][way] for way, count in pod.link.counters().items()}
            for role, pod in pods.items()
            if role in {"outside", "mirror", "store"}
        }
        sample["cpu_seconds"] = _rounded(usage.cpu_seconds)
        sample["peak_bytes"] = usage.peak_bytes
        return sample


def run(bench: Bench, project: Project, sources: Sources, fleet: str = "") -> Result:
    """Run one build.

    Args:
        bench: The platform.
        project: What is built.
        sources: The branch's files.
        fleet: The fleet whose runner takes the job. Default: the way's.

    Raises:
        LabError: the build failed.
    """
    if fleet := fleet or project.way.fleet:
        result = _job(project, sources, fleet)
    else:
        result = _in_the_daemons_pod(bench, project, sources)
    if not result.succeeded:
        raise LabError(f"the build of {project.tag} failed:\n{result.text[-4000:]}")
    return result


def _job(project: Project, sources: Sources, fleet: str) -> Result:
    sha = gitlab.push(sources.files(project.workload), sources.source, sources.branch)
    git = Git(sha, sources.branch)
    job = ci.job(project.ci(sources), "build", git, timeout_seconds=_TIMEOUT)
    return gitlab.run(job, runner=stack.runner_name(fleet))


def _in_the_daemons_pod(bench: Bench, project: Project, sources: Sources) -> Result:
    """Build where the daemon is: by its own socket, the context in its own file system."""
    pod = bench.pods["docker"]
    folder = f"/tmp/bench/{project.workload.key}"
    execute = ("-n", pod.namespace, "exec", "-i", pod.name, "--", "sh", "-c")
    cluster.kubectl(
        *execute,
        # -m: BuildKit takes a file of the same size and time for the same one.
        f"rm -rf {folder} && mkdir -p {folder} && tar -xmf - -C {folder}",
        stdin=gitlab.packed(sources.files(project.workload)),
    )
    known = {
        "IMAGE": project.image,
        "BASE": project.base,
        "INDEX": INDEX,
        "CI_COMMIT_REF_SLUG": sources.branch,
    }
    script = [
        "set -e",
        f"cd {folder}",
        *(f"export {name}={value}" for name, value in known.items()),
    ]
    for command in trace.timed(project.way.script):
        script += [f"echo {shlex.quote(f'$ {command}')}", command]
    shown: list[Line] = []
    start = time.monotonic()
    with subprocess.Popen(
        [
            BIN / "kubectl",
            f"--kubeconfig={KUBECONFIG}",
            *execute,
            "exec 2>&1\n" + "\n".join(script),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            # From its first word on: kubectl's own start is no part of it.
            start = start if shown else time.monotonic()
            shown.append(Line(time.monotonic() - start, line.rstrip()))
    taken = time.monotonic() - start
    code = process.returncode
    return Result(
        number=0,
        status="failed" if code else "success",
        failure_reason="script_failure" if code else "",
        exit_code=code,
        trace=tuple(shown),
        raw=b"",
        seconds={"step_script": taken},
        restored={},
        saved={},
        queued=0.0,
        job_seconds=taken,
        pod=pod.name,
    )


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def read(result: Result) -> dict[str, Any]:
    """Return the times and the steps of a job, by its log."""
    build = read_trace(result)
    seconds = {
        "job": result.job_seconds,
        "queued": result.queued,
        **result.seconds,
        **trace.commands(result.trace),
    }
    return {
        "seconds": _rounded(seconds),
        "until": _rounded(trace.until_first_step(result.trace)),
        "phases": _rounded(trace.phases(result.trace)),
        "steps": build.steps,
        "reused": build.reused,
        "restored": build.cache_restored,
    }


def _commit() -> str:
    try:
        return node.run("git", "-C", str(ROOT), "describe", "--always", "--dirty").strip()
    except LabError:
        return "not from a clone"


def versions(bench: Bench) -> dict[str, str]:
    """Return the versions of everything that was measured, and of what it ran on."""
    pod = bench.pods["docker"]

    def in_daemon(*command: str) -> str:
        return cluster.kubectl("-n", pod.namespace, "exec", pod.name, "--", *command).strip()

    server = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]
    cpu = node.cpu()
    built = [*images.ALL, *([images.find("buildkit")] if stack.has_buildkit() else [])]
    return {
        "GitLab Runner": images.find("gitlab-runner").name.rpartition(":")[2],
        "kubernetes": server["gitVersion"],
        "containerd": images.ctr("version").split("Version:")[-1].split()[0],
        "docker": in_daemon("docker", "version", "--format", "{{.Server.Version}}"),
        "buildx": in_daemon("docker", "buildx", "version").split()[1],
        "storage driver": in_daemon("docker", "info", "--format", "{{.Driver}}"),
        "pulumi": node.run(str(tool("pulumi")), "version").strip(),
        "images": ", ".join(sorted(image.name.rpartition("/")[2] for image in built)),
        "this package": _commit(),
        **cpu,
    }
