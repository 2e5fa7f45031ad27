"""The pure renderers: config.toml and Helm values."""

import json
import tomllib
from pathlib import Path
from typing import Any

import gitlab_runner_k8s as package
import pytest
from gitlab_runner_k8s import _specs
from gitlab_runner_k8s import _validation as validation
from gitlab_runner_k8s._config_toml import CacheConfig, RunnerConfig, escape_template, render
from gitlab_runner_k8s._network import job_egress, manager_egress, to_service
from gitlab_runner_k8s._values import RBAC_RULES, ChartConfig, values
from hypothesis import given
from hypothesis import strategies as st

GOLDEN = Path(__file__).parents[1] / "golden"
IMAGE = f"registry.example.com/docker:1@sha256:{'0' * 64}"
FULL = RunnerConfig(
    job_namespace="jobs",
    image=IMAGE,
    pull_policy="always",
    request_concurrency=4,
    helper_image=IMAGE,
    environment={"TZ": "UTC"},
    job_resources={"cpu_request": "500m", "memory_limit": "2Gi"},
    helper_resources={"cpu_request": "50m"},
    node_selector={"pool": "jobs"},
    node_tolerations={"pool=jobs": "NoSchedule"},
    cache=CacheConfig(
        bucket="runner",
        region="us-east-1",
        path="ci",
        server_address="minio.cache.svc.cluster.local:9000",
        insecure=True,
    ),
    docker_host="tcp://docker.docker.svc.cluster.local:2376",
    docker_client_secret_name="docker-client",
)
CHART = ChartConfig(
    gitlab_url="https://gitlab.example.com",
    job_namespace="jobs",
    concurrent=10,
    config_toml=render(FULL),
    token_secret_name="token",
    image=f"docker.io/gitlab/gitlab-runner:v1@sha256:{'1' * 64}",
    service_account_name="ci",
    cache_secret_name="cache",
    secrets_checksum="0123456789abcdef",
)


def golden(name: str, text: str) -> None:
    """Compare with a golden file; it is written where it does not exist."""
    path = GOLDEN / name
    if not path.exists():
        path.write_text(text)
        pytest.fail(f"{path} did not exist: it was written, look at it and run again")
    assert text == path.read_text()


def test_config_toml_is_the_golden_one() -> None:
    golden("config.toml", render(FULL))


def test_values_are_the_golden_ones() -> None:
    golden("values.json", json.dumps(values(CHART), indent=2) + "\n")


def test_there_is_one_runner_and_no_global_option() -> None:
    parsed = tomllib.loads(render(FULL))
    assert list(parsed) == ["runners"]
    assert len(parsed["runners"]) == 1


def test_the_role_lists_every_permission() -> None:
    for rule in RBAC_RULES:
        assert rule["apiGroups"] == [""]
        assert "*" not in [*rule["resources"], *rule["verbs"]]
    granted = {rule["resources"][0]: rule["verbs"] for rule in RBAC_RULES}
    assert granted["secrets"] == ["create", "delete", "get", "update"]
    assert values(CHART)["rbac"]["rules"] == RBAC_RULES


def test_an_outage_of_gitlab_does_not_restart_the_runner() -> None:
    probe = values(CHART)["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 30 * 60


texts = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), texts), texts, texts)
def test_any_text_comes_back_from_the_toml(
    environment: dict[str, str], bucket: str, namespace: str
) -> None:
    cache = CacheConfig(bucket=bucket, region="r", path="p")
    runner = RunnerConfig(namespace, IMAGE, "always", 1, environment=environment, cache=cache)
    parsed: Any = tomllib.loads(render(runner))["runners"][0]
    assert parsed["kubernetes"]["namespace"] == namespace
    assert parsed["cache"]["s3"]["BucketName"] == bucket
    assert dict(line.split("=", 1) for line in parsed["environment"]) == environment


