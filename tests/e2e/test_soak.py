"""Many jobs on one shared daemon of a small volume, with rotations meanwhile.

SOAK_JOBS sets the number of jobs: 40 by default, which takes about 5 minutes. Each fails only for a
reason of its own, and what they leave is gone at the end. The figures of 200 jobs are in
docs/faults.md.
"""

import itertools
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from pulumi import automation as auto

from lab import engine, gitlab, images, up
from lab.console import LabError
from lab.gitlab import Result
from tests.e2e.held import job
from tests.e2e.test_daemon import COMPOSE, IMAGE, prune, there
from tests.e2e.test_docker_build import HOST, push_image
from tests.e2e.test_faults import DOCKER, exec_in, scale, the_pod, volume_of, wait_until
from tests.e2e.test_platform import PREFIX, Select
from tests.required import needs_lab

pytestmark = [pytest.mark.lab, pytest.mark.alone]
JOBS = int(os.environ.get("SOAK_JOBS", "40"))
AT_ONCE = 4
VOLUME = "3g"
BUILDKIT = f"{HOST}/soak/buildkit:1"
BUILDER = """
FROM {base}
USER root
ENV BUILDKIT_HOST=unix:///run/buildkit/buildkitd.sock HOME=/root TMPDIR=/tmp
ENTRYPOINT ["buildkitd"]
"""
WARM = f"FROM {IMAGE}\nRUN echo one > /one\nRUN echo two > /two\n".encode()


@dataclass(frozen=True)
class Kind:
    """A kind of job, and how it must end."""

    name: str
    command: str
    files: dict[str, bytes] = field(default_factory=lambda: {"Dockerfile": WARM})
    status: str = "success"
    cancel_at: str = ""
    """Text in the job's log at which it is canceled."""


KINDS = (
    Kind("builds", "docker build --progress plain --tag app:$CI_JOB_ID ."),
    Kind(
        "leaves a Compose project",
        "docker compose up --detach --wait",
        {"compose.yaml": COMPOSE.encode()},
    ),
    Kind(
        "is canceled with its Compose project",
        "docker compose up --detach --wait && echo is-up; sleep 300",
        {"compose.yaml": COMPOSE.encode()},
        "canceled",
        "is-up",
    ),
    Kind(
        "leaves a container, a volume and a network",
        f"docker network create n-$CI_JOB_ID && docker volume create v-$CI_JOB_ID &&"
        f" docker run -d --name c-$CI_JOB_ID --network n-$CI_JOB_ID -v v-$CI_JOB_ID:/v"
        f" -v /anonymous {IMAGE} sleep infinity",
    ),
    Kind(
        "leaves a builder",
        "docker context create here && docker buildx create --name b-$CI_JOB_ID here"
        f" --driver docker-container --driver-opt image={BUILDKIT} --bootstrap",
    ),
    Kind(
        "fills the disk",
        "head -c 250M /dev/urandom > big && docker build --tag big:$CI_JOB_ID .",
        {"Dockerfile": b"FROM scratch\nCOPY big /\n"},
    ),
    Kind(
        "poisons a base image",
        f"docker build --tag {IMAGE} .",
        {"Dockerfile": f"FROM {IMAGE}\nRUN touch /poison\n".encode()},
    ),
    Kind(
        "builds from that base image",
        "docker build --no-cache .",
        {"Dockerfile": f"FROM {IMAGE}\nRUN sleep 1 && test ! -e /poison\n".encode()},
    ),
    Kind(
        "runs containers",
        f"docker run -d --name r-$CI_JOB_ID {IMAGE} sleep 30 && docker exec r-$CI_JOB_ID true"
        " && docker rm --force r-$CI_JOB_ID",
    ),
    Kind(
        "fails by itself",
        "docker build .",
        {"Dockerfile": f"FROM {IMAGE}\nRUN exit 7\n".encode()},
        "failed",
    ),
)


@pytest.fixture
def small_volume() -> Iterator[None]:
    """Give the daemon a small volume in place of its own, which comes back as it was."""
    needs_lab()
    path = volume_of(DOCKER)
    scale(DOCKER, "statefulset", DOCKER, 0)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={VOLUME}", "soak", str(path)], check=True)
    try:
        scale(DOCKER, "statefulset", DOCKER, 1)
        yield
    finally:
        scale(DOCKER, "statefulset", DOCKER, 0)
        subprocess.run(["umount", str(path)], check=True)
        scale(DOCKER, "statefulset", DOCKER, 1)


