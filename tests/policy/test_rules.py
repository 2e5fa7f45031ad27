"""The policy pack's rules: this package's own stacks pass, and bad ones do not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from gitlab_runner_k8s import RunnerPlatform

from tests.harness import Recorder, deploy

sys.path.insert(0, str(Path(__file__).parents[2] / "policy"))
import rules

DIGEST = "registry.example.com/x:1@sha256:" + "0" * 64
LIMITS = {"limits": {"cpu": "1", "memory": "1Gi"}}
GOOD = {"name": "c", "image": DIGEST, "resources": LIMITS}
S3: dict[str, Any] = {
    "region": "eu-central-1",
    "oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1",
}
DAEMON = {"accept_shared_nodes": True}
STACKS: dict[str, dict[str, Any]] = {
    "default": {},
    "docker": {"docker_daemon": DAEMON, "zones": {"prod": {"docker_daemon": DAEMON}}},
    "buildkit": {"buildkit_daemon": {}, "registry_mirror": {}},
    "s3": {"cache": {"backend": "s3", "s3": S3}},
}


def found(recorder: Recorder) -> list[str]:
    problems = [
        f"{rule.name}: {made.name}: {problem}"
        for made in recorder.registrations
        for rule in rules.RULES
        for problem in rule.check(made.type, made.plain)
    ]
    resources = [(made.type, made.name, made.plain) for made in recorder.registrations]
    return problems + list(rules.buckets_without_a_block(resources))


@pytest.mark.parametrize("stack", STACKS)
def test_the_packages_own_stacks_pass(stack: str) -> None:
    args: Any = {
        "gitlab_url": "https://gitlab.example.com",
        "token_secret_name": "token",
        **STACKS[stack],
    }
    recorder = deploy(lambda: RunnerPlatform("ci", args))
    assert len(recorder.registrations) > 10
    assert found(recorder) == []


def pod(namespace: str = "jobs", **spec: Any) -> tuple[str, dict[str, Any]]:
    template = {"spec": {"containers": [GOOD], **spec}}
    return "kubernetes:apps/v1:Deployment", {
        "metadata": {"namespace": namespace},
        "spec": {"template": template},
    }


def with_container(**changes: Any) -> tuple[str, dict[str, Any]]:
    return pod(containers=[{**GOOD, **changes}])


def cron_job(container: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    template = {"spec": {"template": {"spec": {"containers": [container]}}}}
    return "kubernetes:batch/v1:CronJob", {"spec": {"jobTemplate": template}}


def release(**values: Any) -> tuple[str, dict[str, Any]]:
    return "kubernetes:helm.sh/v3:Release", {"values": values}


def config_toml(**kubernetes: Any) -> tuple[str, dict[str, Any]]:
    text = tomli_w.dumps({"runners": [{"kubernetes": kubernetes}]})
    return release(runners={"jobNamespace": "jobs", "config": text})


BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
OPEN = '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}]}'
CLOSED = '{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*"}]}'
BAD: list[tuple[Callable[..., Any], tuple[str, dict[str, Any]], str]] = [
    (rules.immutable_images, with_container(image="x:latest"), "'x:latest' can change"),
    (rules.immutable_images, with_container(image="x:1.2"), "append its digest"),
    (rules.immutable_images, pod(initContainers=[{"name": "i", "image": "x"}]), "'i'"),
    (rules.immutable_images, cron_job({"name": "c", "image": "x:1"}), "can change"),
    (
        rules.immutable_images,
        ("kubernetes:core/v1:Pod", {"spec": {"containers": [{"name": "p", "image": "x"}]}}),
        "'p'",
    ),
    (rules.privilege, with_container(securityContext={"privileged": True}), "is privileged"),
    (rules.privilege, pod(hostNetwork=True), "has hostNetwork"),
    (rules.privilege, pod(hostPID=True), "has hostPID"),
    (
        rules.privilege,
        pod(volumes=[{"name": "v", "hostPath": {"path": "/var/run/docker.sock"}}]),
        "mounts '/var/run/docker.sock'",
    ),
    (rules.privilege, pod(volumes=[{"name": "v", "hostPath": {"path": "/etc"}}]), "mounts '/etc'"),
    (
        rules.privilege,
        with_container(securityContext={"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}),
        "adds the capability SYS_ADMIN",
    ),
    (rules.privilege, config_toml(privileged=True), "makes the jobs in 'jobs' privileged"),
    (
        rules.privilege,
        config_toml(build_container_security_context={"privileged": True}),
        "build_container_security_context.privileged",
    ),
    (rules.immutable_images, config_toml(image="alpine:latest"), "config.toml: image"),
    (rules.immutable_images, config_toml(services=[{"name": "docker:dind"}]), "services[0].name"),
    (rules.immutable_images, release(runners={}, image={"tag": "latest"}), "values.image.tag"),
    (
        rules.wildcards,
        (
            "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
            {"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}},
        ),
        "it grants 'cluster-admin'",
    ),
    (
        rules.public_buckets,
        ("aws:s3/bucketPolicy:BucketPolicy", {"policy": OPEN.replace("Principal", "NotPrincipal")}),
        "NotPrincipal",
    ),
    (rules.plain_docker, with_container(args=["-H", "tcp://0.0.0.0:2376"]), "--tlsverify"),
    (rules.public_buckets, (BLOCK, {"blockPublicAcls": True}), "blockPublicPolicy is off"),
    (rules.public_buckets, ("aws:s3/bucket:Bucket", {"acl": "public-read"}), "is public"),
    (
        rules.public_buckets,
        ("aws:s3/bucketPolicy:BucketPolicy", {"policy": OPEN}),
        "allows everybody",
    ),
    (
        rules.plain_docker,
        ("kubernetes:core/v1:Service", {"spec": {"ports": [{"port": 2375}]}}),
        "without TLS",
    ),
    (rules.plain_docker, with_container(ports=[{"containerPort": 2375}]), "listens on"),
    (rules.plain_docker, with_container(args=["--host=tcp://0.0.0.0:2376"]), "--tlsverify"),
    (
        rules.plain_docker,
        with_container(env=[{"name": "DOCKER_TLS_CERTDIR", "value": ""}]),
        "turns TLS off",
    ),
    (
        rules.plain_docker,
        with_container(env=[{"name": "DOCKER_HOST", "value": "tcp://docker:2375"}]),
        "DOCKER_HOST is",
    ),
    (
        rules.plain_docker,
        release(runners={"config": 'environment = ["DOCKER_HOST=tcp://docker:2375"]'}),
        "values.runners.config points",
    ),
    (
        rules.wildcards,
        ("kubernetes:rbac.authorization.k8s.io/v1:Role", {"rules": [{"verbs": ["*"]}]}),
        "rules[0].verbs has '*'",
    ),
    (
        rules.wildcards,
        ("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", {"rules": [{"resources": ["*"]}]}),
        "rules[0].resources",
    ),
    (rules.wildcards, release(runners={}, rbac={"create": True}), "values.rbac.rules is empty"),
    (rules.limits, with_container(resources={}), "no limit of cpu and memory"),
    (rules.limits, with_container(resources={"limits": {"cpu": "1"}}), "no limit of memory"),
    (rules.secrets_in_values, release(runnerToken="x" * 8), "values.runnerToken holds a secret"),
    (
        rules.secrets_in_values,
        release(runners={"config": 'token = "glrt-' + "a" * 20 + '"'}),
        "values.runners.config holds a secret",
    ),
    (rules.secrets_in_values, release(cache={"secretKey": "x" * 8}), "values.cache.secretKey"),
]


@pytest.mark.parametrize(("rule", "resource", "message"), BAD)
def test_bad_resources_are_refused(
    rule: Callable[..., Any], resource: tuple[str, dict[str, Any]], message: str
) -> None:
    problems = list(rule(*resource))
    assert any(message in problem for problem in problems), problems
    assert all(";" in problem for problem in problems), "each says what to do"


def test_good_resources_pass() -> None:
    daemon = {**GOOD, "securityContext": {"privileged": True}}
    for resource in (
        pod(),
        pod(namespace="gitlab-runner-docker", containers=[daemon]),
        pod(namespace="gitlab-runner-docker-prod", containers=[daemon]),
        ("aws:s3/bucketPolicy:BucketPolicy", {"policy": CLOSED}),
        ("aws:s3/bucketPolicy:BucketPolicy", {"policy": "not known yet"}),
        with_container(args=["--host=tcp://0.0.0.0:2376", "--tlsverify"]),
    ):
        assert [list(rule.check(*resource)) for rule in rules.RULES] == [[]] * len(rules.RULES)


def test_other_namespaces_may_be_privileged_when_told() -> None:
    bad = pod(namespace="builders", hostPID=True)
    assert list(rules.privilege(*bad))
    assert list(rules.privilege(*bad, ["builders"])) == []
    assert list(rules.privilege(*config_toml(privileged=True), ["jobs"])) == []


def test_a_bucket_needs_a_block_of_its_own() -> None:
    bucket = ("aws:s3/bucket:Bucket", "mine", {"bucket": "mine"})
    other = (BLOCK, "other", {"bucket": "other"})
    own = (BLOCK, "own", {"bucket": "mine"})
    assert list(rules.buckets_without_a_block([bucket, own])) == []
    for resources in ([bucket], [bucket, other]):
        (problem,) = rules.buckets_without_a_block(resources)
        assert "the bucket 'mine' has no" in problem
