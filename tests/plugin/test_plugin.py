"""The platform by the provider plugin `kubernetes` itself, beside the one of the lab.

What the stand-in says of awaiting, patches, Helm and drift, the plugin has to say too.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import RunnerPlatform
from pulumi import automation as auto

from lab import cluster, engine, gitlab, images, up
from lab.paths import BIN, KUBECONFIG
from tests.e2e.test_platform import changed
from tests.required import missing, needs_lab

pytestmark = [pytest.mark.engine, pytest.mark.lab]
NAMESPACES = {name: f"plugin-{name}" for name in ("runner", "jobs", "cache", "docker", "mirror")}
SMALL = {"cpu_request": "50m", "cpu_limit": "2", "memory_request": "128Mi", "memory_limit": "1Gi"}
Run = Callable[..., Any]


def arguments(concurrent: int) -> Any:
    image = images.reference("docker")
    return {
        "gitlab_url": f"http://gitlab.{gitlab.NAMESPACE}.svc.cluster.local:8080",
        "runner_token": pulumi.Output.secret(gitlab.runner_token()),
        "runner": {
            "image": images.reference("gitlab-runner"),
            "default_image": image,
            "helper_image": image,
            "pull_policy": "if-not-present",
            "chart": up.chart(),
            "concurrent": concurrent,
        },
        "cache": {
            "minio": {
                "engine": "minio",
                "image": images.reference("minio"),
                "volume_size": "1Gi",
                "enable_tls": True,
                "resources": SMALL,
            }
        },
        "docker_daemon": {
            "image": image,
            "accept_shared_nodes": True,
            "volume_size": "2Gi",
            "resources": SMALL,
            "termination_grace_period_seconds": 30,
        },
        "namespaces": NAMESPACES,
        "network": {"allow_insecure_gitlab_url": True, "egress_cidrs": ["10.0.0.0/8"]},
        "allow_volume_deletion": True,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Return a function that runs a command of the engine on the stack."""
    needs_lab()
    if not (BIN / "pulumi-resource-kubernetes").exists():
        missing("the plugin kubernetes is not built (make plugin)")
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "Pulumi.yaml").write_text(
        "name: plugin\nruntime: python\nconfig:\n"
        "  kubernetes:enableSecretMutable: {value: true}\n"
        "  kubernetes:enableConfigMapMutable: {value: true}\n"
    )

    def command(call: Callable[[auto.Stack], Any], concurrent: int = 3) -> Any:
        with (
            engine.providers("standin", KUBECONFIG) as served,
            engine.kubernetes_plugin(served) as environment,
        ):

            def program() -> None:
                RunnerPlatform("plugin", arguments(concurrent))

            return call(engine.select_stack("plugin", program, folder, "plugin", environment))

    yield command
    command(lambda stack: stack.destroy())
    left = cluster.kubectl("get", "namespaces", "-o", "name")
    assert not [name for name in NAMESPACES.values() if f"/{name}\n" in left]


def test_it_makes_the_platform(run: Run) -> None:
    result = run(lambda stack: stack.up())
    assert set(changed(result)) == {"create"}
    for namespace, workload in (
        ("runner", "deployment/plugin"),
        ("cache", "statefulset/plugin-cache-minio"),
        ("docker", "statefulset/plugin-docker"),
    ):
        cluster.rollout(NAMESPACES[namespace], workload, 10)


def test_a_second_update_changes_nothing(run: Run) -> None:
    assert set(changed(run(lambda stack: stack.up()))) == {"same"}


def test_a_refresh_sees_no_drift(run: Run) -> None:
    assert set(changed(run(lambda stack: stack.refresh()))) == {"same"}


def test_a_setting_updates_the_release_alone(run: Run) -> None:
    summary = changed(run(lambda stack: stack.up(), 5))
    assert summary.pop("same") > 30
    assert summary == {"update": 1}


def test_drift_is_seen_and_undone(run: Run) -> None:
    jobs = NAMESPACES["jobs"]
    name = cluster.kubectl("-n", jobs, "get", "networkpolicy", "-o", "name").split()[0]
    patch = '{"spec": {"policyTypes": ["Ingress"]}}'
    cluster.kubectl("-n", jobs, "patch", name, "--type=merge", "-p", patch)
    assert changed(run(lambda stack: stack.refresh(), 5))["update"] == 1
    assert changed(run(lambda stack: stack.up(), 5))["update"] == 1
