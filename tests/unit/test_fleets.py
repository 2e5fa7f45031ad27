"""Several runners and trust zones in one platform."""

import json
import runpy
from pathlib import Path
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import ArgsError, GitLabRunner, RunnerPlatform

from tests import builders
from tests.harness import Recorder, Registration, deploy, token

DAEMON = {"accept_shared_nodes": True}
FLEETS: dict[str, Any] = {
    "gitlab_url": "https://gitlab.example.com",
    "docker_daemon": DAEMON,
    "zones": {"prod": {"docker_daemon": {**DAEMON, "volume_size": "50Gi"}}, "open": {}},
    "runner": {"concurrent": 3, "pull_policy": "if-not-present"},
    "fleets": {
        "small": {"token_secret_name": "small", "runner": {"tags": ["small", "docker"]}},
        "release": {
            "token_secret_name": "release",
            "zone": "prod",
            "runner": {"concurrent": 1, "spot": "gke", "job_node_selector": {"pool": "prod"}},
        },
        "guests": {"token_secret_name": "guests", "zone": "open"},
    },
}


def made() -> Recorder:
    return deploy(lambda: RunnerPlatform("ci", FLEETS))  # type: ignore[arg-type]


def release(recorder: Recorder, name: str) -> Registration:
    return recorder.one(":Release", f"{name}-runner-release")


def test_each_fleet_is_a_release_with_its_own_token() -> None:
    recorder = made()
    releases = {made.plain["name"]: made.plain for made in recorder.of_type(":Release")}
    assert set(releases) == {"ci-small", "ci-release", "ci-guests"}
    secrets = {name: made["values"]["runners"]["secret"] for name, made in releases.items()}
    assert secrets == {"ci-small": "small", "ci-release": "release", "ci-guests": "guests"}


def test_a_fleets_options_come_before_the_platforms() -> None:
    recorder = made()
    assert release(recorder, "ci-small").values["concurrent"] == 3
    assert release(recorder, "ci-release").values["concurrent"] == 1
    assert release(recorder, "ci-release").runner["kubernetes"]["pull_policy"] == ["if-not-present"]
    annotations = release(recorder, "ci-small").values["deploymentAnnotations"]
    assert annotations == {"gitlab-runner-k8s/tags": "small,docker"}


def test_a_spot_fleet_tolerates_its_nodes() -> None:
    kubernetes = release(made(), "ci-release").runner["kubernetes"]
    assert kubernetes["node_selector"] == {"cloud.google.com/gke-spot": "true", "pool": "prod"}
    assert kubernetes["node_tolerations"] == {"cloud.google.com/gke-spot=true": "NoSchedule"}


def test_zones_share_no_namespace_daemon_authority_or_cache() -> None:
    recorder = made()
    namespaces = {made.plain["metadata"]["name"] for made in recorder.of_type(":Namespace")}
    assert namespaces == {
        "gitlab-runner",
        "gitlab-runner-cache",
        "gitlab-runner-jobs",
        "gitlab-runner-docker",
        "gitlab-runner-jobs-prod",
        "gitlab-runner-docker-prod",
        "gitlab-runner-jobs-open",
    }
    authorities = {made.name for made in recorder.of_type(":SelfSignedCert")}
    assert authorities == {"ci-docker-ca", "ci-prod-docker-ca"}
    seen: list[tuple[str, ...]] = []
    for fleet, namespace, host, path in (
        ("ci-small", "gitlab-runner-jobs", "ci-docker.gitlab-runner-docker.svc", "ci"),
        (
            "ci-release",
            "gitlab-runner-jobs-prod",
            "ci-prod-docker.gitlab-runner-docker-prod.svc",
            "ci-prod",
        ),
        ("ci-guests", "gitlab-runner-jobs-open", "", "ci-open"),
    ):
        runner = release(recorder, fleet).runner
        assert runner["kubernetes"]["namespace"] == namespace
        assert release(recorder, fleet).values["runners"]["jobNamespace"] == namespace
        assert (host in json.dumps(runner["environment"])) if host else not runner["environment"]
        assert runner["cache"]["Path"] == path
        seen.append((namespace, path))
    assert len(set(seen)) == 3
    client = recorder.one(":Secret", "ci-prod-docker-client").plain["metadata"]
    assert client["namespace"] == "gitlab-runner-jobs-prod"


