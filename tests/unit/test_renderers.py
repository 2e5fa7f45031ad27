"""The pure renderers: config.toml and Helm values."""

import json
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from gitlab_runner_k8s.kubernetes.network_policy import to_service
from gitlab_runner_k8s.runner.config_toml import escape_template, render
from gitlab_runner_k8s.runner.helm_values import RBAC_RULES, helm_values
from gitlab_runner_k8s.runner.network_policies import job_egress, manager_egress
from gitlab_runner_k8s.runner.settings import GitLabRunnerSettings
from gitlab_runner_k8s.validation.rules.kubernetes import quantity
from hypothesis import given
from hypothesis import strategies as st

from tests import builders, lint

GOLDEN = Path(__file__).parents[1] / "golden"
IMAGE = f"registry.example.com/docker:1@sha256:{'0' * 64}"
FULL = builders.runner(
    job_namespace="jobs",
    default_image=IMAGE,
    image=f"docker.io/gitlab/gitlab-runner:v1@sha256:{'1' * 64}",
    helper_image=IMAGE,
    environment={"TZ": "UTC"},
    job_resources={"cpu_request": "500m", "memory_limit": "2Gi"},
    helper_resources={"cpu_request": "50m"},
    job_node_selector={"pool": "jobs"},
    job_node_tolerations={"pool=jobs": "NoSchedule"},
    cache={
        "bucket": "runner",
        "path": "ci",
        "server_address": "minio.cache.svc.cluster.local:9000",
        "insecure": True,
        "credentials_secret_name": "cache",
    },
    docker={
        "host": "tcp://docker.docker.svc.cluster.local:2376",
        "client_secret_name": "docker-client",
    },
)


def toml(settings: GitLabRunnerSettings) -> str:
    """Return a runner's config.toml."""
    text = render(settings, "ci")
    assert isinstance(text, str)
    return text


def values(settings: GitLabRunnerSettings) -> dict[str, Any]:
    """Return a runner's Helm values."""
    return helm_values(
        settings,
        "ci",
        config_toml=toml(settings),
        token_secret_name="token",
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
    golden("config.toml", toml(FULL))


def test_values_are_the_golden_ones() -> None:
    golden("values.json", json.dumps(values(FULL), indent=2) + "\n")


def test_there_is_one_runner_and_no_global_option() -> None:
    parsed = tomllib.loads(toml(FULL))
    assert list(parsed) == ["runners"]
    assert len(parsed["runners"]) == 1


def test_the_role_lists_every_permission() -> None:
    for rule in RBAC_RULES:
        assert rule["apiGroups"] == [""]
        assert "*" not in [*rule["resources"], *rule["verbs"]]
    granted = {rule["resources"][0]: rule["verbs"] for rule in RBAC_RULES}
    assert granted["secrets"] == ["create", "delete", "get", "update"]
    assert values(FULL)["rbac"]["rules"] == RBAC_RULES


def test_an_outage_of_gitlab_does_not_restart_the_runner() -> None:
    probe = values(FULL)["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 30 * 60


@pytest.mark.parametrize("minutes", [3, 30, 24 * 60])
def test_an_outage_of_gitlab_loses_no_jobs_result(minutes: int) -> None:
    runner = builders.runner_table(gitlab_outage_tolerance_minutes=minutes)
    # It reports a job's end with pauses of 1, 2, 4, ... seconds.
    tries = runner["job_status_final_update_retry_limit"]
    assert sum(2**n for n in range(tries - 1)) >= minutes * 60
    assert sum(2**n for n in range(tries - 2)) < minutes * 60


texts = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), texts), texts, texts)
def test_any_text_comes_back_from_the_toml(
    environment: dict[str, str], bucket: str, namespace: str
) -> None:
    # What the rules would refuse, too: no text may break out of its place.
    runner = FULL.model_copy(
        update={
            "job_namespace": namespace,
            "environment": environment,
            "cache": FULL.cache and FULL.cache.model_copy(update={"bucket": bucket}),
            "docker": None,
        }
    )
    text = toml(runner)
    lint.record({"runners": {"config": text}})
    parsed: Any = tomllib.loads(text)["runners"][0]
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


AROUND = builders.runner(egress_cidrs=["10.1.0.0/16"])
ADDRESSES = {"gitlab": "https://gitlab.example.com"}


def with_identity(kind: str) -> GitLabRunnerSettings:
    """Return a runner that reaches its cache by its own identity."""
    return builders.runner(cache={"type": kind, "bucket": "runner-cache", "region": "eu-west-1"})


def reaches(rules: list[Any], address: str, port: int) -> bool:
    """Tell whether rules of egress admit a connection to an address."""
    wanted = ip_address(address)

    def admits(peer: Any) -> bool:
        block = peer.get("ipBlock")
        if not block or wanted not in ip_network(block["cidr"]):
            return False
        return all(wanted not in ip_network(cidr) for cidr in block.get("except", ()))

    return any(
        any(map(admits, rule["to"]))
        and ("ports" not in rule or port in [entry["port"] for entry in rule["ports"]])
        for rule in rules
    )


