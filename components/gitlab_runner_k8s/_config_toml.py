"""The runner's config.toml: pure functions from plain values to text."""

from dataclasses import dataclass, field
from typing import Any

import tomli_w

DOCKER_CERTS_PATH = "/docker-certs"
"""Where jobs find the client certificate. A dind service of their own writes to /certs."""

DOCKER_CERTS = ("ca.pem", "cert.pem", "key.pem")
"""The file names that the docker client requires in DOCKER_CERT_PATH."""


@dataclass(frozen=True)
class CacheConfig:
    """`[runners.cache]` with an S3 store. Credentials are no part of it: they come by Secret."""

    bucket: str
    region: str
    path: str
    server_address: str | None = None
    insecure: bool = False
    authentication: str = "access-key"
    role_arn: str | None = None
    kms_key_arn: str | None = None


@dataclass(frozen=True)
class RunnerConfig:
    """What the config.toml of one runner is made of; sizes are Kubernetes quantities."""

    job_namespace: str
    image: str
    pull_policy: str
    request_concurrency: int
    helper_image: str | None = None
    privileged: bool = False
    poll_timeout_seconds: int = 600
    environment: dict[str, str] = field(default_factory=dict)
    job_resources: dict[str, str] = field(default_factory=dict)
    helper_resources: dict[str, str] = field(default_factory=dict)
    node_selector: dict[str, str] = field(default_factory=dict)
    node_tolerations: dict[str, str] = field(default_factory=dict)
    cache: CacheConfig | None = None
    docker_host: str | None = None
    docker_client_secret_name: str | None = None


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


def _cache(cache: CacheConfig) -> dict[str, Any]:
    store = {
        "ServerAddress": cache.server_address,
        "BucketName": cache.bucket,
        # Without it the runner asks the store for the region before every cache transfer.
        "BucketLocation": cache.region,
        "Insecure": cache.insecure,
        "AuthenticationType": cache.authentication,
        "PathStyle": True if cache.server_address else None,
        "RoleARN": cache.role_arn,
        "ServerSideEncryption": "KMS" if cache.kms_key_arn else None,
        "ServerSideEncryptionKeyID": cache.kms_key_arn,
    }
    # Shared leaves the token out of the object's path: a rotated token keeps its cache.
    return {"Type": "s3", "Path": cache.path, "Shared": True, "s3": _without_none(store)}


def _docker_volume(secret_name: str) -> dict[str, Any]:
    # In the executor's configuration a volume's name is that of its Secret.
    return {
        "name": secret_name,
        "mount_path": DOCKER_CERTS_PATH,
        "read_only": True,
        "items": {name: name for name in DOCKER_CERTS},
    }


def config(runner: RunnerConfig) -> dict[str, Any]:
    """Return the config.toml template as data: one `[[runners]]`, no global options."""
    environment = dict(runner.environment)
    kubernetes: dict[str, Any] = {
        "namespace": runner.job_namespace,
        "image": runner.image,
        "helper_image": runner.helper_image,
        "privileged": runner.privileged,
        "pull_policy": [runner.pull_policy],
        "poll_timeout": runner.poll_timeout_seconds,
        "automount_service_account_token": False,
        **runner.job_resources,
        **{f"helper_{key}": value for key, value in runner.helper_resources.items()},
        "node_selector": runner.node_selector or None,
        "node_tolerations": runner.node_tolerations or None,
    }
    if runner.docker_host and runner.docker_client_secret_name:
        environment |= {
            "DOCKER_HOST": runner.docker_host,
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": DOCKER_CERTS_PATH,
        }
        kubernetes["volumes"] = {"secret": [_docker_volume(runner.docker_client_secret_name)]}
    table: dict[str, Any] = {
        "request_concurrency": runner.request_concurrency,
        "environment": [f"{key}={value}" for key, value in sorted(environment.items())],
        "feature_flags": {
            "FF_CLEAN_UP_FAILED_CACHE_EXTRACT": True,
            # The manager would save a rotated token to a file that its restart throws away.
            "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": True,
        },
        "kubernetes": _without_none(kubernetes),
    }
    if runner.cache:
        table["cache"] = _cache(runner.cache)
    return {"runners": [table]}


def render(runner: RunnerConfig) -> str:
    """Return the config.toml template as TOML text."""
    return tomli_w.dumps(config(runner))


def escape_template(text: str) -> str:
    """Return text that Helm's `tpl`, which the chart runs on config.toml, gives back unchanged."""
    return text.replace("{{", '{{ "{{" }}')
