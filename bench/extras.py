"""What is not about one build: many jobs at once, growth of the disk, and the size of a stack."""

import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pulumi
from gitlab_runner_k8s import RunnerPlatform, RunnerPlatformArgs

from bench import measure, node, stack, trace
from lab import cluster, gitlab
from lab.console import LabError

AT_ONCE = (1, 2, 4, 8)
FLEETS = (1, 5, 20)
DISK_BUILDS, _DISK_SAMPLE, _LAYER_MB = 50, 5, 16
DISKS = {"docker": (DISK_BUILDS,), "tight": (10, 20, 30, 40, DISK_BUILDS)}
"""The daemons whose disk is watched, and after which builds the collector has time to run."""
ARRIVALS_AN_HOUR, ARRIVALS_SECONDS = 1000, 240
_PATH_BUILDS = 15
_GC_SECONDS = 75
"""BuildKit collects at most once a minute."""


class _Jobs:
    """Jobs of one project in threads of their own; all of them, or a LabError."""

    def __init__(self, bench: stack.Bench, project: measure.Project) -> None:
        self._bench, self._project = bench, project
        self._results: list[dict[str, Any]] = []
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, sources: measure.Sources, **more: Any) -> None:
        """Start a job."""
        thread = threading.Thread(target=self._run, args=(sources, more))
        self._threads.append(thread)
        thread.start()

    def _run(self, sources: measure.Sources, more: dict[str, Any]) -> None:
        try:
            sample = measure.read(measure.run(self._bench, self._project, sources))
        except Exception as error:  # whatever it is, the measurement is none
            self._failures.append(error)
        else:
            self._results.append({**more, **sample})

    def results(self) -> list[dict[str, Any]]:
        """Wait for all jobs and return what each took.

        Raises:
            LabError: a job failed, or reused nothing where it should have.
        """
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise LabError(f"a job failed: {self._failures[0]}") from self._failures[0]
        keeps = self._project.way.keeps != "nothing"
        if keeps and not all(result["reused"] for result in self._results):
            raise LabError(f"jobs of {self._project.tag} reused 0 steps; the cache does not work")
        return self._results


def at_once(bench: stack.Bench, project: measure.Project, count: int) -> dict[str, Any]:
    """Run jobs of a project at the same time, each with a source line of its own."""
    jobs = _Jobs(bench, project)
    start = time.monotonic()
    with node.watched(bench.roles()) as usage:
        for sources in [project.change("branch") for _ in range(count)]:
            jobs.start(sources)
        results = jobs.results()
    return {
        "wall_seconds": round(time.monotonic() - start, 3),
        "job_seconds": [result["seconds"]["job"] for result in results],
        "build_seconds": [result["seconds"]["build"] for result in results],
        "start_seconds": [trace.pod_start(result["seconds"]) for result in results],
        "reused": [result["reused"] for result in results],
        "cpu_seconds": usage.cpu_seconds,
        "peak_bytes": usage.peak_bytes,
    }


def arrivals(bench: stack.Bench, project: measure.Project) -> dict[str, Any]:
    """Run jobs that come at random (Poisson), each from a branch of its own.

    One of five changes a dependency, the others a source line.
    """
    numbers, at = random.Random(ARRIVALS_AN_HOUR), 0.0
    plans: list[tuple[float, measure.Sources, str]] = []
    while (at := at + numbers.expovariate(ARRIVALS_AN_HOUR / 3600)) < ARRIVALS_SECONDS:
        sources, situation = project.change("branch"), "source"
        if len(plans) % 5 == 4:
            situation = "dependency"
            sources = replace(sources, dependency=sources.source)
        plans.append((at, sources, situation))
    jobs = _Jobs(bench, project)
    start = time.monotonic()
    with node.watched(bench.roles()) as usage:
        for at, sources, situation in plans:
            time.sleep(max(0.0, start + at - time.monotonic()))
            jobs.start(sources, at=round(at, 3), situation=situation)
        results = jobs.results()
    return {
        "an_hour": ARRIVALS_AN_HOUR,
        "seconds": ARRIVALS_SECONDS,
        "wall_seconds": round(time.monotonic() - start, 3),
        "jobs": [
            {
                "at": result["at"],
                "situation": result["situation"],
                "job": result["seconds"]["job"],
                "start": trace.pod_start(result["seconds"]),
                "build": result["seconds"]["build"],
                "reused": result["reused"],
            }
            for result in sorted(results, key=lambda result: result["at"])
        ],
        "cpu_seconds": usage.cpu_seconds,
        "peak_bytes": usage.peak_bytes,
    }


