"""What is not about one build: many jobs at once, growth of the disk, and the size of a stack."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pulumi
from gitlab_runner_k8s import RunnerPlatform
from gitlab_runner_k8s.runner_platform import RunnerPlatformArgs

from bench import measure, node, plan, stack
from lab import cluster, gitlab
from lab.console import LabError

AT_ONCE = (1, 2, 4, 8)
FLEETS = (1, 5, 20)
DISK_BUILDS, _DISK_SAMPLE, _LAYER_MB = 50, 5, 16
_PATH_BUILDS = 15
_GC_SECONDS = 75
"""BuildKit collects at most once a minute."""


def at_once(bench: stack.Bench, bank: measure.Bank, way: plan.Way, count: int) -> dict[str, Any]:
    """Run jobs of the small service at the same time, each with a source line of its own."""
    project, is_new = bank.project(way, plan.workload("service"))
    if is_new and way.keeps != "nothing":
        bank.build(project, "nothing")
    results: list[dict[str, Any]] = []
    failures: list[str] = []

    def one(sources: measure.Sources) -> None:
        try:
            results.append(measure.read(measure.run(bench, project, sources)))
        except LabError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=one, args=(project.change("branch"),)) for _ in range(count)]
    roles = {pod.uid: role for role, pod in bench.pods.items()}
    start = time.monotonic()
    with node.watched(roles) as usage:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise LabError(failures[0])
    return {
        "wall_seconds": round(time.monotonic() - start, 3),
        "job_seconds": [result["seconds"]["job"] for result in results],
        "build_seconds": [result["seconds"]["build"] for result in results],
        "start_seconds": [result["seconds"]["prepare"] for result in results],
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


def disk(bench: stack.Bench, role: str) -> dict[str, Any]:
    """Build many times, a new layer each, and see how a daemon's volume grows.

    The last number is from after the collection of garbage that follows the builds.
    """
    pod = bench.pods[role]
    volume = _volume(pod)
    script = _GROW.format(size=_LAYER_MB << 20)
    used = [node.disk_bytes([volume])]
    for number in range(1, DISK_BUILDS + 1):
        cluster.kubectl("-n", pod.namespace, "exec", pod.name, "--", "sh", "-c", script)
        if number % _DISK_SAMPLE == 0:
            used.append(node.disk_bytes([volume]))
    time.sleep(_GC_SECONDS)
    return {
        "builds": DISK_BUILDS,
        "every": _DISK_SAMPLE,
        "layer_bytes": _LAYER_MB << 20,
        "used_bytes": used,
        "settled_bytes": node.disk_bytes([volume]),
    }


_TLS = "export DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=/docker-client DOCKER_HOST=tcp://{host}:2376\n"
_TIMED = """set -e
rm -rf /tmp/timed && mkdir -p /tmp/timed && cd /tmp/timed
printf 'FROM scratch\\nCOPY Dockerfile /\\n' > Dockerfile
docker build --quiet --tag timed . > /dev/null
for n in $(seq {times}); do
    start=$(date +%s%N)
    docker build --quiet --tag timed . > /dev/null
    echo $(($(date +%s%N) - start))
done
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
    script = _TIMED.format(times=_PATH_BUILDS)
    execute = ("-n", pod.namespace, "exec", pod.name, "--", "sh", "-c")
    return {
        path: [
            round(int(text) / 1e9, 4)
            for text in cluster.kubectl(*execute, f"{settings}{script}").split()
        ]
        for path, settings in by.items()
    }


def restart(bench: stack.Bench) -> float:
    """End the shared daemon's pod as an update does; return the seconds until the next is ready."""
    pod = bench.pods["docker"]
    start = time.monotonic()
    cluster.kubectl("-n", pod.namespace, "delete", "pod", pod.name)
    cluster.rollout(pod.namespace, f"statefulset/{pod.name.rpartition('-')[0]}")
    return round(time.monotonic() - start, 3)


def _fleets(count: int) -> dict[str, Any]:
    given = stack.arguments()
    token = pulumi.Output.secret(gitlab.runner_token())
    return {
        "gitlab_url": given["gitlab_url"],
        "runner": given["runner"],
        "network": given["network"],
        "fleets": {f"f{number}": {"runner_token": token} for number in range(count)},
        "cache": {"backend": "none"},
        "namespaces": {"runner": "bench-scale-runner", "jobs": "bench-scale-jobs"},
    }


def fleets(counts: tuple[int, ...] = FLEETS) -> Iterator[dict[str, Any]]:
    """Preview and deploy a stack with ever more fleets; yield what each step took."""
    count = counts[0]

    def program() -> None:
        RunnerPlatform("scale", cast(RunnerPlatformArgs, _fleets(count)))

    with stack.deployed("scale", program) as selected:
        for count in counts:
            seconds = {}
            for step, act in (
                ("preview", selected.preview),
                ("up", selected.up),
                ("up, unchanged", selected.up),
            ):
                start = time.monotonic()
                act()
                seconds[step] = round(time.monotonic() - start, 3)
            exported = selected.export_stack().deployment
            resources = len((exported or {}).get("resources", []))
            yield {"fleets": count, "resources": resources, "seconds": seconds}
