"""The docker build template on the lab: its job in a pod, against a real registry.

Reuse is what the builder itself says of its steps, by the template's last lines; nothing is timed.
Jobs with a daemon of their own run on a runner of this file's own, in a namespace that admits
privilege: every one of them starts with an empty daemon.
"""

import json
import re
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pulumi
import pytest
from gitlab_runner_k8s import GitLabRunner

from lab import cluster, gitlab, images, oci, packages, process, registry, up
from lab.gitlab import Git, Result, Variable, ci, component
from lab.paths import ROOT
from tests.e2e import stacks, test_buildkit
from tests.required import needs_lab

pytestmark = pytest.mark.lab

TEMPLATE = (ROOT / "templates/docker-build/template.yml").read_text()
HOST = "registry.lab.svc.cluster.local:5000"
NOWHERE = "registry.lab.svc.cluster.local:5999"
PROJECT = "docker-build-test"
NAMESPACE, JOBS = "docker-build-runner", "docker-build-jobs"
PASSWORD = "canary-of-the-registry"
# The docker of the lab is older than the one that keeps images in containerd by itself.
CONTAINERD_STORE = "--feature=containerd-snapshotter=true"
DOCKERFILE = """FROM {base} AS build
COPY nonce dependencies /work/
RUN sleep 1 && cat /work/dependencies > /work/library
COPY source /work/
RUN cat /work/nonce /work/library /work/source > /work/app

FROM {base}
RUN echo {nonce} > /prepared
RUN echo {nonce} > /ready
COPY --from=build /work/app /app
"""
STEPS = 7
KEPT = 4
"""Steps before a change of `source`, of both stages."""
INLINE_KEPT = 2
"""Of these, those of the last stage."""


@dataclass
class Repository:
    """A repository of source, whose image nobody has built yet."""

    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")
    base: str = f"{HOST}/docker-build/base:1"
    source: str = "source"
    dockerfile: str = DOCKERFILE

    @property
    def image(self) -> str:
        return f"{HOST}/{self.name}/app"

    def push(self) -> str:
        files = {
            "Dockerfile": self.dockerfile.format(base=self.base, nonce=self.name),
            "nonce": self.name,
            "dependencies": "dependencies",
            "source": self.source,
        }
        return gitlab.push({name: text.encode() for name, text in files.items()})


@dataclass(frozen=True)
class Runner:
    """A runner, and the inputs by which the template uses it."""

    name: str
    inputs: dict[str, Any]

    def build(
        self, repository: Repository, *, variables: dict[str, str] | None = None, **inputs: Any
    ) -> Result:
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        text = component.render(
            TEMPLATE,
            {
                "job-image": images.reference("docker"),
                "image": repository.image,
                **self.inputs,
                **given,
            },
        )
        job = ci.job(
            text,
            "docker-build",
            Git(repository.push()),
            variables=tuple(Variable(key, text) for key, text in (variables or {}).items()),
            timeout_seconds=240,
        )
        return gitlab.run(job, self.name)


def reused(result: Result) -> tuple[int, int]:
    """Return how many steps of a build were reused, and of how many."""
    assert result.succeeded, result.text
    found = re.search(r"^docker-build: (\d+) of (\d+) steps CACHED", result.text, re.MULTILINE)
    assert found, result.text
    said = re.findall(r"^#(\d+) (?:CACHED|extracting|sha256:)", result.text, re.MULTILINE)
    assert int(found[1]) <= len(set(said))
    return int(found[1]), int(found[2])


def _registry() -> str:
    query = ("get", "service", "registry", "-o", "jsonpath={.spec.clusterIP}")
    return f"http://{cluster.kubectl('-n', registry.NAMESPACE, *query)}:5000"


def tags(repository: str) -> set[str]:
    """Return the tags of a repository in the lab's registry."""
    path = repository.removeprefix(f"{HOST}/")
    try:
        found = json.load(registry._request("GET", f"{_registry()}/v2/{path}/tags/list"))
    except HTTPError as error:
        if error.code == 404:
            return set()
        raise
    return set(found["tags"] or [])


