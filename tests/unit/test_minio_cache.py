"""The in-cluster store: its engines, TLS, metrics and volume, as they are declared."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import MinioCache
from gitlab_runner_k8s.cache.engines import Credentials, metrics_token, time_to_live

from tests.harness import Recorder, deploy

IMAGE = f"registry.example.com/minio:1@sha256:{'0' * 64}"
POLICY = ":NetworkPolicy"


def declared(**args: Any) -> Recorder:
    return deploy(lambda: MinioCache("ci", args))  # type: ignore[arg-type]


def pod(recorder: Recorder, name: str = "ci-server") -> Any:
    suffix = ":StatefulSet" if name == "ci-server" else ":Job"
    return recorder.one(suffix, name).plain["spec"]["template"]


def container(recorder: Recorder, name: str = "ci-server") -> Any:
    return pod(recorder, name)["spec"]["containers"][0]


def secret(recorder: Recorder, name: str) -> Any:
    return recorder.one(":Secret", name).plain["stringData"]


def outputs(recorder: Recorder) -> Any:
    return next(made for urn, made in recorder.outputs.items() if "MinioCache" in urn)


@pytest.mark.parametrize("engine", ["silo", "minio", "seaweedfs"])
@pytest.mark.parametrize("tls", [False, True])
def test_every_engine_runs_restricted_and_is_probed_on_its_port(engine: str, tls: bool) -> None:
    recorder = declared(engine=engine, image=IMAGE, enable_tls=tls)
    for name in ("ci-server", "ci-bootstrap"):
        spec, security = pod(recorder, name)["spec"], container(recorder, name)["securityContext"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
    for probe in ("readinessProbe", "livenessProbe"):
        found = container(recorder)[probe]["httpGet"]
        assert found["port"] == 9000
        assert found.get("scheme") == ("HTTPS" if tls else None)
    env = {item["name"]: item["value"] for item in container(recorder, "ci-bootstrap")["env"]}
    host = "ci-minio.gitlab-runner-cache.svc.cluster.local:9000"
    assert env == {"STORE_URL": f"http{'s' if tls else ''}://{host}", "BUCKET": "runner"}


def test_no_secret_is_in_a_pods_spec() -> None:
    recorder = declared(engine="seaweedfs", enable_tls=True, enable_metrics=True)
    for made in (recorder.one(":StatefulSet"), recorder.one(":Job")):
        assert "secret-ci" not in json.dumps(made.plain)
        assert "key-ci" not in json.dumps(made.plain)
    assert "secret-ci" not in recorder.readable()
    assert "key-ci" not in recorder.readable()


def test_the_authority_is_given_to_the_jobs_without_its_key() -> None:
    recorder = declared(enable_tls=True)
    made = recorder.one(":Secret", "ci-job-ca").plain
    assert made["metadata"] == {"name": "ci-ca", "namespace": "gitlab-runner-jobs"}
    assert made["stringData"] == {"ca.crt": "cert-ci-ca"}
    assert outputs(recorder)["ca_secret_name"] == "ci-ca"
    assert "key-ci-ca" not in json.dumps([made.plain for made in recorder.of_type(":Secret")])
    assert secret(recorder, "ci-certificates") == {
        "public.crt": "cert-ci-store",
        "private.key": "key-ci-store",
    }


def test_the_certificate_has_the_names_of_the_service() -> None:
    recorder = declared(enable_tls=True, cluster_domain="example.org")
    request = recorder.one(":CertRequest").plain
    assert request["dnsNames"] == [
        "localhost",
        "ci-minio",
        "ci-minio.gitlab-runner-cache",
        "ci-minio.gitlab-runner-cache.svc",
        "ci-minio.gitlab-runner-cache.svc.example.org",
    ]
    signed = recorder.one(":LocallySignedCert").plain
    assert signed["earlyRenewalHours"] < signed["validityPeriodHours"]


@pytest.mark.parametrize(
    ("engine", "arguments"),
    [
        ("silo", ["--certs-dir=/certs"]),
        ("seaweedfs", ["-s3.cert.file=/certs/public.crt", "-s3.key.file=/certs/private.key"]),
    ],
)
def test_the_server_reads_the_certificate_and_a_new_one_rolls_it(
    engine: str, arguments: list[str]
) -> None:
    recorder = declared(engine=engine, enable_tls=True)
    assert set(arguments) <= set(container(recorder)["args"])
    mounts = {item["name"]: item["mountPath"] for item in container(recorder)["volumeMounts"]}
    assert mounts["certificates"] == "/certs"
    both = hashlib.sha256(b"cert-ci-cacert-ci-store").hexdigest()
    assert pod(recorder)["metadata"]["annotations"]["checksum/certificates"] == both
    assert secret(recorder, "ci-bootstrap")["ca.crt"] == "cert-ci-ca"


def test_without_tls_the_store_is_as_it_was() -> None:
    recorder = declared()
    assert recorder.of_type(":PrivateKey") == []
    assert container(recorder)["args"][-1] == "--certs-dir=/tmp/certs"
    assert list(pod(recorder)["metadata"]["annotations"]) == ["checksum/root-credentials"]
    assert [item["name"] for item in container(recorder)["volumeMounts"]] == [
        "data",
        "tmp",
        "secrets",
    ]
    assert {made.name for made in recorder.of_type(":Secret")} == {
        "ci-server",
        "ci-bootstrap",
        "ci-credentials",
    }


def test_a_claims_template_never_changes_and_the_claim_itself_is_resized() -> None:
    recorder = declared(volume_size="30Gi", storage_class_name="fast")
    assert list(recorder.one(":StatefulSet").request.ignoreChanges) == ["spec.volumeClaimTemplates"]
    claim = recorder.one(":PersistentVolumeClaimPatch")
    assert claim.plain["metadata"]["name"] == "data-ci-minio-0"
    assert claim.plain["metadata"]["namespace"] == "gitlab-runner-cache"
    assert claim.plain["metadata"]["annotations"] == {
        "pulumi.com/patchForce": "true",
        "pulumi.com/skipAwait": "true",
    }
    assert claim.plain["spec"] == {
        "resources": {"requests": {"storage": "30Gi"}},
        "storageClassName": "fast",
    }
    assert claim.request.retainOnDelete is True
    assert any("StatefulSet" in urn for urn in claim.request.dependencies)


def test_the_default_class_is_left_alone() -> None:
    claim = declared().one(":PersistentVolumeClaimPatch").plain["spec"]
    assert claim == {"resources": {"requests": {"storage": "20Gi"}}}


def ingress(recorder: Recorder) -> dict[int, set[str]]:
    """Return the namespaces that reach each port of the server."""
    found: dict[int, set[str]] = {}
    for rule in recorder.one(POLICY, "ci-minio").plain["spec"]["ingress"]:
        for port in rule["ports"]:
            for peer in rule["from"]:
                labels = peer.get("namespaceSelector", {}).get("matchLabels", {})
                found.setdefault(port["port"], set()).update(labels.values())
    return found


CLIENTS = {"gitlab-runner", "gitlab-runner-jobs"}


@pytest.mark.parametrize(
    ("args", "reached"),
    [
        ({}, {9000: CLIENTS}),
        ({"enable_tls": True}, {9000: CLIENTS}),
        ({"enable_metrics": True}, {9000: {*CLIENTS, "monitoring"}}),
        ({"engine": "seaweedfs"}, {9000: CLIENTS}),
        (
            {"engine": "seaweedfs", "enable_metrics": True, "metrics_namespace": "mine"},
            {9000: CLIENTS, 9327: {"mine"}},
        ),
    ],
)
def test_who_reaches_the_store(args: dict[str, Any], reached: dict[int, set[str]]) -> None:
    assert ingress(declared(**args)) == reached


def test_jobs_cannot_read_the_metrics() -> None:
    recorder = declared(enable_metrics=True)
    names = {item["name"] for item in container(recorder)["env"]}
    assert "MINIO_PROMETHEUS_AUTH_TYPE" not in names  # the default asks for a token
    made = recorder.one(":Secret", "ci-metrics")
    assert made.plain["metadata"]["namespace"] == "gitlab-runner-cache"
    user = Credentials("secret-ci-metrics-name", "secret-ci-metrics-password")
    assert made.plain["stringData"] == {"token": metrics_token(user)}
    assert metrics_token(user) not in recorder.readable()
    assert "metrics-accesskey" in secret(recorder, "ci-bootstrap")


def test_the_bootstrap_runs_again_for_a_user_who_comes_later() -> None:
    def checksum(**args: Any) -> str:
        annotations = pod(declared(**args), "ci-bootstrap")["metadata"]["annotations"]
        return str(annotations["checksum/bootstrap"])

    assert checksum() == checksum(volume_size="30Gi")
    assert checksum() != checksum(enable_metrics=True)


def test_the_metrics_token_is_signed_and_says_who_asks() -> None:
    token = metrics_token(Credentials("scraper", "key"))
    head, claims, signature = token.split(".")
    expected = hmac.new(b"key", f"{head}.{claims}".encode(), hashlib.sha512).digest()

    def decoded(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    assert decoded(signature) == expected
    assert json.loads(decoded(head))["alg"] == "HS512"
    assert {key: json.loads(decoded(claims))[key] for key in ("iss", "sub")} == {
        "iss": "prometheus",
        "sub": "scraper",
    }


def test_seaweedfs_listens_on_the_s3_port_alone() -> None:
    arguments = container(declared(engine="seaweedfs"))["args"]
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port=9000"} <= set(arguments)
    assert [item for item in arguments if "0.0.0.0" in item] == ["-s3.ip.bind=0.0.0.0"]
    assert "-master.telemetry=false" in arguments


def test_seaweedfs_knows_the_runner_for_its_bucket_alone() -> None:
    recorder = declared(engine="seaweedfs", bucket="mine")
    root, runner = json.loads(secret(recorder, "ci-server")["s3.json"])["identities"]
    assert root["actions"] == ["Admin"]
    assert runner["actions"] == ["Read:mine", "Write:mine", "List:mine"]
    given = secret(recorder, "ci-credentials")
    assert runner["credentials"] == [
        {"accessKey": given["accesskey"], "secretKey": given["secretkey"]}
    ]
    assert root["credentials"] != runner["credentials"]


def test_seaweedfs_makes_its_bucket_at_each_start() -> None:
    recorder = declared(engine="seaweedfs", bucket="mine", expiration_days=30)
    shell, option, script, *given = container(recorder)["lifecycle"]["postStart"]["exec"]["command"]
    assert (shell, option, given) == ("/bin/sh", "-c", ["mine", "30d"])
    assert "s3.bucket.create -name $0" in script
    assert "-ttl=$1" in script


def run_started(tmp_path: Path, answers: list[str]) -> int:
    """Run the script with a shell that answers so, one time after the other; return how often."""
    command = container(declared(engine="seaweedfs"))["lifecycle"]["postStart"]["exec"]["command"]
    for number, answer in enumerate(answers):
        (tmp_path / str(number)).write_text(answer)
    weed = tmp_path / "weed"
    weed.write_text(
        f"#!/bin/sh\ncd {tmp_path}\nnext=$(ls [0-9]* | head -n 1)\n"
        'cat "$next"; rm "$next"; echo >> calls\n'
    )
    sleep = tmp_path / "sleep"
    sleep.write_text("#!/bin/sh\n")
    for tool in (weed, sleep):
        tool.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(command, env={"PATH": path}, check=True, timeout=20)
    return len((tmp_path / "calls").read_text().splitlines())


def test_seaweedfs_is_asked_again_until_nothing_has_failed(tmp_path: Path) -> None:
    good = 'created bucket runner\n{"ttl": "14d"}\n'
    answers = ["error: connection refused\n", "error: no bucket\n" + good, good, "too many\n"]
    assert run_started(tmp_path, answers) == 3


@pytest.mark.parametrize(
    "answer",
    [
        'created bucket runner\n{"ttl":  "14d"}\n',
        'error: bucket runner already exists\n{"ttl":  "14d"}\n',
    ],
    ids=["more spaces", "the bucket is there"],
)
def test_seaweedfs_is_content_with_what_it_wanted(tmp_path: Path, answer: str) -> None:
    assert run_started(tmp_path, [answer, "too many\n"]) == 1


@pytest.mark.parametrize(
    ("days", "ttl"), [(1, "1d"), (255, "255d"), (256, "37w"), (1785, "255w"), (3650, "122M")]
)
def test_a_time_to_live_is_never_shorter_than_asked(days: int, ttl: str) -> None:
    assert time_to_live(days) == ttl
    assert int(ttl[:-1]) <= 255
    assert int(ttl[:-1]) * {"d": 1, "w": 7, "M": 30}[ttl[-1]] >= days


@pytest.mark.parametrize("engine", ["silo", "seaweedfs"])
def test_a_preview_with_unknown_names_declares_the_same(engine: str) -> None:
    def program() -> None:
        unknown = pulumi.Output.from_input("runner").apply(lambda name: name)
        MinioCache("ci", {"engine": engine, "bucket": unknown, "enable_tls": True})  # type: ignore[typeddict-item]

    kinds = [made.type for made in deploy(program).registrations]
    known = declared(engine=engine, bucket="runner", enable_tls=True)
    assert sorted(kinds) == sorted(made.type for made in known.registrations)
