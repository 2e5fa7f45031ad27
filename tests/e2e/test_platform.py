"""The platform on the lab: what was declared is what is there, and it behaves.

The tests run in the order of this file: the last ones destroy the platform and make it again.
"""

import base64
import gzip
import json
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import boto3
import pytest
from botocore.config import Config
from pulumi import automation as auto

from lab import certificates, cluster, engine, gitlab, up, verify
from tests.e2e import denied
from tests.required import needs_lab
from tests.upgrade.record import secret_texts

pytestmark = [pytest.mark.lab, pytest.mark.alone]
NAMESPACES = ("gitlab-runner", "gitlab-runner-jobs", "gitlab-runner-cache", "gitlab-runner-docker")
PREFIX = f"{up.PROJECT}:"
Select = Callable[..., auto.Stack]


@pytest.fixture(scope="module")
def select() -> Select:
    """Return a function that selects the stack, with changes to its configuration."""
    needs_lab()
    environment = engine.environment()
    return lambda changes=None: up.select(environment, changes)


def get(kind: str, namespace: str, name: str = "") -> Any:
    names = [name] if name else []
    return json.loads(cluster.kubectl("-n", namespace, "get", kind, *names, "-o", "json"))


def secret(namespace: str, name: str) -> dict[str, str]:
    data = get("secret", namespace, name)["data"]
    return {key: base64.b64decode(text).decode() for key, text in data.items()}


def service_address(namespace: str, name: str) -> str:
    return str(get("service", namespace, name)["spec"]["clusterIP"])


def declared(stack: auto.Stack) -> set[tuple[str, str, str]]:
    """Return kind, namespace and name of every object in the state."""
    deployment: Any = stack.export_stack().deployment
    found = set()
    for resource in deployment["resources"]:
        # A release is not an object, and a patch is one that something else made.
        is_object = not resource["type"].endswith((":Release", "Patch"))
        if resource["type"].startswith("kubernetes:") and is_object:
            metadata = resource["outputs"]["metadata"]
            kind = resource["type"].rpartition(":")[2]
            found.add((kind, metadata.get("namespace", ""), metadata["name"]))
    return found


def changed(result: Any) -> dict[str, int]:
    summary = getattr(result, "change_summary", None) or result.summary.resource_changes
    return {str(getattr(key, "value", key)): count for key, count in summary.items()}


def test_the_cluster_has_what_was_declared_and_nothing_else(select: Select) -> None:
    wanted = declared(select())
    found = set()
    for namespace in NAMESPACES:
        for kind in ("Secret", "ConfigMap", "Service", "StatefulSet", "Job", "NetworkPolicy"):
            for item in get(kind, namespace)["items"]:
                labels = item["metadata"].get("labels") or {}
                is_helms = labels.get("heritage") == "Helm" or labels.get("owner") == "helm"
                if not is_helms and item["metadata"]["name"] != "kube-root-ca.crt":
                    found.add((kind, namespace, item["metadata"]["name"]))
    namespaces = {("Namespace", "", namespace) for namespace in NAMESPACES}
    assert found | namespaces == wanted
    release = get("deployment", "gitlab-runner", "gitlab-runner")
    assert release["status"]["readyReplicas"] == 1


def test_a_second_update_changes_nothing(select: Select) -> None:
    assert set(changed(select().up())) == {"same"}


def test_a_refresh_sees_no_drift(select: Select) -> None:
    assert set(changed(select().refresh())) == {"same"}


def test_drift_is_seen_and_undone(select: Select) -> None:
    jobs = "gitlab-runner-jobs"
    name = get("networkpolicy", jobs)["items"][0]["metadata"]["name"]
    patch = '{"spec": {"policyTypes": ["Ingress"]}}'
    cluster.kubectl("-n", jobs, "patch", "networkpolicy", name, "--type=merge", "-p", patch)
    stack = select()
    assert changed(stack.refresh())["update"] == 1
    assert changed(stack.up())["update"] == 1


