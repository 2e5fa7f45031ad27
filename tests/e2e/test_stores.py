"""Every engine of the in-cluster store on the lab: TLS, metrics, resizing and what it refuses.

MinIO stands in for Silo, its fork, too. SeaweedFS is a newer version than the pinned one.
"""

import base64
import datetime as dt
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pulumi
import pulumi_kubernetes as k8s
import pytest
from botocore.config import Config
from gitlab_runner_k8s import MinioCache
from pulumi import automation as auto

from lab import cluster, engine, images, process
from tests.e2e import denied
from tests.engine.conftest import PROJECT, changes
from tests.required import needs_lab

pytestmark = pytest.mark.lab
ROLES = ("cache", "runner", "jobs")
CLASS = "e2e-stores"
CLAIM = "data-store-minio-0"
STACK = "stores"


@dataclass
class Deployed:
    """A store of a test's own."""

    stack: auto.Stack
    folder: Path
    args: dict[str, Any]

    @property
    def namespaces(self) -> dict[str, str]:
        return {role: f"{CLASS}-{role}" for role in ROLES}

    @property
    def tls(self) -> bool:
        return bool(self.args.get("enable_tls"))

    @property
    def host(self) -> str:
        return f"store-minio.{self.namespaces['cache']}.svc.cluster.local"

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}:9000"

    def get(self, role: str, kind: str, name: str) -> Any:
        found = cluster.kubectl("-n", self.namespaces[role], "get", kind, name, "-o", "json")
        return json.loads(found)

    def secret(self, role: str, name: str) -> dict[str, str]:
        data = self.get(role, "secret", name)["data"]
        return {key: base64.b64decode(text).decode() for key, text in data.items()}

    def program(self) -> None:
        names = self.namespaces
        made = [
            k8s.core.v1.Namespace(
                role,
                metadata={
                    "name": names[role],
                    "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
                },
            )
            for role in ROLES
        ]
        args: Any = {
            "namespace": names["cache"],
            "runner_namespace": names["runner"],
            "job_namespace": names["jobs"],
            "storage_class_name": CLASS,
            **self.args,
        }
        store = MinioCache("store", args, opts=pulumi.ResourceOptions(depends_on=made))
        pulumi.export("ca", store.ca_secret_name)
        pulumi.export("metrics", store.metrics_secret_name)

    def select(self, **changed: Any) -> auto.Stack:
        """Return the stack with some of the store's arguments changed."""
        other = Deployed(self.stack, self.folder, {**self.args, **changed})
        environment = dict(self.stack.workspace.env_vars)
        return engine.select_stack(STACK, other.program, self.folder, PROJECT, environment)


def _volume(path: Path) -> list[dict[str, Any]]:
    """Return a StorageClass whose claims may grow, and a volume of it in a directory."""
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [cluster.NODE]}
    metadata = {"name": CLASS}
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": metadata,
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": True,
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": metadata,
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "local": {"path": str(path)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": CLASS,
            },
        },
    ]


def _stores() -> dict[str, dict[str, Any]]:
    small = {"volume_size": "1Gi", "enable_metrics": True}
    return {
        "minio": {"engine": "minio", "enable_tls": True, **small},
        "seaweedfs": {"engine": "seaweedfs", "enable_tls": True, **small},
    }