def test_a_daemon_admits_the_jobs_of_its_own_zone_alone() -> None:
    recorder = made()
    for name, namespace in (
        ("ci-docker", "gitlab-runner-jobs"),
        ("ci-prod-docker", "gitlab-runner-jobs-prod"),
    ):
        (rule,) = recorder.one(":NetworkPolicy", name).plain["spec"]["ingress"]
        assert rule["from"] == [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
        ]
    policy = recorder.one(":NetworkPolicy", "ci-release-runner-jobs").plain["spec"]
    assert "gitlab-runner-docker-prod" in json.dumps(policy)
    assert '"gitlab-runner-docker"' not in json.dumps(policy)


def test_every_zone_reaches_the_store() -> None:
    recorder = made()
    for zone in ("prod", "open"):
        policy = recorder.one(":NetworkPolicy", f"ci-cache-zone-{zone}").plain["spec"]
        assert f"gitlab-runner-jobs-{zone}" in json.dumps(policy["ingress"])
        assert policy["egress"] == []


ALL_PARTS: dict[str, Any] = {
    **FLEETS,
    "cache": {"minio": {"enable_tls": True, "enable_metrics": True}},
    "registry_mirror": {},
    "monitoring": {"enable_pod_monitor": True, "enable_alert_rules": True},
}
WITHOUT_DEFAULT_ZONE: dict[str, Any] = {
    key: value for key, value in ALL_PARTS.items() if key != "docker_daemon"
} | {
    "zones": {"prod": {"buildkit_daemon": {}}, "open": {}},
    "fleets": {
        "release": {"token_secret_name": "release", "zone": "prod"},
        "guests": {
            "token_secret_name": "guests",
            "zone": "open",
            "runner": {"enable_privileged_services": True},
        },
    },
}


@pytest.mark.parametrize("args", [FLEETS, ALL_PARTS, WITHOUT_DEFAULT_ZONE])
def test_what_a_pod_mounts_is_in_its_namespace_and_every_namespace_is_made(args: Any) -> None:
    """A pod whose Secret is missing never starts, and nobody says why."""
    recorder = deploy(lambda: RunnerPlatform("ci", args))
    placed = [made for made in recorder.registrations if "namespace" in _metadata(made)]
    namespaces = {made.plain["metadata"]["name"] for made in recorder.of_type(":Namespace")}
    used = {_metadata(made)["namespace"] for made in placed}
    used |= {made.plain["namespace"] for made in recorder.of_type(":Release")}
    assert used <= namespaces
    there = {
        (made.type.rpartition(":")[2], _metadata(made)["namespace"], _metadata(made).get("name"))
        for made in placed
    }
    mounted = 0
    for made in recorder.of_type(":Release"):
        kubernetes = made.runner["kubernetes"]
        for kind, entries in kubernetes.get("volumes", {}).items():
            for entry in entries:
                named = "Secret" if kind == "secret" else "ConfigMap"
                assert (named, kubernetes["namespace"], entry["name"]) in there
                mounted += 1
    assert mounted >= 2


def _metadata(made: Any) -> dict[str, Any]:
    found: dict[str, Any] = made.plain.get("metadata") or {}
    return found


@pytest.mark.parametrize("args", [FLEETS, ALL_PARTS, WITHOUT_DEFAULT_ZONE])
def test_every_pod_of_every_namespace_is_isolated_both_ways(args: Any) -> None:
    recorder = deploy(lambda: RunnerPlatform("ci", args))
    denied = {
        _metadata(made)["namespace"]
        for made in recorder.of_type(":NetworkPolicy")
        if made.plain["spec"]["podSelector"] == {}
        and made.plain["spec"]["policyTypes"] == ["Ingress", "Egress"]
    }
    assert denied == {made.plain["metadata"]["name"] for made in recorder.of_type(":Namespace")}