def test_a_changed_setting_previews_as_an_update_of_the_release(select: Select) -> None:
    settings: Any = up._settings()["config"]
    runner = {**settings[f"{PREFIX}runner"], "concurrent": 5}
    summary = changed(select({f"{PREFIX}runner": runner}).preview())
    assert summary.pop("same") > 30
    assert summary == {"update": 1}


def test_bad_settings_register_nothing(select: Select) -> None:
    stack = select({f"{PREFIX}runner": {"concurent": 5}})
    with pytest.raises(auto.errors.CommandError) as caught:
        stack.preview()
    assert "runner.concurent: unknown key; did you mean 'concurrent'?" in str(caught.value)
    assert "nothing was registered" in str(caught.value)


def test_no_secret_can_be_read_where_it_does_not_belong(select: Select) -> None:
    stack = select()
    said: list[str] = []
    # The token's Secret and the release are updated, so that previews and updates speak of them.
    other = auto.ConfigValue("glrt-" + "other-token-of-this-test", secret=True)
    stack.set_config("runnerToken", other)
    stack.preview(
        diff=True, on_output=said.append, on_event=lambda event: said.append(str(vars(event)))
    )
    stack = select()
    stack.up(show_secrets=False, on_output=said.append)
    resources: Any = stack.export_stack().deployment["resources"]  # type: ignore[index]
    secrets = {text for resource in resources for text in secret_texts(resource)}
    # A certificate is no secret, though it stands in a Secret beside its key.
    secrets = {text for text in secrets if "BEGIN CERTIFICATE" not in text} | {
        str(other.value),
        gitlab.runner_token(),
    }
    kinds = {
        resource["type"].rpartition(":")[2] for resource in resources if secret_texts(resource)
    }
    assert {"RandomPassword", "PrivateKey", "LocallySignedCert", "Secret"} <= kinds
    assert len(secrets) > 15
    places = {
        "state": engine.state_text(up.STACK, up.PROJECT),
        "outputs": json.dumps({key: str(value) for key, value in stack.outputs().items()}),
        "preview and update": "\n".join(said),
    }
    assert "runner-token" in places["preview and update"]
    for namespace in NAMESPACES:
        for pod in get("pod", namespace)["items"]:
            name = pod["metadata"]["name"]
            places[f"log of {name}"] = cluster.kubectl(
                "-n", namespace, "logs", name, "--all-containers"
            )
        for kind in (
            "configmap",
            "deployment",
            "statefulset",
            "job",
            "pod",
            "networkpolicy",
            "event",
        ):
            places[f"{kind}s of {namespace}"] = json.dumps(get(kind, namespace))
    values = cluster.kubectl(
        "-n", "gitlab-runner", "get", "secret", "-l", "owner=helm", "-o", "json"
    )
    for item in json.loads(values)["items"]:
        places[f"Helm's {item['metadata']['name']}"] = _helm_release(item)
    for place, text in places.items():
        for value in secrets:
            assert value not in text, place
            assert json.dumps(value)[1:-1] not in text, place
    # The check can fail: the token is where it belongs.
    assert gitlab.runner_token() in secret("gitlab-runner", "gitlab-runner-runner-token").values()


def _helm_release(item: Any) -> str:
    packed = base64.b64decode(base64.b64decode(item["data"]["release"]))
    return gzip.decompress(packed).decode()


def docker_version(context: ssl.SSLContext) -> int:
    address = service_address("gitlab-runner-docker", "gitlab-runner-docker")
    with urllib.request.urlopen(
        f"https://{address}:2376/version", context=context, timeout=10
    ) as r:
        return int(r.status)


