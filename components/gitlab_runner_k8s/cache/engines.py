"""The servers of `MinioCache`: how each is started, monitored and prepared.

This module is pure: from validated settings, it derives arguments, files and scripts. It declares
no resources.
"""

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .. import pins
from ..kubernetes import network_policy as net
from .settings import MinioCacheSettings

CONSOLE_PORT = 9001
SEAWEEDFS_METRICS_PORT = 9327
CERTIFICATES_PATH = "/certs"
CERTIFICATE_FILES = ("public.crt", "private.key")
_TOKEN_EXPIRES = 4102444800  # 2100-01-01: a new signing key replaces the token


@dataclass(frozen=True)
class Credentials:
    """An access key and its secret key."""

    access_key: str
    secret_key: str


@dataclass(frozen=True)
class Engine:
    """How to run a server.

    Attributes:
        image: Default image. With None, the user must set an image.
        command: Command of the container. With None, the image's own command runs.
        arguments: Arguments of the container.
        environment: Variables of the container.
        probes: Paths of the readiness probe and of the liveness probe.
        server_files: Secret files in /secrets, from root's credentials, the runner's credentials
            and the bucket.
        server_knows_runner: Whether these files contain the runner's credentials.
        bootstrap: Name of the bootstrap Job's script.
        bootstrap_files: Files that the bootstrap Job reads in /config.
        started: Name of a script that runs in the server's container after each start. Its
            arguments are the bucket and the objects' time to live.
        ports: Ports of the container beside the S3 API, by name.
        metrics_port: Port of the metrics.
        has_metrics_token: Whether Prometheus needs a token to read the metrics.
    """

    image: str | None
    command: Callable[[MinioCacheSettings], list[str] | None]
    arguments: Callable[[MinioCacheSettings], list[str]]
    environment: Callable[[MinioCacheSettings], dict[str, str]]
    probes: tuple[str, str]
    server_files: Callable[[Credentials, Credentials, str], dict[str, str]]
    server_knows_runner: bool
    bootstrap: str
    bootstrap_files: Callable[[str, int], dict[str, str]]
    started: str | None = None
    ports: Callable[[MinioCacheSettings], dict[str, int]] = lambda settings: {}
    metrics_port: int = net.S3_PORT
    has_metrics_token: bool = True


def _minio_arguments(settings: MinioCacheSettings) -> list[str]:
    return [
        "server",
        "/data",
        f"--address=:{net.S3_PORT}",
        f"--console-address=:{CONSOLE_PORT}",
        f"--certs-dir={CERTIFICATES_PATH if settings.enable_tls else '/tmp/certs'}",
    ]


def _minio_environment(settings: MinioCacheSettings) -> dict[str, str]:
    return {
        "MINIO_CONFIG_ENV_FILE": "/secrets/config.env",
        "MINIO_BROWSER": "on" if settings.enable_console else "off",
        # Without it, the server asks the vendor for updates.
        "MINIO_UPDATE": "off",
    }


def _minio_server_files(root: Credentials, runner: Credentials, bucket: str) -> dict[str, str]:
    user, password = root.access_key, root.secret_key
    return {
        "config.env": f"export MINIO_ROOT_USER='{user}'\nexport MINIO_ROOT_PASSWORD='{password}'\n"
    }


def _minio_bootstrap_files(bucket: str, days: int) -> dict[str, str]:
    return {
        "lifecycle.json": json.dumps(_lifecycle(days)),
        "policy.json": json.dumps(_policy(bucket)),
        "metrics-policy.json": json.dumps(_METRICS_POLICY),
    }


def _lifecycle(days: int) -> dict[str, Any]:
    return {"Rules": [{"ID": "expire", "Status": "Enabled", "Expiration": {"Days": days}}]}