def test_every_volume_has_its_alerts() -> None:
    recorder = deploy(lambda: RunnerPlatform("ci", ALL_PARTS))  # type: ignore[arg-type]
    rules = json.dumps(recorder.one(":PrometheusRule").plain)
    for made in recorder.of_type(":StatefulSet"):
        namespace = made.plain["metadata"]["namespace"]
        assert f'kubelet_volume_stats_available_bytes{{namespace=\\"{namespace}\\"}}' in rules


def test_the_store_stays_for_running_jobs_while_runners_move_to_another() -> None:
    moved = {
        "backend": "s3",
        "keep_minio": True,
        "minio": {"volume_size": "5Gi"},
        "s3": {"region": "eu-central-1", "identity": "pod-identity", "eks_cluster_name": "c"},
    }
    recorder = deploy(lambda: RunnerPlatform("ci", {**FLEETS, "cache": moved}))  # type: ignore[typeddict-item]
    assert recorder.one(":StatefulSet", "ci-cache-server")
    assert recorder.one(":NetworkPolicy", "ci-cache-zone-prod")
    assert "ServerAddress" not in release(recorder, "ci-small").runner["cache"]["s3"]
    gone = {key: value for key, value in moved.items() if key not in {"keep_minio", "minio"}}
    recorder = deploy(lambda: RunnerPlatform("ci", {**FLEETS, "cache": gone}))  # type: ignore[typeddict-item]
    assert recorder.of_type(":index:MinioCache") == []


def test_the_program_deploys_a_stack_with_fleets(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "gitlabUrl": "https://gitlab.example.com",
        "fleets": json.dumps({"a": {"tokenSecretName": "a"}, "b": {"tokenSecretName": "b"}}),
    }
    prefixed = {f"gitlab-runner-k8s:{key}": value for key, value in given.items()}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(prefixed))
    program = str(Path(__file__).parents[2] / "__main__.py")
    recorder = deploy(lambda: runpy.run_path(program))
    assert len(recorder.of_type(":Release")) == 2


def test_the_outputs_name_every_fleet_and_zone() -> None:
    found: dict[str, Any] = {}

    def program() -> None:
        platform = RunnerPlatform("ci", FLEETS)  # type: ignore[arg-type]
        assert platform.release_name is None
        assert platform.release_names is not None
        assert platform.docker_hosts is not None
        pulumi.Output.all(platform.release_names, platform.docker_hosts).apply(
            lambda known: found.update(releases=known[0], hosts=known[1])
        )

    deploy(program)
    assert found["releases"] == {
        "small": "ci-small",
        "release": "ci-release",
        "guests": "ci-guests",
    }
    assert set(found["hosts"]) == {"default", "prod"}


EXTERNAL: dict[str, Any] = {
    "gitlab_url": "https://gitlab.example.com",
    "token_external_secret": {
        "store_name": "vault",
        "remote_key": "ci/runner",
        "remote_property": "token",
    },
}


def test_a_token_can_come_from_the_external_secrets_operator() -> None:
    recorder = deploy(lambda: GitLabRunner("ci", EXTERNAL))  # type: ignore[arg-type]
    assert recorder.of_type(":Secret") == []
    reference = recorder.one(":ExternalSecret").plain
    assert reference["spec"]["secretStoreRef"] == {"name": "vault", "kind": "ClusterSecretStore"}
    assert set(reference["spec"]["target"]["template"]["data"]) == {
        "runner-token",
        "runner-registration-token",
    }
    values = recorder.one(":Release").values
    assert values["runners"]["secret"] == reference["spec"]["target"]["name"]


EXTRA = """
[[runners]]
  output_limit = 8192
  [runners.kubernetes]
    poll_interval = 5
    [[runners.kubernetes.volumes.secret]]
      name = "npmrc"
      mount_path = "/root/.npmrc"
"""


