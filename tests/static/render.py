"""The objects that the components register, in the form that scanners read."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pulumi
import yaml
from gitlab_runner_k8s import RunnerPlatform, S3Cache

from lab import paths
from tests.harness import Recorder, Registration, deploy, token

Object = dict[str, Any]

HELM = paths.BIN / "helm"
CHART = Path(os.environ.get("GITLAB_RUNNER_CHART") or paths.ROOT / "lab/chart/gitlab-runner")
"""GitLab's own chart where a path to it is given, else the stand-in with the same objects."""

BUILT_IN = re.compile(r"v1|(apps|batch|policy|autoscaling)/v\d|[a-z.]+\.k8s\.io/v\d")
OIDC = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"
IDENTITIES: dict[str, Any] = {
    "irsa": {"oidc_provider_arn": OIDC},
    "pod-identity": {"eks_cluster_name": "ci"},
    "access-key": {},
}


def _whole(value: Any) -> Any:
    """Undo the engine's own form of numbers, in which every one is a float."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def platform() -> Recorder:
    """Register the platform with everything on."""
    monitoring: Any = dict.fromkeys(
        ("enable_pod_monitor", "enable_alert_rules", "enable_dashboard"), True
    )
    args: Any = {
        "gitlab_url": "https://gitlab.example.com",
        "cache": {"minio": {"enable_tls": True, "enable_metrics": True, "enable_console": True}},
        "docker_daemon": {"node_selector": {"gitlab-runner/docker": "true"}},
        "registry_mirror": {"credentials_secret_name": "docker-hub"},
        "zones": {
            "images": {"buildkit_daemon": {}},
            "rootless": {
                "docker_daemon": {
                    "isolation": "rootless",
                    "node_selector": {"gitlab-runner/docker": "true"},
                }
            },
        },
        "monitoring": monitoring,
    }

    def program() -> None:
        RunnerPlatform("ci", args | {"runner_token": pulumi.Output.secret(token())})

    return deploy(program)


def _helm(release: Object) -> list[Object]:
    """Return what a release's chart renders from its values."""
    made = subprocess.run(
        [
            *(HELM, "template", release["name"], CHART, "--namespace", release["namespace"]),
            *("--values", "-"),
        ],
        input=json.dumps(release["values"]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    objects = [found for found in yaml.safe_load_all(made.stdout) if found]
    for found in objects:
        found["metadata"].setdefault("namespace", release["namespace"])
    return objects


def kubernetes_objects(recorder: Recorder) -> list[Object]:
    """Return every object that a program puts into the cluster, those of its charts included."""
    objects: list[Object] = []
    for made in recorder.registrations:
        inputs = _whole(made.plain)
        if made.type.endswith(":Release"):
            objects += _helm(inputs)
        elif made.type.startswith("kubernetes:"):
            # The engine gives a name to what has none.
            inputs["metadata"].setdefault("name", made.name)
            objects.append(inputs)
    return objects


def built_in(objects: Iterable[Object]) -> list[Object]:
    """Return the objects of Kubernetes' own kinds."""
    return [found for found in objects if BUILT_IN.fullmatch(found["apiVersion"])]


def write_kubernetes(objects: Iterable[Object], folder: Path) -> None:
    """Write each object into a file of its own."""
    for found in objects:
        metadata = found["metadata"]
        name = f"{metadata.get('namespace', 'cluster')}-{found['kind']}-{metadata['name']}.yaml"
        (folder / name).write_text(yaml.safe_dump(found))


def buckets(identity: str) -> Recorder:
    """Register the bucket with one of the identities that may use it."""
    args: Any = {"region": "eu-central-1", "identity": identity, **IDENTITIES[identity]}
    return deploy(lambda: S3Cache("ci-cache", args))


def cloudformation(recorder: Recorder) -> Object:
    """Return what a program makes on AWS as a CloudFormation template.

    Raises:
        KeyError: a kind of resource that this does not know: it would stay unseen.
    """
    resources: Object = {}
    bucket: Object = {}
    for made in recorder.registrations:
        kind = made.type.rpartition(":")[2]
        if not made.type.startswith("aws:"):
            continue
        inputs = _whole(made.plain)
        if kind == "Bucket":
            resources[_identifier(made)] = {"Type": "AWS::S3::Bucket", "Properties": bucket}
        elif kind in _OF_BUCKET:
            bucket |= _OF_BUCKET[kind](inputs)
        else:
            name, properties = _RESOURCES[kind]
            resources[_identifier(made)] = {"Type": name, "Properties": properties(inputs)}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def _identifier(made: Registration) -> str:
    return "".join(part.capitalize() for part in made.name.split("-"))


def _upper(table: Object, *names: str) -> Object:
    return {name[0].upper() + name[1:]: table[name] for name in names if name in table}


def _encryption(inputs: Object) -> Object:
    rules = []
    for rule in inputs["rules"]:
        default = rule["applyServerSideEncryptionByDefault"]
        key = default.get("kmsMasterKeyId")
        rules.append(
            {
                "ServerSideEncryptionByDefault": {
                    "SSEAlgorithm": default["sseAlgorithm"],
                    **({"KMSMasterKeyID": key} if key else {}),
                },
                **_upper(rule, "bucketKeyEnabled"),
            }
        )
    return {"BucketEncryption": {"ServerSideEncryptionConfiguration": rules}}


def _lifecycle(inputs: Object) -> Object:
    rules = [
        {
            "Id": rule["id"],
            "Status": rule["status"],
            "Prefix": rule["filter"]["prefix"],
            "ExpirationInDays": rule["expiration"]["days"],
            "AbortIncompleteMultipartUpload": _upper(
                rule["abortIncompleteMultipartUpload"], "daysAfterInitiation"
            ),
        }
        for rule in inputs["rules"]
    ]
    return {"LifecycleConfiguration": {"Rules": rules}}


_OF_BUCKET: dict[str, Callable[[Object], Object]] = {
    "BucketPublicAccessBlock": lambda inputs: {
        "PublicAccessBlockConfiguration": _upper(
            inputs,
            "blockPublicAcls",
            "blockPublicPolicy",
            "ignorePublicAcls",
            "restrictPublicBuckets",
        )
    },
    "BucketOwnershipControls": lambda inputs: {
        "OwnershipControls": {"Rules": [_upper(inputs["rule"], "objectOwnership")]}
    },
    "BucketServerSideEncryptionConfiguration": _encryption,
    "BucketLifecycleConfiguration": _lifecycle,
    "BucketVersioning": lambda inputs: {
        "VersioningConfiguration": _upper(inputs["versioningConfiguration"], "status")
    },
    "BucketLogging": lambda inputs: {
        "LoggingConfiguration": {
            "DestinationBucketName": inputs["targetBucket"],
            "LogFilePrefix": inputs["targetPrefix"],
        }
    },
}
"""What Pulumi has as resources beside the bucket, and CloudFormation as its properties."""

_RESOURCES: dict[str, tuple[str, Callable[[Object], Object]]] = {
    "BucketPolicy": (
        "AWS::S3::BucketPolicy",
        lambda inputs: {
            "Bucket": inputs["bucket"],
            "PolicyDocument": json.loads(inputs["policy"]),
        },
    ),
    "Role": (
        "AWS::IAM::Role",
        lambda inputs: {"AssumeRolePolicyDocument": json.loads(inputs["assumeRolePolicy"])},
    ),
    "RolePolicy": (
        "AWS::IAM::Policy",
        lambda inputs: {
            "PolicyName": "permissions",
            "PolicyDocument": json.loads(inputs["policy"]),
            "Roles": [inputs["role"]],
        },
    ),
    "User": ("AWS::IAM::User", lambda _: {}),
    "UserPolicy": (
        "AWS::IAM::Policy",
        lambda inputs: {
            "PolicyName": "permissions",
            "PolicyDocument": json.loads(inputs["policy"]),
            "Users": [inputs["user"]],
        },
    ),
    "AccessKey": ("AWS::IAM::AccessKey", lambda inputs: {"UserName": inputs["user"]}),
    "PodIdentityAssociation": (
        "AWS::EKS::PodIdentityAssociation",
        lambda inputs: _upper(inputs, "clusterName", "namespace", "serviceAccount", "roleArn"),
    ),
}
