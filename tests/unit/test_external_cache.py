"""A store that is there already: the Secret, the identity and the TOML that join a runner to it."""

import tomllib
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import ExternalCache, GitLabRunner, RunnerPlatform

from tests import builders
from tests.harness import Recorder, deploy

CLIENT_ID = "00000000-0000-0000-0000-000000000000"
KEY = "0123456789abcdef-the-key"
STORES: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "s3 with a key": (
        {
            "s3": {
                "bucket": "there",
                "server_address": "store.example.com:9000",
                "access_key": KEY,
                "secret_key": KEY,
            }
        },
        {
            "Type": "s3",
            "s3": {
                "ServerAddress": "store.example.com:9000",
                "BucketName": "there",
                "BucketLocation": "us-east-1",
                "Insecure": False,
                "AuthenticationType": "access-key",
                "PathStyle": True,
            },
        },
        {"accesskey", "secretkey"},
    ),
    "gcs with a key": (
        {"gcs": {"bucket": "there", "service_account_key": KEY}},
        {"Type": "gcs", "gcs": {"BucketName": "there"}},
        {"gcs-application-credentials-file"},
    ),
    "azure with a key": (
        {"azure": {"account_name": "account", "container": "there", "account_key": KEY}},
        {"Type": "azure", "azure": {"AccountName": "account", "ContainerName": "there"}},
        {"azure-account-name", "azure-account-key"},
    ),
}


def made(options: dict[str, Any]) -> tuple[Recorder, dict[str, Any]]:
    found: dict[str, Any] = {}

    def program() -> None:
        cache = ExternalCache("cache", options)  # type: ignore[arg-type]
        pulumi.Output.all(
            cache.config_toml, cache.service_account_annotations, cache.manager_pod_labels
        ).apply(lambda known: found.update(toml=known[0], annotations=known[1], labels=known[2]))

    return deploy(program), found


@pytest.mark.parametrize("case", STORES)
def test_a_store_with_a_key(case: str) -> None:
    options, wanted, keys = STORES[case]
    recorder, found = made(options)
    table = tomllib.loads(found["toml"])["runners"]["cache"]
    assert table == {"Path": "gitlab-runner", "Shared": True, **wanted}
    secret = recorder.one(":Secret").plain
    assert set(secret["stringData"]) == keys
    assert secret["metadata"]["namespace"] == "gitlab-runner"
    assert KEY not in found["toml"]
    assert KEY not in recorder.readable()


@pytest.mark.parametrize(
    ("options", "annotations", "labels"),
    [
        (
            {
                "s3": {
                    "bucket": "there",
                    "region": "eu-central-1",
                    "identity_role_arn": "arn:aws:iam::123456789012:role/r",
                }
            },
            {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/r"},
            {},
        ),
        (
            {"gcs": {"bucket": "there", "service_account_email": "r@p.iam.gserviceaccount.com"}},
            {"iam.gke.io/gcp-service-account": "r@p.iam.gserviceaccount.com"},
            {},
        ),
        (
            {"azure": {"account_name": "account", "container": "there", "client_id": CLIENT_ID}},
            {"azure.workload.identity/client-id": CLIENT_ID},
            {"azure.workload.identity/use": "true"},
        ),
        ({"s3": {"bucket": "there", "region": "eu-central-1"}}, {}, {}),
    ],
)
def test_a_store_by_identity(
    options: dict[str, Any], annotations: dict[str, str], labels: dict[str, str]
) -> None:
    recorder, found = made(options)
    assert recorder.of_type(":Secret") == []
    assert found["annotations"] == annotations
    assert found["labels"] == labels
    if "s3" in options:
        table = tomllib.loads(found["toml"])["runners"]["cache"]
        assert table["s3"]["AuthenticationType"] == "iam"


def test_a_runner_alone_takes_the_cache_with_another_path() -> None:
    def program() -> None:
        cache = ExternalCache("cache", {"gcs": {"bucket": "there", "credentials_secret_name": "c"}})
        assert cache.runner_cache["bucket"] == "there"
        args: Any = {**builders.GITLAB, "cache": {**cache.runner_cache, "path": "other"}}
        GitLabRunner("ci", args)

    table = deploy(program).one(":Release").runner["cache"]
    assert table == {
        "Type": "gcs",
        "Path": "other",
        "Shared": True,
        "gcs": {"BucketName": "there"},
    }


def test_the_platform_gives_the_runner_its_identity() -> None:
    azure = {"account_name": "account", "container": "there", "client_id": CLIENT_ID}
    args: Any = {
        **builders.GITLAB,
        "cache": {
            "backend": "external",
            "external": {"azure": azure, "max_archive_size": "2Gi"},
        },
    }
    release = deploy(lambda: RunnerPlatform("ci", args)).one(":Release")
    values = release.values
    assert values["serviceAccount"]["annotations"] == {
        "azure.workload.identity/client-id": CLIENT_ID
    }
    assert values["podLabels"] == {"azure.workload.identity/use": "true"}
    cache = release.runner["cache"]
    assert cache["Path"] == "ci"
    assert cache["MaxUploadedArchiveSize"] == 2 * 2**30
    assert cache["azure"] == {"AccountName": "account", "ContainerName": "there"}
    assert "cache" not in values["runners"]
