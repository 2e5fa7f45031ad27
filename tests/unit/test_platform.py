"""What the whole platform registers."""

import json
from functools import partial
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import RunnerPlatform
from gitlab_runner_k8s.kubernetes.workloads import refuse_existing_namespace

from tests.harness import Recorder, deploy, token, without_secrets

DAEMON: Any = {"accept_shared_nodes": True}
S3: Any = {
    "region": "eu-central-1",
    "identity": "irsa",
    "oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1",
}
CASES: dict[str, Any] = {
    "default": {},
    "daemon": {"docker_daemon": DAEMON},
    "no cache": {"cache": {"backend": "none"}},
    "s3": {"cache": {"backend": "s3", "s3": S3}},
    "s3 by key": {
        "cache": {"backend": "s3", "s3": {"region": "eu-central-1", "identity": "access-key"}}
    },
    "external": {
        "cache": {
            "backend": "external",
            "external": {"s3": {"bucket": "there-already", "region": "eu-central-1"}},
        }
    },
    "own namespaces": {"namespaces": {"enable_creation": False}, "docker_daemon": DAEMON},
    "no policies": {"network": {"enable_policies": False}, "docker_daemon": DAEMON},
}


def platform(
    settings: dict[str, Any] | None = None, *, name: str = "ci", runner_token: str | None = None
) -> RunnerPlatform:
    args: Any = {
        "gitlab_url": "https://gitlab.example.com",
        "runner_token": pulumi.Output.secret(runner_token or token()),
        **(settings or {}),
    }
    return RunnerPlatform(name, args)


@pytest.mark.parametrize("case", CASES)
def test_every_child_has_its_parent_and_its_name(case: str) -> None:
    recorder = deploy(lambda: platform(CASES[case]))
    for made in recorder.registrations:
        if made.type in {"pulumi:pulumi:Stack", "gitlab-runner-k8s:index:RunnerPlatform"}:
            continue
        assert made.name.startswith("ci-"), made.name
        assert "RunnerPlatform" in made.parent, made.name


@pytest.mark.parametrize("case", CASES)
def test_a_preview_registers_the_same_resources(case: str) -> None:
    update = deploy(lambda: platform(CASES[case]))
    preview = deploy(lambda: platform(CASES[case]), preview=True)

    def names(recorder: Recorder) -> list[tuple[str, str]]:
        return sorted((made.type, made.name) for made in recorder.registrations)

    assert names(preview) == names(update)


@pytest.mark.parametrize("case", CASES)
def test_components_register_their_outputs(case: str) -> None:
    recorder = deploy(lambda: platform(CASES[case]))
    components = {
        f"{made.type}::{made.name}"
        for made in recorder.registrations
        if made.type.startswith("gitlab-runner-k8s:index:")
    }
    registered = {"::".join(urn.rpartition("$")[2].split("::")[-2:]) for urn in recorder.outputs}
    assert components
    assert components == {name for name in registered if name.startswith("gitlab-runner-k8s:")}
    for urn, outputs in recorder.outputs.items():
        assert outputs, urn


def test_two_platforms_do_not_collide() -> None:
    def program() -> None:
        platform({"docker_daemon": DAEMON}, name="one")
        platform({"docker_daemon": DAEMON}, name="two")

    recorder = deploy(program)
    names = [(made.type, made.name) for made in recorder.registrations]
    assert len(names) == len(set(names))