def digest(repository: str, tag: str) -> str:
    path = repository.removeprefix(f"{HOST}/")
    oci, docker = "application/vnd.oci.image", "application/vnd.docker.distribution.manifest"
    accept = f"{oci}.index.v1+json, {oci}.manifest.v1+json, {docker}.v2+json"
    url = f"{_registry()}/v2/{path}/manifests/{tag}"
    found: str = registry._request("HEAD", url, Accept=accept).headers["Docker-Content-Digest"]
    return found


@contextmanager
def no_registry() -> Iterator[None]:
    """Take the registry away for a while; what it keeps is on its volume."""
    deployment = ("-n", registry.NAMESPACE, "scale", "deployment/registry")
    cluster.kubectl(*deployment, "--replicas=0")
    wait = ("wait", "--for=delete", "pod", "-l", "app=registry", "--timeout=90s")
    cluster.kubectl("-n", registry.NAMESPACE, *wait)
    try:
        yield
    finally:
        cluster.kubectl(*deployment, "--replicas=1")
        cluster.rollout(registry.NAMESPACE, "deployment/registry")
        process.wait_for("the registry's Service", lambda: registry._answers(_registry()), 30)


def push_image(name: str, tag: str, path: Path) -> str:
    """Push a packed image; return its reference in the lab's registry."""
    with tarfile.open(path) as archive:
        registry._push(_registry(), archive, f"docker-build/{name}", tag)
    return f"{HOST}/docker-build/{name}:{tag}"


def push_base(tag: str, content: str = "first") -> str:
    """Push a base image that has a shell and little else: each daemon of a job's own pulls it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "content").write_text(content)
        files = {"bin/busybox": packages.binary("busybox"), "content": folder / "content"}
        links = {f"bin/{applet}": "busybox" for applet in ("sh", "cat", "sleep")}
        oci.write_files(files, links, folder / "layer", is_base=True)
        path = "PATH=/usr/bin:/bin"
        oci.write_archive("base", {"Env": [path]}, [folder / "layer"], folder / "base.tar")
        return push_image("base", tag, folder / "base.tar")


def _program() -> None:
    args: Any = {
        "gitlab_url": gitlab.URL,
        "allow_insecure_gitlab_url": True,
        "runner_token": pulumi.Output.secret(gitlab.runner_token(PROJECT)),
        "namespace": NAMESPACE,
        "job_namespace": JOBS,
        "image": images.reference("gitlab-runner"),
        "default_image": images.reference("docker"),
        "helper_image": images.reference("gitlab-runner-helper"),
        "pull_policy": "if-not-present",
        "maximum_job_timeout_seconds": 600,
        "enable_privileged_services": True,
        "egress_cidrs": ["10.0.0.0/8"],
        "chart": up.chart(),
        # A daemon cannot keep its layers on the layers of its own container.
        "extra_config": "[[runners]]\n[[runners.kubernetes.volumes.empty_dir]]\n"
        'name = "docker"\nmount_path = "/var/lib/docker"\n',
    }
    GitLabRunner("dind", args)


def _namespace(name: str, level: str) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": level}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.fixture(scope="module")
def base() -> str:
    needs_lab()
    return push_base("1")


@pytest.fixture(scope="module")
def shared(base: str) -> Runner:
    """Return the lab's own runner, whose jobs use the shared daemon."""
    return Runner("gitlab-runner", {"builder": "shared"})