def run(kind: Kind) -> Result:
    number = gitlab.submit(job(kind.command, files=kind.files))

    def show(line: str) -> None:
        if kind.cancel_at and line.strip() == kind.cancel_at:
            gitlab.cancel(number)

    return gitlab.wait(number, 600, show)


def answers() -> bool:
    try:
        return bool(there())
    except (LabError, ValueError):
        return False


def full() -> int:
    """Return how full the daemon's volume is, in percent."""
    pod = the_pod(DOCKER, "statefulset", DOCKER)["metadata"]["name"]
    return int(exec_in(DOCKER, pod, "df -Pk /var/lib/docker").split()[-2].rstrip("%"))


class Pruning(threading.Thread):
    """The sidecar's own script, as often as jobs end here, and what there was before each round."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.end = threading.Event()
        self.counts: list[dict[str, int]] = []
        self.fullest = 0

    def run(self) -> None:
        while not self.end.wait(20):
            try:
                found = {kind: len(names) for kind, names in there().items()}
                self.fullest = max(self.fullest, full())
                prune(DOCKER, timeout=120, hours=1, percent=60)
            except (LabError, AssertionError, ValueError):
                continue  # the daemon restarts
            self.counts.append(found)


def rotate_certificates(stack: Select, hours: int) -> auto.UpResult:
    settings = up._settings()["config"][f"{PREFIX}dockerDaemon"]
    return stack({f"{PREFIX}dockerDaemon": {**settings, "certificateValidityHours": hours}}).up()


def rotate_key(select: Select) -> auto.UpResult:
    return select().up(replace=["**RandomPassword::*-cache-user-*"])


def test_nothing_that_jobs_leave_stops_another(small_volume: None) -> None:
    environment = engine.environment()

    def select(changes: dict[str, object] | None = None) -> auto.Stack:
        return up.select(environment, changes)

    rootless = push_image("buildkit", "rootless", images.find("buildkit").archive)
    made = gitlab.run(
        job(
            f"docker build --push --tag {BUILDKIT} .",
            files={"Dockerfile": BUILDER.format(base=rootless).encode()},
        )
    )
    assert made.succeeded, made.text
    before = there()
    rotations: dict[int, Callable[[], object]] = {
        JOBS // 4: lambda: rotate_certificates(select, 2001),
        JOBS // 2: lambda: rotate_key(select),
        JOBS * 3 // 4: lambda: rotate_certificates(select, 2002),
    }
    pruning = Pruning()
    pruning.start()
    results: list[tuple[Kind, Result]] = []
    begun = itertools.count(1)
    updates: list[threading.Thread] = []

    def one(kind: Kind) -> None:
        number = next(begun)
        if change := rotations.get(number):
            updates.append(threading.Thread(target=change))
            updates[-1].start()
        results.append((kind, run(kind)))

    start = time.monotonic()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, itertools.islice(itertools.cycle(KINDS), JOBS)))
        for update in updates:
            update.join(900)
    finally:
        pruning.end.set()
        pruning.join(60)
        select().up()
    minutes = (time.monotonic() - start) / 60
    wrong = [
        f"{kind.name}: {result.status}\n{result.text}"
        for kind, result in results
        if result.status != kind.status
    ]
    ended = Counter(result.status for _, result in results)
    wait_until("the daemon answers", answers)
    print(f"{len(results)} jobs in {minutes:.0f} min: {dict(ended)}, {len(wrong)} wrong")
    said = prune(DOCKER, hours=1, percent=60)
    after = there()
    most = {kind: max(count[kind] for count in pruning.counts) for kind in before}
    print(
        f"{len(results)} jobs in {minutes:.0f} min: {dict(ended)}; at most {most}, volume"
        f" {pruning.fullest} % full; at the end { ({k: len(v) for k, v in after.items()}) },"
        f" {full()} %; {said}"
    )
    assert wrong == [], "\n\n".join(wrong)
    assert len(results) == JOBS
    for kind in ("container", "network"):
        assert after[kind] == before[kind]
    # A volume with a name stays while there is room.
    assert {name for name in after["volume"] if not name.startswith("v-")} == before["volume"]
    assert full() < 90
