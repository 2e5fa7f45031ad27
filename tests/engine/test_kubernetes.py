"""The stand-in for the provider `kubernetes`, on the lab's API server."""

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest
from pulumi import automation as auto

from lab import cluster, images
from tests.engine.conftest import changes
from tests.required import needs_lab

pytestmark = [pytest.mark.engine, pytest.mark.lab]
NAMESPACE = "engine-test"


@pytest.fixture(autouse=True)
def running() -> None:
    needs_lab()


def program(more: Callable[[pulumi.ResourceOptions], object]) -> Callable[[], None]:
    """Return a program with a namespace and what `more` declares in it."""

    def run() -> None:
        namespace = k8s.core.v1.Namespace("namespace", metadata={"name": NAMESPACE})
        more(pulumi.ResourceOptions(depends_on=[namespace]))

    return run


def secret(text: str) -> Callable[[], None]:
    metadata: Any = {"name": "secret", "namespace": NAMESPACE}
    return program(
        lambda opts: k8s.core.v1.Secret(
            "secret", metadata=metadata, string_data={"key": text}, opts=opts
        )
    )


def pod(command: list[str]) -> dict[str, Any]:
    return {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {"name": "main", "image": images.reference("gitlab-runner"), "command": command}
        ],
    }


def stateful_set(command: list[str], service: str = "one") -> Callable[[], None]:
    labels = {"app": "one"}
    spec: Any = {
        "serviceName": service,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod(command)},
    }
    metadata: Any = {"name": "one", "namespace": NAMESPACE}
    return program(
        lambda opts: k8s.apps.v1.StatefulSet("one", metadata=metadata, spec=spec, opts=opts)
    )


def job(script: str) -> Callable[[], None]:
    spec: Any = {
        "backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", **pod(["/bin/sh", "-c", script])}},
    }
    return program(
        lambda opts: k8s.batch.v1.Job(
            "job", metadata={"namespace": NAMESPACE}, spec=spec, opts=opts
        )
    )


def test_a_changed_secret_is_updated_in_place(deploy: Any) -> None:
    deploy(secret("one")).up()
    assert changes(deploy(secret("two")).up()) == {"same": 2, "update": 1}
    query = ("-n", NAMESPACE, "get", "secret", "secret", "-o", "jsonpath={.data.key}")
    assert cluster.kubectl(*query) == "dHdv"


def test_drift_is_seen_and_undone(deploy: Any) -> None:
    stack = deploy(secret("one"))
    stack.up()
    patch = '{"data":{"key":"YmFk"}}'
    cluster.kubectl("-n", NAMESPACE, "patch", "secret", "secret", "-p", patch)
    assert changes(stack.refresh())["update"] == 1
    assert changes(stack.up())["update"] == 1
    query = ("-n", NAMESPACE, "get", "secret", "secret", "-o", "jsonpath={.data.key}")
    assert cluster.kubectl(*query) == "b25l"


def test_what_can_change_is_updated_and_what_cannot_is_replaced(deploy: Any) -> None:
    deploy(stateful_set(["sleep", "1000"])).up()
    rolled = deploy(stateful_set(["sleep", "2000"])).up()
    assert changes(rolled) == {"same": 2, "update": 1}
    replaced = deploy(stateful_set(["sleep", "2000"], service="other")).up()
    assert changes(replaced) == {"same": 2, "replace": 1}


def test_a_failed_job_fails_the_update_and_says_why(deploy: Any) -> None:
    stack = deploy(job("exit 3"))
    with pytest.raises(auto.errors.CommandError) as caught:
        stack.up()
    assert "failed: BackoffLimitExceeded" in str(caught.value)


def test_an_object_of_somebody_else_is_not_taken_over(deploy: Any) -> None:
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        with pytest.raises(auto.errors.CommandError) as caught:
            deploy(secret("one")).up()
        assert "Namespace already exists" in str(caught.value)
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE)