@pytest.fixture(scope="module")
def dind(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Return a runner whose jobs have a daemon of their own."""
    try:
        cluster.apply(_namespace(NAMESPACE, "restricted"), _namespace(JOBS, "privileged"))
        with stacks.deployed(_program, PROJECT, tmp_path_factory.mktemp("dind")):
            inputs = {
                "builder": "dind",
                "dind-image": images.reference("docker"),
                "plain-http-registry": HOST,
            }
            yield Runner(PROJECT, inputs)
    finally:
        cluster.kubectl("delete", "namespace", "--ignore-not-found", NAMESPACE, JOBS)


@pytest.fixture(scope="module")
def buildkit(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Return a runner whose jobs use a BuildKit daemon."""
    folder = tmp_path_factory.mktemp("buildkit")
    with stacks.deployed(test_buildkit._program, test_buildkit.PROJECT, folder):
        yield Runner(test_buildkit.NAME, {"builder": "buildkit"})


# --- the shared daemon


def test_the_shared_daemon_alone_keeps_layers(shared: Runner) -> None:
    repository = Repository()
    cold = shared.build(repository, mode="daemon")
    assert reused(cold) == (0, STEPS)
    assert "reads the cache of" not in cold.text
    assert "time saved: none, no step was reused" in cold.text
    sha = cold.text.partition(f"pushed {repository.image}:")[2].split()[0]
    assert tags(repository.image) == {sha, "latest"}
    assert digest(repository.image, sha) == digest(repository.image, "latest")

    warm = shared.build(repository, mode="daemon")
    assert reused(warm) == (STEPS, STEPS)
    assert re.search(r"time saved: about \d+\.\d s, the last known time of 7 of the 7", warm.text)

    repository.source = "changed"
    assert reused(shared.build(repository, mode="daemon")) == (KEPT, STEPS)
    assert tags(f"{repository.image}/cache") == set()


def test_inline_on_the_shared_daemon(shared: Runner) -> None:
    repository = Repository()
    cold = shared.build(repository)
    assert reused(cold) == (0, STEPS)
    assert "no image at" in cold.text
    warm = shared.build(repository)
    assert reused(warm)[0] > 0
    assert f"pulled {repository.image}:latest" in warm.text


def test_the_registrys_password_is_never_shown(shared: Runner) -> None:
    account = {"CI_REGISTRY": HOST, "CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": PASSWORD}
    result = shared.build(Repository(), mode="daemon", variables=account)
    assert result.succeeded, result.text
    assert f"logged in to {HOST} as ci" in result.text
    assert PASSWORD not in result.text


def test_no_daemon_is_said_in_a_clear_word(shared: Runner) -> None:
    away = {"DOCKER_HOST": "tcp://registry.lab.svc.cluster.local:2376"}
    result = shared.build(Repository(), wait_seconds=1, variables=away)
    assert result.failure_reason == "script_failure"
    assert f"error: no daemon answers at {away['DOCKER_HOST']} (builder: shared)" in result.text


# --- a daemon of the job's own


@pytest.mark.parametrize(
    ("mode", "options"),
    [("inline", ""), ("inline", CONTAINERD_STORE), ("registry", CONTAINERD_STORE)],
)
def test_an_empty_daemon_reuses_what_the_registry_has(
    dind: Runner, mode: str, options: str
) -> None:
    repository = Repository()
    cold = dind.build(repository, mode=mode, dind_options=options)
    assert reused(cold)[0] == 0
    repository.source = "changed"
    changed = dind.build(repository, mode=mode, dind_options=options)
    assert reused(changed) == (KEPT if mode == "registry" else INLINE_KEPT, STEPS)
    warm = dind.build(repository, mode=mode, dind_options=options)
    assert reused(warm)[0] == reused(warm)[1] > 0


def test_a_changed_base_changes_every_step(dind: Runner) -> None:
    tag = uuid.uuid4().hex[:12]
    repository = Repository(base=push_base(tag))
    given: dict[str, Any] = {"dind_options": CONTAINERD_STORE}
    assert reused(dind.build(repository, **given))[0] == 0
    push_base(tag, "second")
    assert reused(dind.build(repository, **given))[0] == 0
    assert reused(dind.build(repository, **given))[0] > 0


def test_a_branch_starts_with_the_default_branchs_layers(dind: Runner) -> None:
    """A merge request's pipeline goes on with its branch's, whatever commit it is for."""
    repository = Repository()
    given: dict[str, Any] = {"mode": "registry", "dind_options": CONTAINERD_STORE}
    assert reused(dind.build(repository, **given))[0] == 0
    latest = digest(repository.image, "latest")

    repository.source = "changed on the branch"
    branch = {"CI_COMMIT_BRANCH": "feature/One"}
    assert reused(dind.build(repository, variables=branch, **given)) == (KEPT, STEPS)
    (own,) = tags(f"{repository.image}/cache") - {"default"}
    assert re.fullmatch(r"branch-feature-one-[0-9a-f]{8}", own)
    assert digest(repository.image, "latest") == latest

    merged = {
        "CI_COMMIT_BRANCH": "",
        "CI_COMMIT_REF_NAME": "refs/merge-requests/7/merge",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature/One",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": str(gitlab.PROJECT_ID),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }
    # More than the default branch's. Of two caches BuildKit does not always take all.
    assert reused(dind.build(repository, variables=merged, **given))[0] > KEPT
    assert tags(f"{repository.image}/cache") == {"default", own}
    assert digest(repository.image, "latest") == latest


def test_a_cache_that_is_away_stops_no_build(dind: Runner) -> None:
    repository = Repository()
    cache = f"{NOWHERE}/{repository.name}/cache"
    given: dict[str, Any] = {
        "mode": "registry",
        "dind_options": CONTAINERD_STORE,
        "cache_image": cache,
    }
    result = dind.build(repository, **given)
    assert reused(result)[0] == 0
    assert f"warning: the cache was not written to {cache}:default" in result.text
    assert "latest" in tags(repository.image)
    assert reused(dind.build(repository, push="never", **given))[0] == 0


def last_word(result: Result) -> str:
    """Return the last line of a job that the template failed."""
    assert result.failure_reason == "script_failure", result.text
    return [line for line in result.text.splitlines() if line.startswith("docker-build: ")][-1]


def test_a_registry_that_takes_no_image_is_said(shared: Runner) -> None:
    image = f"{NOWHERE}/app"
    result = shared.build(Repository(), mode="daemon", image=image)
    assert f"error: the image could not be pushed to {image}" in last_word(result), result.text


def test_a_registry_that_is_down_is_said(shared: Runner) -> None:
    """The base image is there too, so the build ends before its first step."""
    repository = Repository()
    assert shared.build(repository, mode="daemon").succeeded
    with no_registry():
        result = shared.build(repository, mode="daemon")
    assert "an image or an address above could not be reached" in last_word(result), result.text


# --- BuildKit


@pytest.mark.parametrize("mode", ["daemon", "inline", "registry"])
def test_a_buildkit_daemon_reuses_its_layers(buildkit: Runner, mode: str) -> None:
    repository = Repository()
    cold = buildkit.build(repository, mode=mode)
    assert reused(cold)[0] == 0
    assert "(driver remote)" in cold.text
    assert "latest" in tags(repository.image)
    assert tags(f"{repository.image}/cache") == ({"default"} if mode == "registry" else set())
    warm = buildkit.build(repository, mode=mode)
    assert reused(warm)[0] == reused(warm)[1] > 0
    repository.source = "changed"
    assert reused(buildkit.build(repository, mode=mode)) == (KEPT, STEPS)


def test_an_empty_buildkit_daemon_reuses_what_the_registry_has(buildkit: Runner) -> None:
    repository = Repository()
    assert reused(buildkit.build(repository, mode="registry"))[0] == 0
    test_buildkit.in_daemon("buildctl", "prune", "--all")
    warm = buildkit.build(repository, mode="registry")
    assert reused(warm)[0] == reused(warm)[1] > 0


def test_a_daemon_that_cannot_write_the_cache_gets_a_builder_that_can(shared: Runner) -> None:
    """In the daemon, and of an image that stands in for moby/buildkit."""
    rootless = push_image("buildkit", "rootless", images.find("buildkit").archive)
    builder = Repository(
        base=rootless,
        dockerfile="FROM {base}\nUSER root\n"
        "ENV BUILDKIT_HOST=unix:///run/buildkit/buildkitd.sock HOME=/root TMPDIR=/tmp\n"
        'ENTRYPOINT ["buildkitd"]\n',
    )
    assert shared.build(builder, mode="daemon").succeeded
    given: dict[str, Any] = {
        "mode": "registry",
        "plain_http_registry": HOST,
        "buildkit_image": f"{builder.image}:latest",
    }
    repository = Repository()
    cold = shared.build(repository, **given)
    assert reused(cold)[0] == 0
    assert "as the daemon's cannot do the mode registry (driver docker-container)" in cold.text
    # The builder of the first job is gone, and its layers with it.
    warm = shared.build(repository, **given)
    assert reused(warm)[0] == reused(warm)[1] > 0
    daemon = ("-n", "gitlab-runner-docker", "exec", "statefulset/gitlab-runner-docker", "--")
    names = ("docker", "--host=unix:///var/run/docker.sock", "ps", "-a", "--format={{.Names}}")
    assert "docker-build-" not in cluster.kubectl(*daemon, *names)