def client_context(tmp_path: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    trusted = tmp_path / "ca.pem"
    trusted.write_text(secret("gitlab-runner-jobs", "gitlab-runner-docker-client")["ca.pem"])
    context = ssl.create_default_context(cafile=str(trusted))
    # The address of the Service is not among the certificate's names.
    context.check_hostname = False
    if certificate and key:
        context.load_cert_chain(certificate, key)
    return context


def test_the_daemon_answers_the_jobs_certificate(select: Select, tmp_path: Path) -> None:
    files = {}
    for name, text in secret("gitlab-runner-jobs", "gitlab-runner-docker-client").items():
        files[name] = tmp_path / f"client-{name}"
        files[name].write_text(text)
    assert docker_version(client_context(tmp_path, files["cert.pem"], files["key.pem"])) == 200


def test_the_daemon_refuses_a_client_without_certificate(select: Select, tmp_path: Path) -> None:
    with pytest.raises((URLError, ssl.SSLError, ConnectionError)):
        docker_version(client_context(tmp_path, None, None))


def test_the_daemon_refuses_a_client_of_another_authority(select: Select, tmp_path: Path) -> None:
    other = certificates.authority(tmp_path / "other")
    pair = certificates.issue(other, tmp_path / "other/client", "client")
    with pytest.raises((URLError, ssl.SSLError, ConnectionError)):
        docker_version(client_context(tmp_path, *pair))


def test_the_client_secret_has_no_authority_key(select: Select) -> None:
    found = secret("gitlab-runner-jobs", "gitlab-runner-docker-client")
    assert set(found) == {"ca.pem", "cert.pem", "key.pem"}
    assert "PRIVATE KEY" not in found["ca.pem"]


@pytest.fixture
def store(select: Select) -> Any:
    keys = secret("gitlab-runner", "gitlab-runner-cache-credentials")
    address = service_address("gitlab-runner-cache", "gitlab-runner-cache-minio")
    return boto3.client(
        "s3",
        endpoint_url=f"http://{address}:9000",
        aws_access_key_id=keys["accesskey"],
        aws_secret_access_key=keys["secretkey"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def test_the_runners_user_reaches_its_bucket(store: Any) -> None:
    store.put_object(Bucket="runner", Key="e2e", Body=b"x")
    assert store.get_object(Bucket="runner", Key="e2e")["Body"].read() == b"x"
    store.delete_object(Bucket="runner", Key="e2e")


@denied.CALLS
def test_the_runners_user_reaches_nothing_else(store: Any, call: Callable[[Any], Any]) -> None:
    denied.assert_denied(call, store)


def test_the_runners_user_sees_no_other_bucket(store: Any) -> None:
    names = [bucket["Name"] for bucket in store.list_buckets()["Buckets"]]
    assert names == ["runner"]


def test_the_bucket_expires_its_objects(select: Select) -> None:
    config = get("configmap", "gitlab-runner-cache", "gitlab-runner-cache-bootstrap")
    rules = json.loads(config["data"]["lifecycle.json"])["Rules"]
    assert rules[0]["Expiration"] == {"Days": 14}
    text = verify.store(select().outputs()["cache_endpoint"].value, "ilm rule export root/runner")
    assert json.loads(text)["Rules"][0]["Expiration"] == {"Days": 14}


def claims() -> dict[str, str]:
    """Return the volumes of the platform, by claim."""
    found = {}
    for namespace in ("gitlab-runner-cache", "gitlab-runner-docker"):
        for item in get("pvc", namespace)["items"]:
            found[item["metadata"]["name"]] = item["spec"]["volumeName"]
    return found


def test_destroy_leaves_the_volumes_and_they_are_taken_up_again(select: Select) -> None:
    before = claims()
    assert len(before) == 2
    select().destroy()
    assert claims() == before
    assert get("statefulset", "gitlab-runner-docker")["items"] == []
    with pytest.raises(auto.errors.CommandError, match="enableAdoption to true"):
        select().preview()
    result = select({f"{PREFIX}namespaces": {"enableAdoption": True}}).up()
    assert changed(result)["import"] == 2
    assert claims() == before


def test_destroy_takes_the_volumes_when_told(select: Select) -> None:
    told = {f"{PREFIX}allowVolumeDeletion": True}
    select(told).up()
    select(told).destroy()
    left = json.loads(cluster.kubectl("get", "namespace", "-o", "json"))["items"]
    assert not {item["metadata"]["name"] for item in left} & set(NAMESPACES)
    # What comes after finds the platform as it was.
    assert changed(select().up())["create"] > 40
