"""The runner's config.toml: pure functions from plain values to text."""

import math
import re
import shlex
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import tomli_w

from ._extra_config import is_posix_shell, merge
from ._meta import script

DOCKER_CERTS_PATH = "/docker-certs"
"""Where jobs find the client certificate. A dind service of their own writes to /certs."""

DOCKER_CERTS = ("ca.pem", "cert.pem", "key.pem")
"""The file names that the docker client requires in DOCKER_CERT_PATH."""


CACHE_CA_PATH = "/cache-ca"
"""Where jobs find the authority of the cache's store."""

BUILDKIT_CERTS_PATH = "/buildkit-certs"
"""Where jobs find the client certificate of buildkitd."""

_NDOTS = 4
"""Dots of `service.namespace.svc.cluster.local`."""


@dataclass(frozen=True)
class CacheConfig:
    """`[runners.cache]`. Credentials are no part of it: they come by Secret."""

    bucket: str
    region: str
    path: str
    type: str = "s3"
    server_address: str | None = None
    insecure: bool = False
    authentication: str = "access-key"
    role_arn: str | None = None
    kms_key_arn: str | None = None
    account_name: str | None = None
    storage_domain: str | None = None
    max_archive_bytes: int | None = None
    ca_secret_name: str | None = None


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
    docker_replicas: int = 1
    buildkit_host: str | None = None
    buildkit_client_secret_name: str | None = None
    buildkit_replicas: int = 1
    daemon_wait_seconds: int = 300
    outage_tolerance_minutes: int = 30
    mirror_config_map_name: str | None = None
    feature_flags: dict[str, bool] = field(default_factory=dict)
    kubernetes: dict[str, Any] = field(default_factory=dict)
    """Further keys of `[runners.kubernetes]`; None leaves a key out."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the user adds to `[[runners]]`."""


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