@pytest.fixture(scope="module", params=["minio", "seaweedfs"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    needs_lab()
    args = {**_stores()[request.param], "image": images.reference(request.param)}
    folder = tmp_path_factory.mktemp("store")
    data = folder / "data"
    data.mkdir()
    (folder / "Pulumi.yaml").write_text(
        f"name: {PROJECT}\nruntime: python\n"
        "config:\n  kubernetes:enableSecretMutable: {value: true}\n"
    )
    cluster.apply(*_volume(data))
    environment = engine.environment()
    with pytest.MonkeyPatch.context() as patched:
        made = Deployed(None, folder, args)  # type: ignore[arg-type]
        made.stack = engine.select_stack(STACK, made.program, folder, PROJECT, environment)
        try:
            made.stack.up()
            _resolve(patched, made)
            yield made
        finally:
            made.stack.destroy()
            made.stack.workspace.remove_stack(STACK)
            cluster.kubectl("delete", "pv,storageclass", CLASS)


def _resolve(patched: pytest.MonkeyPatch, store: Deployed) -> None:
    """Let this process find the Service by its name in the cluster, so that TLS checks it."""
    address = store.get("cache", "service", "store-minio")["spec"]["clusterIP"]
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        return original(address if host == store.host else host, *rest, **named)

    patched.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture(scope="module")
def authority(store: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the certificate of the store's authority, as the jobs' namespace has it."""
    path = tmp_path_factory.mktemp("authority") / "ca.crt"
    path.write_text(store.secret("jobs", store.stack.outputs()["ca"].value)["ca.crt"])
    return path


@pytest.fixture(scope="module")
def client(store: Deployed, authority: Path) -> Any:
    keys = store.secret("runner", "store-credentials")
    return boto3.client(
        "s3",
        endpoint_url=store.url,
        aws_access_key_id=keys["accesskey"],
        aws_secret_access_key=keys["secretkey"],
        region_name="us-east-1",
        verify=str(authority),
        config=Config(
            signature_version="s3v4",
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        ),
    )


def opened(url: str, authority: Path | None, **options: Any) -> Any:
    request = urllib.request.Request(url, **options)
    context = ssl.create_default_context(cafile=str(authority) if authority else None)
    return urllib.request.urlopen(request, context=context, timeout=10)


def test_the_runner_reads_and_writes_its_bucket(client: Any) -> None:
    client.put_object(Bucket="runner", Key="some/key", Body=b"x" * 1000)
    assert client.get_object(Bucket="runner", Key="some/key")["Body"].read() == b"x" * 1000
    assert [item["Key"] for item in client.list_objects_v2(Bucket="runner")["Contents"]]
    client.delete_object(Bucket="runner", Key="some/key")


def test_a_job_needs_no_keys_but_a_signed_address(client: Any, authority: Path) -> None:
    where = {"Bucket": "runner", "Key": "signed"}
    upload = client.generate_presigned_url("put_object", Params=where)
    with opened(upload, authority, method="PUT", data=b"cache", headers={"Content-Type": ""}) as r:
        assert r.status == 200
    with opened(client.generate_presigned_url("get_object", Params=where), authority) as r:
        assert r.read() == b"cache"
    unsigned = upload.partition("?")[0]
    with pytest.raises(urllib.error.HTTPError) as caught:
        opened(unsigned, authority)
    assert caught.value.code == 403


@pytest.mark.parametrize("hours", [-2, 2], ids=["behind", "ahead"])
def test_a_signed_address_of_a_wrong_clock_is_refused(
    store: Deployed, client: Any, authority: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    where = {"Bucket": "runner", "Key": "clock"}
    client.put_object(**where, Body=b"cache")
    with opened(client.generate_presigned_url("get_object", Params=where), authority) as r:
        assert r.read() == b"cache"
    wrong = dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(hours=hours)
    with monkeypatch.context() as clock:
        clock.setattr("botocore.auth.get_current_datetime", lambda *_, **__: wrong)
        url = client.generate_presigned_url("get_object", Params=where)
    if hours > 0 and store.args["engine"] == "seaweedfs":
        # SeaweedFS looks only at the time when an address ends.
        with opened(url, authority) as response:
            assert response.read() == b"cache"
        return
    with pytest.raises(urllib.error.HTTPError) as caught:
        opened(url, authority)
    assert caught.value.code == 403


@denied.CALLS
def test_the_runner_does_nothing_else(client: Any, call: Any) -> None:
    denied.assert_denied(call, client)


def test_who_does_not_trust_the_authority_is_not_served(store: Deployed) -> None:
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        opened(store.url, None)


def test_plain_http_is_not_served(store: Deployed) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(store.url.replace("https:", "http:"), timeout=10)
    assert caught.value.code == 400


def _job_pod(store: Deployed, environment: dict[str, str]) -> str:
    """Run a Go program in a pod as a job's helper has it; return how the pod ended."""
    keys = store.secret("runner", "store-credentials")
    address = f"https://{keys['accesskey']}:{keys['secretkey']}@{store.host}:9000"
    variables = {"MC_HOST_store": address, "MC_CONFIG_DIR": "/tmp/mc", **environment}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper", "namespace": store.namespaces["jobs"]},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "helper",
                    "image": images.reference("minio"),
                    "command": ["mc", "ls", "store/runner"],
                    "env": [{"name": key, "value": value} for key, value in variables.items()],
                    "volumeMounts": [{"name": "ca", "mountPath": "/cache-ca", "readOnly": True}],
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }
            ],
            "volumes": [
                {"name": "ca", "secret": {"secretName": store.stack.outputs()["ca"].value}}
            ],
        },
    }
    cluster.apply(pod)
    try:
        phase = ""

        def ended() -> bool:
            nonlocal phase
            phase = store.get("jobs", "pod", "helper")["status"].get("phase", "")
            return phase in {"Succeeded", "Failed"}

        process.wait_for("the helper's pod", ended, 120)
        return phase
    finally:
        cluster.kubectl("-n", store.namespaces["jobs"], "delete", "pod", "helper", "--now")


