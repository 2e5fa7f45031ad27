"""What the platform joins: mirror, monitoring, the store's TLS, the bucket's prefix and role."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from gitlab_runner_k8s import RunnerPlatform
from gitlab_runner_k8s.meta import script

from tests.harness import Recorder, deploy

DAEMON = {"accept_shared_nodes": True}
S3: dict[str, Any] = {
    "region": "eu-central-1",
    "oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1",
}
FLEETS = {"a": {"token_secret_name": "a"}, "b": {"token_secret_name": "b", "zone": "prod"}}


def made(**settings: Any) -> Recorder:
    token = {} if "fleets" in settings else {"token_secret_name": "token"}
    args: Any = {"gitlab_url": "https://gitlab.example.com", **token, **settings}
    return deploy(lambda: RunnerPlatform("ci", args))


def table(recorder: Recorder, name: str = "ci-runner-release") -> Any:
    return recorder.one(":Release", name).runner


def test_the_shared_daemon_uses_the_mirror_and_may_reach_it() -> None:
    recorder = made(docker_daemon=DAEMON, registry_mirror={})
    url = "http://ci-mirror.gitlab-runner-mirror.svc.cluster.local:5000"
    settings = json.loads(
        recorder.one(":ConfigMap", "ci-docker-config").plain["data"]["daemon.json"]
    )
    assert settings["registry-mirrors"] == [url]
    egress = json.dumps(recorder.one(":NetworkPolicy", "ci-docker").plain["spec"]["egress"])
    assert "gitlab-runner-mirror" in egress
    ingress = json.dumps(recorder.one(":NetworkPolicy", "ci-mirror").plain["spec"]["ingress"])
    assert "gitlab-runner-docker" in ingress
    # Jobs without privilege start no daemon of their own.
    assert "config_map" not in table(recorder)["kubernetes"]["volumes"]


@pytest.mark.parametrize("privilege", ["enable_privileged_jobs", "enable_privileged_services"])
def test_daemons_of_jobs_use_the_mirror(privilege: str) -> None:
    recorder = made(registry_mirror={}, runner={privilege: True})
    (volume,) = table(recorder)["kubernetes"]["volumes"]["config_map"]
    assert volume["name"] == "ci-mirror-daemon"
    assert volume["mount_path"] == "/etc/docker/daemon.json"
    jobs = json.dumps(recorder.one(":NetworkPolicy", "ci-runner-jobs").plain["spec"]["egress"])
    assert "gitlab-runner-mirror" in jobs


def test_every_zone_has_the_mirrors_settings() -> None:
    recorder = made(
        registry_mirror={},
        zones={"prod": {}},
        fleets=FLEETS,
        runner={"enable_privileged_services": True},
    )
    found = {
        made.plain["metadata"]["namespace"]: made.plain["data"]["daemon.json"]
        for made in recorder.of_type(":ConfigMap")
        if made.plain["metadata"]["name"] == "ci-mirror-daemon"
    }
    assert set(found) == {"gitlab-runner-jobs", "gitlab-runner-jobs-prod"}
    assert len(set(found.values())) == 1


MONITORING = {"enable_pod_monitor": True, "enable_alert_rules": True, "enable_dashboard": True}


def test_everything_that_serves_metrics_is_watched_by_prometheus_alone() -> None:
    recorder = made(
        docker_daemon=DAEMON,
        cache={"minio": {"enable_metrics": True}},
        monitoring=MONITORING,
        zones={"prod": {"docker_daemon": DAEMON}},
        fleets=FLEETS,
    )
    monitors = {made.plain["metadata"]["namespace"] for made in recorder.of_type(":PodMonitor")}
    assert monitors == {
        "gitlab-runner",
        "gitlab-runner-cache",
        "gitlab-runner-docker",
        "gitlab-runner-docker-prod",
    }
    assert len(recorder.of_type(":PodMonitor")) == 5
    assert len(recorder.of_type(":PrometheusRule")) == 1
    for made_policy in recorder.of_type(":NetworkPolicy"):
        for rule in made_policy.plain["spec"]["ingress"]:
            ports = {port["port"] for port in rule["ports"]}
            if ports & {9252, 9323}:
                assert rule["from"] == [
                    {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
                        }
                    }
                ]
    daemon = recorder.one(":ConfigMap", "ci-docker-config").plain["data"]["daemon.json"]
    assert json.loads(daemon)["metrics-addr"] == "0.0.0.0:9323"


def test_nobody_reads_metrics_unless_told() -> None:
    recorder = made(docker_daemon=DAEMON)
    assert recorder.of_type(":PodMonitor") == []
    assert recorder.one(":NetworkPolicy", "ci-runner-manager").plain["spec"]["ingress"] == []
    daemon = recorder.one(":ConfigMap", "ci-docker-config").plain["data"]["daemon.json"]
    assert "metrics-addr" not in json.loads(daemon)


def test_jobs_trust_the_stores_authority() -> None:
    runner = table(made(cache={"minio": {"enable_tls": True}}))
    assert runner["cache"]["s3"]["Insecure"] is False
    (volume,) = runner["kubernetes"]["volumes"]["secret"]
    assert volume["mount_path"] == "/cache-ca"
    assert "SSL_CERT_DIR=/etc/ssl/certs:/cache-ca" in runner["environment"]
    plain = table(made())
    assert plain["cache"]["s3"]["Insecure"] is True
    assert "SSL_CERT_DIR" not in json.dumps(plain["environment"])


def test_the_cache_stays_in_the_prefix_of_the_bucket() -> None:
    s3 = {**S3, "prefix": "ci-cache/"}
    recorder = made(cache={"backend": "s3", "s3": s3}, zones={"prod": {}}, fleets=FLEETS)
    assert table(recorder, "ci-a-runner-release")["cache"]["Path"] == "ci-cache/ci"
    assert table(recorder, "ci-b-runner-release")["cache"]["Path"] == "ci-cache/ci-prod"


def test_large_objects_go_by_a_role_of_their_own() -> None:
    recorder = made(cache={"backend": "s3", "s3": {**S3, "enable_large_objects": True}})
    role = table(recorder)["cache"]["s3"]["RoleARN"]
    annotations = recorder.one(":Release").values["serviceAccount"]["annotations"]
    assert role != annotations["eks.amazonaws.com/role-arn"]
    assert len(recorder.of_type("iam/role:Role")) == 2


def test_a_drain_waits_for_the_daemon_when_told() -> None:
    assert made(docker_daemon=DAEMON).of_type(":PodDisruptionBudget") == []
    recorder = made(docker_daemon={**DAEMON, "enable_disruption_budget": True})
    budget = recorder.one(":PodDisruptionBudget").plain
    assert budget["spec"]["maxUnavailable"] == 0
    labels = recorder.one(":StatefulSet", "ci-docker-daemon").plain["spec"]["selector"]
    assert budget["spec"]["selector"] == labels


def test_old_build_cache_goes_before_the_volume_is_full() -> None:
    recorder = made(docker_daemon={**DAEMON, "volume_size": "100Gi", "build_cache_keep_hours": 48})
    daemon = recorder.one(":ConfigMap", "ci-docker-config").plain["data"]["daemon.json"]
    by_age, by_size, all_of_it = json.loads(daemon)["builder"]["gc"]["policy"]
    # Not keepDuration, as buildkitd has it: dockerd would remove everything.
    assert by_age == {"filter": ["unused-for=48h"]}
    assert int(by_size["maxUsedSpace"]) == 70 * 2**30
    assert int(by_size["minFreeSpace"]) == 10 * 2**30
    assert all_of_it == {**by_size, "all": True}


def test_room_is_set_aside_and_given_up_on_a_full_volume(tmp_path: Path) -> None:
    """The script with a `df` of the test's own, for a volume of 100 MiB."""
    reserve = script("daemon/reserve.sh")
    tools, volume = tmp_path / "bin", tmp_path / "volume"
    tools.mkdir()
    volume.mkdir()

    def start(free: int) -> str:
        stand_in = tools / "df"
        stand_in.write_text(f"#!/bin/sh\necho header\necho disk 102400 0 {free} 0% /\n")
        stand_in.chmod(0o755)
        return subprocess.run(
            ["sh", "-c", reserve, "reserve.sh", str(volume)],
            env={"PATH": f"{tools}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    reserved = volume / ".reserve"
    assert start(50_000) == ""
    assert reserved.stat().st_size == 1024 * 1024
    start(50_000)
    assert reserved.stat().st_size == 1024 * 1024
    assert "the volume is full" in start(10)
    assert not reserved.exists()
    # A start that was killed has left a part, and little room is left, which the daemon needs.
    (volume / ".reserve.new").write_bytes(b"0")
    assert start(1500) == ""
    assert list(volume.iterdir()) == []
    assert "the volume is full" in start(10)