def _store(cache: CacheConfig) -> dict[str, Any]:
    if cache.type == "gcs":
        return {"BucketName": cache.bucket}
    if cache.type == "azure":
        return {
            "AccountName": cache.account_name,
            "ContainerName": cache.bucket,
            "StorageDomain": cache.storage_domain,
        }
    return {
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


def _final_updates(outage_minutes: int) -> int:
    """Return how often the runner must report a job's end so that an outage does not lose it.

    It waits a second after the first try, and twice as long after each further one.
    """
    return math.ceil(math.log2(outage_minutes * 60 + 1)) + 1


def cache_table(cache: CacheConfig) -> dict[str, Any]:
    """Return `[runners.cache]` as data."""
    table = {
        "Type": cache.type,
        "Path": cache.path,
        # Shared leaves the token out of the object's path: a rotated token keeps its cache.
        "Shared": True,
        "MaxUploadedArchiveSize": cache.max_archive_bytes,
        cache.type: _without_none(_store(cache)),
    }
    return _without_none(table)


def _certificates_volume(secret_name: str, path: str) -> dict[str, Any]:
    # In the executor's configuration a volume's name is that of its Secret.
    return {
        "name": secret_name,
        "mount_path": path,
        "read_only": True,
        "items": {name: name for name in DOCKER_CERTS},
    }


def _volumes(runner: RunnerConfig) -> dict[str, Any]:
    secrets = [
        _certificates_volume(name, path)
        for name, path in (
            (runner.docker_client_secret_name, DOCKER_CERTS_PATH),
            (runner.buildkit_client_secret_name, BUILDKIT_CERTS_PATH),
        )
        if name
    ]
    if runner.cache and runner.cache.ca_secret_name:
        authority = {"name": runner.cache.ca_secret_name, "mount_path": CACHE_CA_PATH}
        secrets.append({**authority, "read_only": True})
    config_maps = runner.mirror_config_map_name and [
        {
            "name": runner.mirror_config_map_name,
            "mount_path": "/etc/docker/daemon.json",
            "sub_path": "daemon.json",
            "read_only": True,
        }
    ]
    volumes = {"secret": secrets, "config_map": config_maps}
    return {kind: entries for kind, entries in volumes.items() if entries}


def _parts(host: str) -> tuple[str, str]:
    """Return an address before and after where the number of one of several daemons stands."""
    match = re.match(r"[a-z]+://[^.:]+", host)
    end = match.end() if match else len(host)
    return shlex.quote(host[:end]), shlex.quote(host[end:])


def _choose_daemon(kind: str, host: str, replicas: int, waits: bool) -> str:
    """Return the commands by which a job takes its project's daemon of several.

    One that does not answer may have been taken away, just before the runner is told so: then the
    first is taken.
    """
    variable, (head, tail) = f"{kind.upper()}_HOST", _parts(host)
    chosen = f"""\
if [ "${{{variable}:-}}" = {head}{tail} ]; then
    {kind}_suffix=$(
replicas={replicas}
{script("_daemon_choose.sh")})
    export {variable}={head}"${kind}_suffix"{tail}
    echo "This project's daemon, one of {replicas}: ${variable}"
"""
    instead = f"""\
    if [ -n "${kind}_suffix" ] && ! wait_for_daemon {kind} WARNING; then
        {kind}_suffix=
        export {variable}={head}{tail}
        echo "taking the first of the {replicas} daemons, which has none of this project's" \\
            "layers: what is built now starts cold" >&2
    fi
"""
    kept = f"""\
    # For after_script, which has a shell of its own.
    [ -z "${{GITLAB_ENV:-}}" ] || echo "{variable}=${variable}" >> "$GITLAB_ENV"
"""
    wait = f"""\
    [ -n "${kind}_suffix" ] || wait_for_daemon {kind} ERROR || exit 1
"""
    return "".join([chosen, instead, kept, wait, "fi"] if waits else [chosen, kept, "fi"])


def _use_daemon(runner: RunnerConfig) -> str | None:
    """Return the commands by which a job takes a shared daemon, and waits for it.

    None where there is nothing to do, or no shell that would understand them.
    """
    found = [
        ("docker", runner.docker_host, runner.docker_replicas),
        ("buildkit", runner.buildkit_host, runner.buildkit_replicas),
    ]
    seconds = runner.daemon_wait_seconds
    commands = []
    for kind, host, replicas in found:
        if host and replicas > 1:
            commands.append(_choose_daemon(kind, host, replicas, seconds > 0))
        elif host and seconds:
            commands.append(
                f'if [ "${{{kind.upper()}_HOST:-}}" = {shlex.quote(host)} ]; then\n'
                f"    wait_for_daemon {kind} ERROR || exit 1\n"
                "fi"
            )
    if not commands or not is_posix_shell(runner.extra):
        return None
    if not seconds:
        return "\n".join(["# Choose the shared daemon", *commands])
    # The runner shows the first line. The function has a shell of its own, in parentheses.
    return "\n".join(
        [
            "# Wait for the shared daemon",
            "wait_for_daemon() (",
            "kind=$1 level=$2",
            f"seconds={seconds}",
            f"{script('_daemon_wait.sh')})",
            *commands,
        ]
    )


def _is_of_cluster(host: str) -> bool:
    """Tell whether a name is `service.namespace.svc` of a cluster whose domain has two labels."""
    labels = (urlsplit(host).hostname or "").split(".")
    return len(labels) == _NDOTS + 1 and labels[2] == "svc"


def _dns_config(runner: RunnerConfig) -> dict[str, Any] | None:
    """Return what makes a daemon's name, which is a full one, the first that is looked up.

    Kubernetes' own limit is 5 dots: each of a build's half a dozen connections would begin with
    three wrong names. Names with fewer than 4 dots are looked up as ever. Another DNS policy than
    the cluster's is left alone.
    """
    policy = runner.extra.get("kubernetes", {}).get("dns_policy", "cluster-first")
    hosts = (runner.docker_host, runner.buildkit_host)
    if policy.startswith("cluster-first") and any(host and _is_of_cluster(host) for host in hosts):
        return {"options": [{"name": "ndots", "value": str(_NDOTS)}]}
    return None


def config(runner: RunnerConfig) -> dict[str, Any]:
    """Return the config.toml template as data: one `[[runners]]`, no global options."""
    environment = dict(runner.environment)
    if runner.docker_host:
        environment |= {
            "DOCKER_HOST": runner.docker_host,
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": DOCKER_CERTS_PATH,
        }
    if runner.cache and runner.cache.ca_secret_name:
        # The helper knows no other way to trust an authority; both directories count.
        environment["SSL_CERT_DIR"] = f"/etc/ssl/certs:{CACHE_CA_PATH}"
    if runner.buildkit_host:
        environment |= {
            "BUILDKIT_HOST": runner.buildkit_host,
            "BUILDKIT_CERT_PATH": BUILDKIT_CERTS_PATH,
        }
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
        **runner.kubernetes,
        "dns_config": _dns_config(runner),
        "volumes": _volumes(runner) or None,
    }
    table: dict[str, Any] = {
        "request_concurrency": runner.request_concurrency,
        "job_status_final_update_retry_limit": _final_updates(runner.outage_tolerance_minutes),
        "environment": [f"{key}={value}" for key, value in sorted(environment.items())],
        "feature_flags": {
            # The manager would save a rotated token to a file that its restart throws away.
            "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": True,
            **runner.feature_flags,
        },
        "kubernetes": _without_none(kubernetes),
    }
    if runner.cache:
        table["cache"] = cache_table(runner.cache)
    merged = merge(table, runner.extra)
    # The user's own comes after: it may need the daemon.
    commands = [_use_daemon(runner), runner.extra.get("pre_build_script")]
    if any(commands):
        merged["pre_build_script"] = "\n".join(filter(None, commands))
    return {"runners": [merged]}


def render(runner: RunnerConfig) -> str:
    """Return the config.toml template as TOML text."""
    return tomli_w.dumps(config(runner))


def escape_template(text: str) -> str:
    """Return text that Helm's `tpl`, which the chart runs on config.toml, gives back unchanged."""
    return text.replace("{{", '{{ "{{" }}')