def test_the_daemon_is_off_by_default() -> None:
    recorder = deploy(platform)
    assert recorder.of_type("SharedDockerDaemon") == []
    assert "privileged" not in {
        made.plain["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
        for made in recorder.of_type(":Namespace")
    }
    assert recorder.one(":Release").runner["environment"] == []


def test_jobs_get_the_daemon_without_an_edit_to_their_pipeline() -> None:
    recorder = deploy(lambda: platform({"docker_daemon": DAEMON}))
    runner = recorder.one(":Release").runner
    assert runner["environment"] == [
        "COMPOSE_PROJECT_NAME=ci-$CI_JOB_ID",
        "DOCKER_CERT_PATH=/docker-certs",
        "DOCKER_HOST=tcp://ci-docker.gitlab-runner-docker.svc.cluster.local:2376",
        "DOCKER_TLS_VERIFY=1",
    ]
    assert runner["kubernetes"]["privileged"] is False
    volume = runner["kubernetes"]["volumes"]["secret"][0]
    client = recorder.one(":Secret", "ci-docker-client").plain
    assert volume["name"] == client["metadata"]["name"]
    assert volume["items"] == {key: key for key in client["stringData"]}
    assert client["metadata"]["namespace"] == runner["kubernetes"]["namespace"]


def test_the_runner_gets_the_scoped_user_and_never_root() -> None:
    recorder = deploy(platform)
    credentials = recorder.one(":Secret", "ci-cache-credentials").plain
    assert credentials["stringData"] == {
        "accesskey": "secret-ci-cache-user-name",
        "secretkey": "secret-ci-cache-user-password",
    }
    assert credentials["metadata"]["namespace"] == "gitlab-runner"
    values = recorder.one(":Release").values
    assert values["runners"]["cache"] == {"secretName": "ci-cache-credentials"}
    for made in recorder.of_type(":Secret"):
        if made.plain["metadata"]["namespace"] != "gitlab-runner-cache":
            assert "ci-cache-root" not in json.dumps(made.plain)


def test_the_authority_key_never_enters_the_cluster() -> None:
    recorder = deploy(lambda: platform({"docker_daemon": DAEMON}))
    objects = [made for made in recorder.registrations if made.type.startswith("kubernetes:")]
    assert "key-ci-docker-ca" not in json.dumps([made.plain for made in objects])
    assert "cert-ci-docker-ca" in json.dumps([made.plain for made in objects])


@pytest.mark.parametrize("case", CASES)
def test_no_secret_is_readable(case: str) -> None:
    runner_token = token()
    recorder = deploy(lambda: platform(CASES[case], runner_token=runner_token))
    readable = recorder.readable() + json.dumps(without_secrets(recorder.outputs))
    assert runner_token not in readable
    assert "secret-ci" not in readable
    assert "key-ci" not in readable
    # The check can fail: with the envelopes off, the token is there.
    everything = json.dumps([made.plain for made in recorder.registrations])
    assert runner_token in everything


def test_a_new_token_rolls_the_runner() -> None:
    def annotation(runner_token: str) -> str:
        recorder = deploy(lambda: platform(runner_token=runner_token))
        annotations = recorder.one(":Release").values["podAnnotations"]
        return str(annotations["checksum/external-secrets"])

    one, other = token(), token()
    assert annotation(one) == annotation(one)
    assert annotation(one) != annotation(other)


def test_namespaces_with_volumes_outlive_the_stack_unless_told() -> None:
    def retained(settings: dict[str, Any]) -> set[str]:
        recorder = deploy(lambda: platform({"docker_daemon": DAEMON, **settings}))
        return {
            made.plain["metadata"]["name"]
            for made in recorder.of_type(":Namespace")
            if made.request.retainOnDelete
        }

    assert retained({}) == {"gitlab-runner-cache", "gitlab-runner-docker"}
    assert retained({"allow_volume_deletion": True}) == set()


def test_each_namespace_has_the_level_that_its_pods_need() -> None:
    recorder = deploy(lambda: platform({"docker_daemon": DAEMON}))
    levels = {
        made.plain["metadata"]["name"]: made.plain["metadata"]["labels"][
            "pod-security.kubernetes.io/enforce"
        ]
        for made in recorder.of_type(":Namespace")
    }
    assert levels == {
        "gitlab-runner": "restricted",
        "gitlab-runner-jobs": "baseline",
        "gitlab-runner-cache": "restricted",
        "gitlab-runner-docker": "privileged",
    }


def test_privileged_jobs_get_a_namespace_that_admits_them() -> None:
    recorder = deploy(lambda: platform({"runner": {"enable_privileged_jobs": True}}))
    (jobs,) = [
        made
        for made in recorder.of_type(":Namespace")
        if made.plain["metadata"]["name"] == "gitlab-runner-jobs"
    ]
    assert jobs.plain["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert recorder.one(":Release").runner["kubernetes"]["privileged"] is True


def test_a_bucket_is_protected_unless_told() -> None:
    for allowed in (False, True):
        cache = {"cache": {"backend": "s3", "s3": {**S3, "allow_destroy": allowed}}}
        bucket = deploy(partial(platform, cache)).one("s3/bucket:Bucket")
        assert bucket.request.protect is not allowed
        assert bucket.plain["forceDestroy"] is allowed


def test_the_runners_role_is_on_its_service_account() -> None:
    recorder = deploy(lambda: platform(CASES["s3"]))
    values = recorder.one(":Release").values
    assert values["serviceAccount"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/ci-cache-role"
    }
    trust = json.loads(recorder.one("iam/role:Role").plain["assumeRolePolicy"])
    assert trust["Statement"][0]["Condition"]["StringEquals"] == {
        "oidc.example.com/id/1:sub": ["system:serviceaccount:gitlab-runner:ci"],
        "oidc.example.com/id/1:aud": "sts.amazonaws.com",
    }
    s3 = recorder.one(":Release").runner["cache"]["s3"]
    assert s3["AuthenticationType"] == "iam"
    assert "ServerAddress" not in s3
    assert "cache" not in values["runners"]


@pytest.mark.parametrize(
    ("dry_run", "version", "refused"),
    [
        (True, {"resourceVersion": "1"}, True),
        (True, {}, False),
        (False, {"resourceVersion": "1"}, False),
    ],
    ids=["preview, it exists", "preview, it is new", "update"],
)
def test_a_preview_refuses_a_namespace_that_exists(
    monkeypatch: pytest.MonkeyPatch, dry_run: bool, version: dict[str, str], refused: bool
) -> None:
    bindings: list[pulumi.ResourceHookBinding] = []
    deploy(lambda: bindings.append(refuse_existing_namespace("jobs", "leave")))
    assert bindings[0].after_create
    (hook,) = bindings[0].after_create
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: dry_run)
    outputs = {"metadata": {"name": "theirs", **version}}
    args = pulumi.ResourceHookArgs("urn", "", "jobs", "Namespace", new_outputs=outputs)
    if not refused:
        hook(args)
        return
    with pytest.raises(pulumi.RunError, match=r"'theirs' exists already .* or leave"):
        hook(args)


def test_every_namespace_is_refused_if_it_exists() -> None:
    namespaces = deploy(lambda: platform({"docker_daemon": DAEMON})).of_type(":Namespace")
    assert len(namespaces) == 4
    assert all(made.request.hooks.after_create for made in namespaces)