def _policy(bucket: str) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": [f"{arn}/*"],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": [arn],
            },
            # Without it, a user may create its own service accounts.
            {"Effect": "Deny", "Action": ["admin:*"]},
        ],
    }


_METRICS_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["admin:Prometheus"]}],
}


def metrics_token(user: Credentials) -> str:
    """Return the bearer token with which a user of MinIO reads the metrics."""

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"exp": _TOKEN_EXPIRES, "iss": "prometheus", "sub": user.access_key}
    head = {"alg": "HS512", "typ": "JWT"}
    signed = b".".join(part(json.dumps(item).encode()) for item in (head, claims))
    signature = hmac.new(user.secret_key.encode(), signed, hashlib.sha512).digest()
    return (signed + b"." + part(signature)).decode()


def _seaweedfs_command(settings: MinioCacheSettings) -> list[str]:
    # SeaweedFS has its own directory, so that it never reads the data of another engine on the
    # volume. The image's configuration puts the file names beside it, into /data/filerldb2.
    return ["/bin/sh", "-c", 'mkdir -p "$0" && cd "$0" && exec weed "$@"', "/data/seaweedfs"]


def _seaweedfs_arguments(settings: MinioCacheSettings) -> list[str]:
    certificate, key = (f"{CERTIFICATES_PATH}/{file}" for file in CERTIFICATE_FILES)
    tls = [f"-s3.cert.file={certificate}", f"-s3.key.file={key}"] if settings.enable_tls else []
    metrics = [f"-metricsPort={SEAWEEDFS_METRICS_PORT}", "-metricsIp=0.0.0.0"]
    return [
        "-logtostderr=true",
        "server",
        "-dir=/data/seaweedfs",
        # Only the S3 gateway is reachable. The servers behind it check no credentials.
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.peers=none",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=0",
        "-volume.preStopSeconds=1",
        "-s3",
        "-s3.ip.bind=0.0.0.0",
        f"-s3.port={net.S3_PORT}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.config=/secrets/s3.json",
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
        *tls,
        *(metrics if settings.enable_metrics else []),
    ]


def _seaweedfs_server_files(root: Credentials, runner: Credentials, bucket: str) -> dict[str, str]:
    def identity(name: str, keys: Credentials, actions: list[str]) -> dict[str, Any]:
        pair = {"accessKey": keys.access_key, "secretKey": keys.secret_key}
        return {"name": name, "credentials": [pair], "actions": actions}

    identities = [
        identity("root", root, ["Admin"]),
        identity("runner", runner, [f"{action}:{bucket}" for action in ("Read", "Write", "List")]),
    ]
    return {"s3.json": json.dumps({"identities": identities})}


def time_to_live(days: int) -> str:
    """Return a time to live in SeaweedFS' format, rounded up: it allows at most 255 of a unit."""
    for unit, length in (("d", 1), ("w", 7)):
        if math.ceil(days / length) <= 255:
            return f"{math.ceil(days / length)}{unit}"
    return f"{math.ceil(days / 30)}M"


MINIO = Engine(
    image=None,
    command=lambda settings: None,
    arguments=_minio_arguments,
    environment=_minio_environment,
    probes=("/minio/health/ready", "/minio/health/live"),
    server_files=_minio_server_files,
    server_knows_runner=False,
    bootstrap="cache/minio_bootstrap.sh",
    bootstrap_files=_minio_bootstrap_files,
)

SEAWEEDFS = Engine(
    image=pins.SEAWEEDFS_IMAGE,
    command=_seaweedfs_command,
    arguments=_seaweedfs_arguments,
    environment=lambda settings: {},
    probes=("/healthz", "/healthz"),
    server_files=_seaweedfs_server_files,
    server_knows_runner=True,
    bootstrap="cache/seaweedfs_bootstrap.sh",
    bootstrap_files=lambda bucket, days: {},
    started="cache/seaweedfs_started.sh",
    ports=lambda settings: {"metrics": SEAWEEDFS_METRICS_PORT} if settings.enable_metrics else {},
    metrics_port=SEAWEEDFS_METRICS_PORT,
    has_metrics_token=False,
)

ENGINES = {
    "silo": replace(MINIO, image=pins.SILO_IMAGE),
    "minio": MINIO,
    "seaweedfs": SEAWEEDFS,
}