def test_extra_config_joins_what_is_rendered() -> None:
    args: Any = {
        **builders.GITLAB,
        "docker": {"host": "tcp://d.docker.svc.cluster.local:2376", "client_secret_name": "client"},
        "extra_config": EXTRA,
    }
    recorder = deploy(lambda: GitLabRunner("ci", args))
    table = recorder.one(":Release").runner
    assert table["output_limit"] == 8192
    assert table["kubernetes"]["poll_interval"] == 5
    names = [volume["name"] for volume in table["kubernetes"]["volumes"]["secret"]]
    assert names == ["client", "npmrc"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fleets": {"a": {}}}, "fleets.a: exactly one of runner_token, token_secret_name"),
        (
            {"fleets": {"a": {"token_secret_name": "a", "zone": "prd"}}},
            "fleets.a.zone: there is no zone 'prd'; known zones: default, prod, open",
        ),
        ({"token_secret_name": "x"}, "token_secret_name must not be set together with fleets"),
        (
            {"zones": {"prod": {"job_namespace": "gitlab-runner-jobs"}}},
            "zones.prod.job_namespace must differ from namespaces.jobs",
        ),
        (
            {"zones": {"one": {"daemon_namespace": "x"}, "two": {"daemon_namespace": "x"}}},
            "zones.two.daemon_namespace must differ from zones.one.daemon_namespace",
        ),
        ({"zones": {"default": {}}}, "zones.default must not be set"),
        ({"zones": {"Not_One": {}}}, "zones.Not_One"),
        (
            {
                "fleets": {
                    "a": {"token_secret_name": "a", "runner": {"request_concurrency": 9}},
                }
            },
            "fleets.a.runner, merged with the platform's runner: request_concurrency (9)",
        ),
        (
            {
                "fleets": {
                    "a": {"token_secret_name": "a", "runner": {"enable_privileged_jobs": True}}
                }
            },
            "fleets.a.runner.enable_privileged_jobs must be false",
        ),
        (
            {"fleets": {"a" * 38: {"token_secret_name": "a"}}},
            f"fleets.{'a' * 38}: the name 'ci-{'a' * 38}' made of it must be a DNS-1123 label",
        ),
    ],
)
def test_bad_fleets_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgsError) as caught:
        deploy(lambda: RunnerPlatform("ci", {**FLEETS, **settings}))  # type: ignore[typeddict-item]
    assert any(problem.startswith(message) for problem in caught.value.problems), caught.value


def test_a_runner_token_stays_secret_in_a_fleet() -> None:
    secret = token()
    fleets = {"a": {"runner_token": pulumi.Output.secret(secret)}}
    recorder = deploy(lambda: RunnerPlatform("ci", {**FLEETS, "fleets": fleets}))  # type: ignore[typeddict-item]
    assert secret not in recorder.readable()
    assert (
        recorder.one(":Secret", "ci-a-runner-token").plain["stringData"]["runner-token"] == secret
    )


NAMES = [
    *("minio", "bootstrap", "metrics", "credentials", "cache", "docker", "jobs", "runner"),
    *("mirror", "monitoring", "buildkit", "zone", "ca", "server"),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_zone_or_a_fleet_is_that_of_another_part(name: str) -> None:
    args: Any = {
        "gitlab_url": "https://gitlab.example.com",
        "docker_daemon": DAEMON,
        "registry_mirror": {},
        "cache": {"minio": {"enable_metrics": True, "enable_tls": True}},
        "zones": {name: {"docker_daemon": DAEMON}},
        "fleets": {
            "a": {"token_secret_name": "a"},
            name.replace("docker", "b"): {"token_secret_name": "b", "zone": name},
        },
        "monitoring": {"enable_pod_monitor": True, "enable_alert_rules": True},
    }
    recorder = deploy(lambda: RunnerPlatform("ci", args))
    urns = [(made.parent, made.type, made.name) for made in recorder.registrations]
    assert len(urns) == len(set(urns))
    objects = [
        (made.type, metadata.get("namespace"), metadata["name"])
        for made in recorder.registrations
        if "name" in (metadata := made.plain.get("metadata") or {})
    ]
    assert len(objects) == len(set(objects))