@pytest.mark.parametrize(
    ("environment", "phase"),
    [({"SSL_CERT_DIR": "/etc/ssl/certs:/cache-ca"}, "Succeeded"), ({}, "Failed")],
    ids=["with SSL_CERT_DIR", "without"],
)
def test_a_go_program_in_a_jobs_pod_trusts_the_mounted_authority(
    store: Deployed, environment: dict[str, str], phase: str
) -> None:
    assert _job_pod(store, environment) == phase


def test_minios_metrics_want_the_token(store: Deployed, authority: Path) -> None:
    if store.args["engine"] != "minio":
        pytest.skip("the metrics have a port of their own")
    name = store.stack.outputs()["metrics"].value
    token = store.secret("cache", name)["token"]
    url = f"{store.url}/minio/v2/metrics/cluster"
    with opened(url, authority, headers={"Authorization": f"Bearer {token}"}) as r:
        assert "minio_cluster_health_status" in r.read().decode()
    for headers in ({}, {"Authorization": f"Bearer {token[:-4]}AAAA"}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            opened(url, authority, headers=headers)
        assert caught.value.code == 403


def test_a_second_update_changes_nothing(store: Deployed) -> None:
    assert set(changes(store.stack.up())) == {"same"}


def test_an_empty_volume_gets_its_bucket_back(store: Deployed, client: Any) -> None:
    """What is left of a lost volume: the bucket and the user come back, the objects do not."""
    client.put_object(Bucket="runner", Key="lost", Body=b"x")
    names = store.namespaces
    pod = ("-n", names["cache"], "exec", "store-minio-0", "--", "/bin/sh", "-c")
    cluster.kubectl(*pod, "rm -rf /data/* /data/.[!.]*")
    cluster.kubectl("-n", names["cache"], "delete", "pod", "store-minio-0")
    cluster.kubectl("-n", names["cache"], "rollout", "status", "statefulset/store-minio")
    job = json.loads(cluster.kubectl("-n", names["cache"], "get", "job", "-o", "json"))["items"][0][
        "metadata"
    ]["name"]
    cluster.kubectl("-n", names["cache"], "delete", "job", job)
    store.stack.refresh()
    store.stack.up()
    assert "Contents" not in client.list_objects_v2(Bucket="runner")


def test_a_larger_volume_is_asked_for_in_place_and_a_smaller_one_is_refused(
    store: Deployed,
) -> None:
    before = store.get("cache", "statefulset", "store-minio")["metadata"]["uid"]
    volume = store.get("cache", "pvc", CLAIM)["metadata"]["uid"]
    result = changes(store.select(volume_size="2Gi").up())
    assert result.pop("same") > 10
    assert result == {"update": 1}
    claim = store.get("cache", "pvc", CLAIM)
    assert claim["spec"]["resources"]["requests"] == {"storage": "2Gi"}
    assert claim["metadata"]["uid"] == volume
    assert store.get("cache", "statefulset", "store-minio")["metadata"]["uid"] == before
    with pytest.raises(auto.errors.CommandError, match="field can not be less than"):
        store.select(volume_size="1Gi").preview()
    with pytest.raises(auto.errors.CommandError, match="spec is immutable after creation"):
        store.select(volume_size="2Gi", storage_class_name="other").preview()
    assert store.get("cache", "pvc", CLAIM)["spec"] == claim["spec"]
