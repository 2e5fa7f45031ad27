"""Which change of a setting replaces what holds data: none but those that say so.

Changes of different parts are previewed together: a preview takes seconds. See test_upgrade.py for
what these stand-ins cannot tell.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pulumi import automation as auto

from lab.paths import ROOT
from tests.upgrade.conftest import Changes, Recorded
from tests.upgrade.record import FOLDER, read

pytestmark = pytest.mark.engine
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
MORE = {"cpuRequest": "200m", "cpuLimit": "3", "memoryRequest": "1Gi", "memoryLimit": "3Gi"}
DIGEST = "sha256:" + "1" * 64
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1"
NEWEST = {
    scenario: max(name for name in NAMES if name.endswith(f".{scenario}"))
    for scenario in ("everything", "bucket")
}


@dataclass(frozen=True)
class Update:
    """An update that changes some settings.

    Args:
        scenario: What it updates.
        settings: The new values by path; None takes a setting away.
        shows: For each of some paths, or of what follows from them, the step that shows its change,
            and the property.
        loses: The kinds, of those that are kept, that it replaces.
    """

    scenario: str
    settings: dict[str, Any]
    shows: dict[str, str]
    loses: frozenset[str] = field(default=frozenset())

    @property
    def changes(self) -> Changes:
        made: Changes = {}
        for path, value in self.settings.items():
            *parents, name = path.split(".")
            place = made
            for parent in parents:
                place = place.setdefault(parent, {})
            place[name] = value
        return made


VOLUME = "spec.resources.requests.storage"
CONTAINER = "spec.template.spec.containers[0]"
MOVED = frozenset({"StatefulSet", "PersistentVolumeClaimPatch"})
UPDATES = {
    "sizes, images, classes and times": Update(
        "everything",
        {
            "dockerDaemon.volumeSize": "200Gi",
            "dockerDaemon.image": f"docker.io/library/docker:29.9.0-dind@{DIGEST}",
            "zones.release.dockerDaemon.storageClassName": "fast",
            "zones.release.dockerDaemon.resources": MORE,
            "zones.builds.buildkitDaemon.volumeSize": "60Gi",
            "zones.builds.buildkitDaemon.image": f"registry.example.com/buildkit:1@{DIGEST}",
            "zones.builds.buildkitDaemon.certificateValidityHours": 4000,
            "zones.builds.buildkitDaemon.certificateRenewalHours": 100,
            "registryMirror.ttlHours": 24,
            "registryMirror.volumeSize": "60Gi",
            "registryMirror.image": f"registry.example.com/registry:3@{DIGEST}",
            "cache.minio.volumeSize": "30Gi",
            "cache.minio.storageClassName": "fast",
            "cache.minio.expirationDays": 3,
            "cache.minio.resources": MORE,
            "runner.concurrent": 20,
        },
        {
            "dockerDaemon.volumeSize": (
                f"update PersistentVolumeClaimPatch gitlab-runner-docker-daemon-volume {VOLUME}"
            ),
            "dockerDaemon.image": (
                f"update StatefulSet gitlab-runner-docker-daemon {CONTAINER}.image"
            ),
            "zones.release.dockerDaemon.storageClassName": (
                "update PersistentVolumeClaimPatch gitlab-runner-release-docker-daemon-volume "
                "spec.storageClassName"
            ),
            "zones.release.dockerDaemon.resources": (
                "update StatefulSet gitlab-runner-release-docker-daemon "
                f"{CONTAINER}.resources.limits.cpu"
            ),
            "zones.builds.buildkitDaemon.volumeSize": (
                "update PersistentVolumeClaimPatch gitlab-runner-builds-buildkit-daemon-volume "
                f"{VOLUME}"
            ),
            "zones.builds.buildkitDaemon.image": (
                f"update StatefulSet gitlab-runner-builds-buildkit-daemon {CONTAINER}.image"
            ),
            "zones.builds.buildkitDaemon.certificateValidityHours": (
                "replace LocallySignedCert gitlab-runner-builds-buildkit-client validityPeriodHours"
            ),
            "zones.builds.buildkitDaemon.certificateRenewalHours": (
                "replace LocallySignedCert gitlab-runner-builds-buildkit-server earlyRenewalHours"
            ),
            "registryMirror.ttlHours": (
                'update ConfigMap gitlab-runner-mirror-config data["config.yml"]'
            ),
            "registryMirror.volumeSize": (
                f"update PersistentVolumeClaimPatch gitlab-runner-mirror-server-volume {VOLUME}"
            ),
            "registryMirror.image": (
                f"update StatefulSet gitlab-runner-mirror-server {CONTAINER}.image"
            ),
            "cache.minio.volumeSize": (
                f"update PersistentVolumeClaimPatch gitlab-runner-cache-server-volume {VOLUME}"
            ),
            "cache.minio.storageClassName": (
                "update PersistentVolumeClaimPatch gitlab-runner-cache-server-volume "
                "spec.storageClassName"
            ),
            "cache.minio.expirationDays": (
                'update ConfigMap gitlab-runner-cache-bootstrap data["lifecycle.json"]'
            ),
            "cache.minio.resources": (
                f"update StatefulSet gitlab-runner-cache-server {CONTAINER}.resources.limits.cpu"
            ),
        },
    ),
    "a zone, a fleet and a domain": Update(
        "everything",
        {
            "zones.new.dockerDaemon.nodeSelector": {"pool": "new"},
            "fleets.new": {"zone": "new", "tokenSecretName": "there"},
            "network.clusterDomain": "cluster.example",
        },
        {
            "zones.new.dockerDaemon.nodeSelector": (
                "create StatefulSet gitlab-runner-new-docker-daemon"
            ),
            "fleets.new": "create Release gitlab-runner-new-runner-release",
            "network.clusterDomain": (
                "replace CertRequest gitlab-runner-docker-server dnsNames[4]"
            ),
        },
    ),
    "another engine, and TLS": Update(
        "bucket",
        {
            "cache.minio.engine": "silo",
            "cache.minio.image": None,
            "cache.minio.enableTls": True,
        },
        {
            "cache.minio.engine": (
                f"update StatefulSet gitlab-runner-cache-server {CONTAINER}.image"
            ),
            "cache.minio.enableTls": "create SelfSignedCert gitlab-runner-cache-ca",
        },
    ),
    "what a bucket does with its objects": Update(
        "bucket",
        {
            "cache.s3.kmsKeyArn": KEY,
            "cache.s3.expirationDays": 3,
            "cache.s3.enableVersioning": None,
            "cache.s3.accessLogBucket": None,
            "cache.s3.enableLargeObjects": None,
            "cache.s3.tags": {"cost-center": "42"},
        },
        {
            "cache.s3.kmsKeyArn": (
                "update BucketServerSideEncryptionConfiguration gitlab-runner-cache-encryption "
                "rules[0].applyServerSideEncryptionByDefault.kmsMasterKeyId"
            ),
            "cache.s3.expirationDays": (
                "update BucketLifecycleConfiguration gitlab-runner-cache-lifecycle "
                "rules[0].expiration.days"
            ),
            "cache.s3.enableVersioning": "delete BucketVersioning gitlab-runner-cache-versioning",
            "cache.s3.accessLogBucket": "delete BucketLogging gitlab-runner-cache-logging",
            "cache.s3.enableLargeObjects": "delete Role gitlab-runner-cache-object-role",
            "cache.s3.tags": 'update Bucket gitlab-runner-cache-bucket tags["cost-center"]',
        },
    ),
    "several daemons": Update(
        "everything",
        {"dockerDaemon.replicas": 3, "zones.builds.buildkitDaemon.replicas": 2},
        {
            "each more": "create Service gitlab-runner-docker-service-2",
            "each more's volume": (
                "create PersistentVolumeClaimPatch gitlab-runner-docker-daemon-volume-2"
            ),
            "their number": "update StatefulSet gitlab-runner-docker-daemon spec.replicas",
            "their names": "replace CertRequest gitlab-runner-docker-server",
            "the certificate": "replace LocallySignedCert gitlab-runner-docker-server",
            "its Secret": "update Secret gitlab-runner-docker-server",
            "the jobs' choice": "update Release gitlab-runner-general-runner-release",
            "the alert": "update PrometheusRule gitlab-runner-monitoring-alerts",
            "buildkitd": "create Service gitlab-runner-builds-buildkit-service-1",
            "buildkitd's volume": (
                "create PersistentVolumeClaimPatch gitlab-runner-builds-buildkit-daemon-volume-1"
            ),
            "buildkitd's names": "replace CertRequest gitlab-runner-builds-buildkit-server",
        },
    ),
    "an authority's certificate": Update(
        "everything",
        {"dockerDaemon.caValidityHours": 43800},
        {
            "dockerDaemon.caValidityHours": (
                "replace SelfSignedCert gitlab-runner-docker-ca validityPeriodHours"
            )
        },
        # Its key stays: test_authority.py has what that is good for.
        frozenset({"SelfSignedCert"}),
    ),
    "isolation": Update(
        "everything",
        {"dockerDaemon.isolation": "rootless"},
        {
            "dockerDaemon.isolation": (
                "replace StatefulSet gitlab-runner-docker-daemon metadata.name"
            )
        },
        MOVED,
    ),
    "namespaces": Update(
        "everything",
        {f"namespaces.{name}": f"other-{name}" for name in ("cache", "daemon", "mirror")},
        {
            "namespaces.cache": "replace Namespace gitlab-runner-cache-namespace metadata.name",
            "namespaces.daemon": "replace Namespace gitlab-runner-docker-namespace metadata.name",
            "namespaces.mirror": "replace Namespace gitlab-runner-mirror-namespace metadata.name",
        },
        MOVED | {"Namespace"},
    ),
    "another bucket, where that is allowed": Update(
        "bucket",
        {"cache.s3.bucketName": "another", "cache.s3.allowDestroy": True},
        {"cache.s3.bucketName": "replace Bucket gitlab-runner-cache-bucket bucket"},
        frozenset({"Bucket"}),
    ),
}


@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_what_a_setting_replaces(update: Update, recorded: Callable[[str], Recorded]) -> None:
    seen = recorded(NEWEST[update.scenario]).preview(update.changes)
    shown = {str(step) for step in seen}
    shown |= {f"{step} {path}" for step in seen for path in step.paths}
    assert {path: step for path, step in update.shows.items() if step not in shown} == {}
    lost = [step for step in seen if step.loses]
    assert {step.kind.rpartition(":")[2] for step in lost} == update.loses
    for step in lost:
        kind = step.kind.rpartition(":")[2]
        # Nobody's data: a certificate, and what the user allowed to be destroyed.
        assert step.stays or kind in {"SelfSignedCert", "Bucket"}, str(step)


def _two_daemons(resources: list[dict[str, Any]]) -> None:
    """Give the shared docker daemon of a state a second one, as far as its own resources go."""
    for name in ("docker-service", "docker-daemon", "docker-daemon-volume"):
        (found,) = [one for one in resources if one["urn"].endswith(f"::gitlab-runner-{name}")]
        if name == "docker-daemon":
            for side in ("inputs", "outputs"):
                found[side]["spec"]["replicas"] = 2
        else:
            second = copy.deepcopy(found)
            second["urn"] += "-1"
            second["id"] += "-1"
            resources.insert(resources.index(found) + 1, second)


def test_one_daemon_less_leaves_its_volume(recorded: Callable[..., Recorded]) -> None:
    seen = recorded(NEWEST["everything"], _two_daemons).preview()
    shown = {str(step) for step in seen}
    shown |= {f"{step} {path}" for step in seen for path in step.paths}
    assert "delete Service gitlab-runner-docker-service-1" in shown
    assert "update StatefulSet gitlab-runner-docker-daemon spec.replicas" in shown
    lost = [step for step in seen if step.loses]
    patch = "PersistentVolumeClaimPatch gitlab-runner-docker-daemon-volume-1"
    assert [(str(step), step.stays) for step in lost] == [(f"delete {patch}", True)]


def test_a_daemon_that_is_there_starts_its_pods_as_ever(
    recorded: Callable[..., Recorded],
) -> None:
    """How it does cannot be changed: the API server would refuse the update."""
    (step,) = [
        step
        for step in recorded(NEWEST["everything"]).preview()
        if step.kind.endswith(":StatefulSet") and step.name == "gitlab-runner-docker-daemon"
    ]
    assert "replace" not in step.operation
    assert "spec.podManagementPolicy" not in step.paths


REPLACED = r'unable to replace resource "\S+\$aws:s3/bucket:Bucket::\S+"\s+as it is .* protection'
# What keeps the bucket private depends on it, and so comes first.
DELETED = r'\$aws:s3/bucketPolicy:BucketPolicy::\S+" cannot be deleted\s+because it is protected'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache": {"s3": {"bucketName": "another"}}}, REPLACED),
        ({"cache": {"s3": {"region": "eu-west-1"}}}, REPLACED),
        ({"cache": {"backend": "minio", "keepMinio": None, "s3": None}}, DELETED),
    ],
    ids=["name", "region", "backend"],
)
def test_a_bucket_that_is_not_to_be_destroyed_is_protected(
    changes: Changes, message: str, recorded: Callable[[str], Recorded]
) -> None:
    state, _ = read(NEWEST["bucket"])
    found = [made for made in state["resources"] if made["type"] == "aws:s3/bucket:Bucket"]
    assert [made.get("protect") for made in found] == [True]
    with pytest.raises(auto.errors.CommandError, match=message):
        recorded(NEWEST["bucket"]).preview(changes)


@pytest.mark.parametrize(
    ("place", "argument", "words"),
    [
        ("DockerArgs", "isolation", "new, empty volume and leaves the old one"),
        ("DockerArgs", "caValidityHours", "of the same key"),
        ("BuildKitArgs", "caValidityHours", "of the same key"),
        ("CacheArgs", "backend", "refused where the bucket is protected"),
        ("RunnerPlatformArgs", "allowVolumeDeletion", "or an update that renames or removes"),
        ("S3Args", "bucketName", "Another name is another bucket"),
        ("S3Args", "region", "Another region is another bucket"),
        ("S3Args", "allowDestroy", "an update of its own"),
        ("NamespacesArgs", "", "its volume stays behind"),
    ],
)
def test_what_replaces_says_so(place: str, argument: str, words: str) -> None:
    schema = json.loads((ROOT / "components/schema.json").read_text())
    found = {**schema["types"], "gitlab-runner-k8s:index:RunnerPlatformArgs": _platform(schema)}
    described = found[f"gitlab-runner-k8s:index:{place}"]
    text = (described["properties"][argument] if argument else described)["description"]
    assert words in " ".join(text.split())


def _platform(schema: Any) -> Any:
    resource = schema["resources"]["gitlab-runner-k8s:index:RunnerPlatform"]
    return {"properties": resource["inputProperties"]}