def _volume(pod: stack.Pod) -> Path:
    """Return where a daemon's volume is: the lab's volumes are folders of this machine."""
    claim = json.loads(
        cluster.kubectl("-n", pod.namespace, "get", "pvc", f"data-{pod.name}", "-o=json")
    )
    query = ("get", "pv", claim["spec"]["volumeName"], "-o=jsonpath={.spec.local.path}")
    return Path(cluster.kubectl(*query))


_GROW = """set -e
mkdir -p /tmp/grow && cd /tmp/grow
printf 'FROM scratch\\nCOPY layer /layer\\n' > Dockerfile
head -c {size} /dev/urandom > layer
docker build --quiet --tag grow . > /dev/null
docker image prune --force > /dev/null
"""


def disk(bench: stack.Bench, role: str, pauses: tuple[int, ...]) -> dict[str, Any]:
    """Build many times, a new layer each, and see how a daemon's volume grows.

    Returns:
        `used_bytes`, pairs of how many builds there were and what was on the volume; two of each
        pause, before and after a collection of garbage.
    """
    pod = bench.pods[role]
    volume = _volume(pod)
    script = _GROW.format(size=_LAYER_MB << 20)
    used = [(0, node.disk_bytes([volume]))]
    for number in range(1, DISK_BUILDS + 1):
        cluster.kubectl("-n", pod.namespace, "exec", pod.name, "--", "sh", "-c", script)
        if number % _DISK_SAMPLE == 0:
            used.append((number, node.disk_bytes([volume])))
        if number in pauses:
            time.sleep(_GC_SECONDS)
            used.append((number, node.disk_bytes([volume])))
    return {"builds": DISK_BUILDS, "layer_bytes": _LAYER_MB << 20, "used_bytes": used}


_TLS = "export DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=/docker-client DOCKER_HOST=tcp://{host}:2376\n"
_TIMED = """set -e
{settings}
cd /tmp/timed
start=$(date +%s%N)
docker build --quiet --tag timed . > /dev/null
echo $(($(date +%s%N) - start))
"""
_PREPARED = """set -e
rm -rf /tmp/timed && mkdir -p /tmp/timed && cd /tmp/timed
printf 'FROM scratch\\nCOPY Dockerfile /\\n' > Dockerfile
docker build --quiet --tag timed . > /dev/null
"""


def paths(bench: stack.Bench) -> dict[str, list[float]]:
    """Build with nothing changed in the daemon's pod; return seconds by the way to the daemon."""
    pod = bench.pods["docker"]
    service = f"{pod.name.rpartition('-')[0]}.{pod.namespace}.svc.cluster.local"
    by = {
        "socket": "",
        "tls": _TLS.format(host="localhost"),
        "service": _TLS.format(host=service),
    }
    execute = ("-n", pod.namespace, "exec", pod.name, "--", "sh", "-c")
    cluster.kubectl(*execute, _PREPARED)
    found: dict[str, list[float]] = {path: [] for path in by}
    for _ in range(_PATH_BUILDS):
        for path, settings in by.items():
            taken = cluster.kubectl(*execute, _TIMED.format(settings=settings))
            found[path].append(round(int(taken) / 1e9, 4))
    return found


def restart(bench: stack.Bench) -> float:
    """End the shared daemon's pod as an update does; return the seconds until the next is ready."""
    pod = bench.pods["docker"]
    start = time.monotonic()
    cluster.kubectl("-n", pod.namespace, "delete", "pod", pod.name)
    cluster.rollout(pod.namespace, f"statefulset/{pod.name.rpartition('-')[0]}")
    return round(time.monotonic() - start, 3)


def _fleets(count: int) -> dict[str, Any]:
    given = stack.arguments()
    token = pulumi.Output.secret(gitlab.runner_token("bench-scale"))
    return {
        "gitlab_url": given["gitlab_url"],
        "runner": given["runner"],
        "network": given["network"],
        "fleets": {f"f{number}": {"runner_token": token} for number in range(count)},
        "cache": {"backend": "none"},
        "namespaces": stack.SCALE,
    }


def fleets(counts: tuple[int, ...] = FLEETS) -> Iterator[dict[str, Any]]:
    """Preview and deploy a stack with ever more fleets; yield what each step took."""
    count = counts[0]

    def program() -> None:
        RunnerPlatform("scale", cast(RunnerPlatformArgs, _fleets(count)))

    with stack.deployed("scale", program) as selected:
        # Of a run that was killed.
        selected.destroy(refresh=True)
        for count in counts:
            seconds = {}
            for step, act in (
                ("preview", selected.preview),
                ("up", selected.up),
                ("preview, unchanged", selected.preview),
                ("up, unchanged", selected.up),
            ):
                start = time.monotonic()
                act()
                seconds[step] = round(time.monotonic() - start, 3)
            exported = selected.export_stack().deployment
            resources = len((exported or {}).get("resources", []))
            yield {"fleets": count, "resources": resources, "seconds": seconds}