@pytest.mark.parametrize("port", [53, 80, 443, 988])
@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.170.23", "fe80::1", "fd00:ec2::23"]
)
def test_no_job_reaches_a_metadata_service(address: str, port: int) -> None:
    assert not reaches(job_egress(ADDRESSES, AROUND), address, port)
    assert not reaches(manager_egress(ADDRESSES, AROUND), address, port)


@pytest.mark.parametrize(
    ("kind", "address", "port"),
    [
        ("s3", "169.254.170.23", 80),
        ("s3", "fd00:ec2::23", 80),
        ("gcs", "169.254.169.254", 80),
        ("gcs", "169.254.169.252", 988),
    ],
)
def test_a_runner_gets_the_credentials_of_its_identity(kind: str, address: str, port: int) -> None:
    around = with_identity(kind)
    assert reaches(manager_egress(ADDRESSES, around), address, port)
    assert not reaches(manager_egress(ADDRESSES, around), address, 443)
    assert not reaches(job_egress(ADDRESSES, around), address, port)
    other = with_identity("gcs" if kind == "s3" else "s3")
    assert not reaches(manager_egress(ADDRESSES, other), address, port)


def test_names_are_resolved_by_a_cache_on_the_node() -> None:
    for rules in (job_egress(ADDRESSES, AROUND), manager_egress(ADDRESSES, AROUND)):
        assert reaches(rules, "169.254.20.10", 53)
        assert not reaches(rules, "169.254.20.10", 80)


@pytest.mark.parametrize("address", ["203.0.113.1", "2001:db8::1"])
def test_the_internet_is_reached_in_both_families(address: str) -> None:
    assert reaches(job_egress(ADDRESSES, AROUND), address, 80)
    assert reaches(manager_egress(ADDRESSES, AROUND), address, 443)
    assert not reaches(manager_egress(ADDRESSES, AROUND), address, 80)


@pytest.mark.parametrize("address", ["10.2.0.1", "172.16.0.1", "192.168.1.1", "fd12::1"])
def test_private_ranges_are_reached_when_allowed_alone(address: str) -> None:
    assert not reaches(job_egress(ADDRESSES, AROUND), address, 443)
    assert reaches(job_egress(ADDRESSES, AROUND), "10.1.2.3", 443)


def test_the_ports_of_the_api_server_and_of_gitlabs_pods_can_be_others() -> None:
    inside = {**ADDRESSES, "gitlab": "https://gitlab.git.svc.cluster.local"}
    around = builders.runner(api_server_ports=[8443], gitlab_port=8181)
    manager, jobs = manager_egress(inside, around), job_egress(inside, around)
    assert [reaches(manager, "203.0.113.1", port) for port in (8443, 8181, 6443)] == [
        True,
        True,
        False,
    ]
    numbers = [rule["ports"][0]["port"] for rule in jobs if "namespaceSelector" in rule["to"][0]]
    assert {443, 8181} <= set(numbers)


@pytest.mark.parametrize(
    ("text", "size"), [("1Ki", 1024), ("1k", 1000), ("500m", 0.5), ("2", 2), ("1.5Gi", 1.5 * 2**30)]
)
def test_quantities(text: str, size: float) -> None:
    assert float(quantity(text)) == size


def variables(**settings: Any) -> dict[str, str]:
    """Return a runner's variables of jobs, by name."""
    lines = builders.runner_table(**settings)["environment"]
    return dict(line.split("=", 1) for line in lines)


DAEMON = builders.daemon("docker", "tcp://ci-docker.builds.svc.cluster.local:2376", 2)
DAEMONS = "ci-docker.builds.svc.cluster.local,ci-docker-1.builds.svc.cluster.local"
PROXY = {"HTTPS_PROXY": "http://proxy.example.com:3128"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        (PROXY, DAEMONS),
        ({"http_proxy": "http://p"}, DAEMONS),
        ({**PROXY, "NO_PROXY": ".a.b,c"}, f".a.b,c,{DAEMONS}"),
        ({**PROXY, "no_proxy": "c", "NO_PROXY": "d"}, f"c,d,{DAEMONS}"),
        ({"NO_PROXY": "c"}, "c"),
    ],
)
def test_a_proxy_is_not_asked_for_the_shared_daemon(
    given: dict[str, str], expected: str | None
) -> None:
    found = variables(**DAEMON, environment=given)
    assert found.get("NO_PROXY") == expected
    if {"HTTPS_PROXY", "http_proxy"} & set(given):
        assert found["no_proxy"] == expected


def test_a_proxy_is_asked_for_neither_an_address_nor_the_store() -> None:
    cache = {
        "bucket": "jobs",
        "server_address": "store.example.com:9000",
        "credentials_secret_name": "k",
    }
    daemon = builders.daemon("buildkit", "tcp://10.0.0.1:1234")
    found = variables(**daemon, cache=cache, environment=PROXY)
    assert found["NO_PROXY"] == "10.0.0.1,store.example.com"
    assert "NO_PROXY" not in variables(environment=PROXY)