@given(texts)
def test_helms_template_gives_the_text_back(text: str) -> None:
    escaped = escape_template(text)
    assert escaped.replace('{{ "{{" }}', "{{") == text
    assert "{{" not in escaped.replace('{{ "{{" }}', "")


def test_services_of_the_cluster_are_reached_by_namespace() -> None:
    (rule,) = to_service("tcp://docker.zone-a.svc.cluster.local:2376")
    assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "zone-a"
    }
    assert rule["ports"] == [{"port": 2376, "protocol": "TCP"}]
    assert to_service("https://gitlab.example.com") == []


def test_nobody_reaches_the_metadata_service() -> None:
    addresses = {"gitlab": "https://gitlab.example.com", "store": None, "docker": None}
    for rule in [*job_egress(addresses, ["10.1.0.0/16"]), *manager_egress(addresses)]:
        for peer in rule["to"]:
            block = peer.get("ipBlock", {})
            if block.get("cidr") == "0.0.0.0/0":
                assert "169.254.0.0/16" in block["except"]


@pytest.mark.parametrize(
    ("text", "size"), [("1Ki", 1024), ("1k", 1000), ("500m", 0.5), ("2", 2), ("1.5Gi", 1.5 * 2**30)]
)
def test_quantities(text: str, size: float) -> None:
    assert float(validation.quantity(text)) == size


SPECS: dict[str, type[validation.Spec]] = {
    "GitLabRunnerArgs": _specs.GitLabRunnerSpec,
    "RunnerOptionsArgs": _specs.RunnerOptions,
    "RunnerCacheArgs": _specs.RunnerCacheSpec,
    "RunnerDockerArgs": _specs.RunnerDockerSpec,
    "RunnerBuildKitArgs": _specs.RunnerBuildKitSpec,
    "BuildKitDaemonArgs": _specs.BuildKitDaemonSpec,
    "BuildKitOptionsArgs": _specs.BuildKitOptions,
    "RunnerMirrorArgs": _specs.RunnerMirrorSpec,
    "ExternalSecretArgs": _specs.ExternalSecretSpec,
    "ExternalCacheArgs": _specs.ExternalCacheSpec,
    "ExternalCacheOptionsArgs": _specs.ExternalCacheOptions,
    "ExternalS3Args": _specs.ExternalS3Spec,
    "ExternalGcsArgs": _specs.ExternalGcsSpec,
    "ExternalAzureArgs": _specs.ExternalAzureSpec,
    "FleetArgs": _specs.FleetSettings,
    "ZoneArgs": _specs.ZoneSettings,
    "ResourcesArgs": _specs.ResourcesSpec,
    "ChartArgs": _specs.ChartSpec,
    "MinioCacheArgs": _specs.MinioCacheSpec,
    "MinioOptionsArgs": _specs.MinioOptions,
    "S3CacheArgs": _specs.S3CacheSpec,
    "S3OptionsArgs": _specs.S3Options,
    "SharedDockerDaemonArgs": _specs.SharedDockerDaemonSpec,
    "DockerOptionsArgs": _specs.DockerOptions,
    "RegistryMirrorArgs": _specs.RegistryMirrorSpec,
    "RegistryMirrorOptionsArgs": _specs.RegistryMirrorOptions,
    "RunnerPlatformArgs": _specs.RunnerPlatformSpec,
    "CacheSettingsArgs": _specs.CacheSettings,
    "NamespacesArgs": _specs.NamespacesSettings,
    "MonitoringArgs": _specs.MonitoringSpec,
    "NetworkArgs": _specs.NetworkSettings,
}


@pytest.mark.parametrize("name", SPECS)
def test_public_arguments_and_their_rules_have_the_same_fields(name: str) -> None:
    args, spec = getattr(package, name), SPECS[name]
    assert set(args.__annotations__) == set(spec.model_fields)
    required = {key for key, field in spec.model_fields.items() if field.is_required()}
    assert set(args.__required_keys__) == required


def test_every_argument_type_has_its_rules() -> None:
    assert {name for name in package.__all__ if name.endswith("Args")} == set(SPECS)
