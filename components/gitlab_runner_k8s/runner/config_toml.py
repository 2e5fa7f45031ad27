"""The runner's config.toml: from settings to data, and from data to text.

A value that is not known yet stays an Output in the data. All other values are plain.
"""

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pulumi
import tomli_w

from ..kubernetes import nodes
from ..meta import script
from ..outputs import concat, lift
from ..secrets import has_secret
from ..validation.base import NOT_PUBLIC
from ..validation.messages import ArgsError
from ..validation.rules.kubernetes import quantity
from ..validation.tables import merge
from .connections import RunnerCacheSettings, host_conflicts
from .extra_config import is_posix_shell, parse
from .settings import GitLabRunnerSettings

DOCKER_CERTS_PATH = "/docker-certs"
"""Path of the client certificate in jobs. A job's own dind service writes to /certs instead."""

CLIENT_CERTIFICATE_FILES = ("ca.pem", "cert.pem", "key.pem")
"""File names that the docker client requires in DOCKER_CERT_PATH."""

DRAINING_VOLUME = "gitlab-runner-draining"
"""Volume in a Docker daemon that tells new jobs to wait for the next daemon."""

CACHE_CA_PATH = "/cache-ca"
"""Path in jobs of the authority's certificate for the cache's store."""

BUILDKIT_CERTS_PATH = "/buildkit-certs"
"""Path in jobs of the client certificate for buildkitd."""

_NDOTS = 4
"""Number of dots in `service.namespace.svc.cluster.local`."""

# Labels of interruptible nodes, and the taints that keep other pods off them.
_SPOT: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "eks": ({"eks.amazonaws.com/capacityType": "SPOT"}, {}),
    "karpenter": ({"karpenter.sh/capacity-type": "spot"}, {}),
    "gke": (
        {"cloud.google.com/gke-spot": "true"},
        {"cloud.google.com/gke-spot=true": "NoSchedule"},
    ),
    "aks": (
        {"kubernetes.azure.com/scalesetpriority": "spot"},
        {"kubernetes.azure.com/scalesetpriority=spot": "NoSchedule"},
    ),
}


def render(settings: GitLabRunnerSettings, release_name: str) -> pulumi.Input[str]:
    """Return the config.toml template as TOML text.

    Args:
        settings: Settings of the runner.
        release_name: Name of its Helm release, which is the cache's default path.
    """
    return lift(_toml, config(settings, release_name))


def cache_toml(cache: RunnerCacheSettings) -> pulumi.Input[str]:
    """Return the section `[runners.cache]` as TOML text."""
    return lift(_toml, {"runners": {"cache": _cache(cache, "")}})


def escape_template(text: str) -> str:
    """Escape a text for Helm's `tpl`, which the chart runs on config.toml."""
    return text.replace("{{", '{{ "{{" }}')


def config(settings: GitLabRunnerSettings, release_name: str) -> dict[str, Any]:
    """Return the config.toml template as data: one `[[runners]]` table, without global options.

    The text leaves out keys whose value is None.
    """
    extra = parse(settings.extra_config) if settings.extra_config else {}
    table: dict[str, Any] = {
        "request_concurrency": settings.request_concurrency or min(4, settings.concurrent),
        "job_status_final_update_retry_limit": _final_updates(
            settings.gitlab_outage_tolerance_minutes
        ),
        "environment": [
            concat(f"{key}=", value) for key, value in sorted(_environment(settings).items())
        ],
        "feature_flags": {
            # The manager would save a rotated token to a file that a restart deletes.
            "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": True,
            **settings.feature_flags,
        },
        "kubernetes": _kubernetes(settings, extra),
    }
    if settings.cache:
        table["cache"] = _cache(settings.cache, release_name)
    merged = merge(table, _without_dns_config(extra))
    if script := _pre_build_script(settings, extra):
        merged["pre_build_script"] = script
    return {"runners": [merged]}


def _without_dns_config(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's keys without `dns_config`, which `_dns_config` joins with the options."""
    kubernetes = {
        key: value for key, value in extra.get("kubernetes", {}).items() if key != "dns_config"
    }
    return {**extra, "kubernetes": kubernetes}


def _toml(config: Mapping[str, Any]) -> str:
    return tomli_w.dumps(_without_none(config))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _final_updates(outage_minutes: int) -> int:
    """Return how often the runner must try to report a job's end to outlast an outage.

    The runner waits one second after the first attempt, and twice as long after each further one.
    """
    return math.ceil(math.log2(outage_minutes * 60 + 1)) + 1


def _environment(settings: GitLabRunnerSettings) -> dict[str, pulumi.Input[str]]:
    """Return the variables of every job."""
    environment = {key: _no_secret(key, value) for key, value in settings.environment.items()}
    if settings.docker:
        # Compose names a project after its folder, which two jobs of a project share.
        environment = {"COMPOSE_PROJECT_NAME": "ci-$CI_JOB_ID"} | environment
        environment |= {
            "DOCKER_HOST": settings.docker.host,
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": DOCKER_CERTS_PATH,
        }
    if settings.cache and settings.cache.ca_secret_name is not None:
        # The helper has no other way to trust an authority. It reads both directories.
        environment["SSL_CERT_DIR"] = f"/etc/ssl/certs:{CACHE_CA_PATH}"
    if settings.buildkit:
        environment |= {
            "BUILDKIT_HOST": settings.buildkit.host,
            "BUILDKIT_CERT_PATH": BUILDKIT_CERTS_PATH,
        }
    return environment | _no_proxy(settings, environment)


def _no_proxy(
    settings: GitLabRunnerSettings, environment: Mapping[str, pulumi.Input[str]]
) -> dict[str, pulumi.Input[str]]:
    """Return the variables that keep jobs from asking a proxy for the platform's own parts.

    Without them, docker would ask the proxy for a connection to the daemon. Programs differ in the
    spelling that they read.
    """
    if not {key.upper() for key in environment} & {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}:
        return {}
    places: list[pulumi.Input[str]] = [
        lift(_numbered, [daemon.host, number])
        for daemon in (settings.docker, settings.buildkit)
        if daemon
        for number in range(daemon.replicas)
    ]
    if settings.cache and settings.cache.server_address is not None:
        places.append(lift(_host, settings.cache.server_address))
    if not places:
        return {}
    own = [value for key, value in environment.items() if key.upper() == "NO_PROXY"]
    text = lift(lambda parts: ",".join(dict.fromkeys(parts)), [*own, *places])
    return {"NO_PROXY": text, "no_proxy": text}


def _host(place: str) -> str:
    """Return the host of `host:port` or of a URL."""
    return urlsplit(place if "://" in place else f"//{place}").hostname or place


def _numbered(daemon: tuple[str, int]) -> str:
    """Return the host of a daemon among several, from the first daemon's address."""
    (url, number) = daemon
    head, tail = _parts(url)
    return _host(f"{head}-{number}{tail}" if number else url)


def _no_secret(key: str, value: pulumi.Input[str]) -> pulumi.Input[str]:
    """Return a job's variable. An Output whose value is a secret ends the update with an error."""
    if not isinstance(value, pulumi.Output):
        return value

    def check(parts: list[Any]) -> str:
        text, is_secret = parts
        if is_secret or not isinstance(text, str) or has_secret(text):
            raise ArgsError(
                "GitLabRunner",
                [f"environment.{key}: {NOT_PUBLIC}"],
            )
        return text

    return pulumi.Output.all(pulumi.Output.unsecret(value), value.is_secret()).apply(check)


def _kubernetes(settings: GitLabRunnerSettings, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return `[runners.kubernetes]`."""
    selector, tolerations = _SPOT[settings.spot] if settings.spot else ({}, {})
    return {
        "namespace": settings.job_namespace,
        "image": settings.default_image,
        "helper_image": settings.helper_image,
        "privileged": settings.enable_privileged_jobs,
        "pull_policy": [settings.pull_policy],
        "poll_timeout": settings.poll_timeout_seconds,
        "automount_service_account_token": False,
        **settings.job_resources.executor(),
        **settings.helper_resources.executor("helper_"),
        "node_selector": {**selector, **settings.job_node_selector} or None,
        "affinity": _affinity(settings, extra),
        "node_tolerations": {**tolerations, **settings.job_node_tolerations} or None,
        "allowed_pull_policies": settings.allowed_pull_policies or None,
        "allowed_images": settings.allowed_images or None,
        "allowed_services": settings.allowed_services or None,
        "service_account": settings.job_service_account_name,
        "pod_labels": settings.job_pod_labels or None,
        "pod_annotations": settings.job_pod_annotations or None,
        "runtime_class_name": settings.job_runtime_class_name,
        "priority_class_name": settings.job_priority_class_name,
        "pod_disruption_budget": settings.enable_job_disruption_budget or None,
        "service_container_security_context": (
            {"privileged": True} if settings.enable_privileged_services else None
        ),
        **settings.service_resources.executor("service_"),
        "dns_config": _dns_config(settings, extra),
        "volumes": _volumes(settings) or None,
        "container_lifecycle": _container_lifecycle(settings, extra),
    }


def _cache(cache: RunnerCacheSettings, release_name: str) -> dict[str, Any]:
    """Return `[runners.cache]`, without the credentials, which the runner reads from a Secret."""
    limit = cache.max_archive_size
    return {
        "Type": cache.type,
        "Path": release_name if cache.path is None else cache.path,
        # With Shared, the token is not in the object's path, so a rotated token keeps its cache.
        "Shared": True,
        "MaxUploadedArchiveSize": int(quantity(limit)) if limit else None,
        cache.type: _store(cache),
    }


def _store(cache: RunnerCacheSettings) -> dict[str, Any]:
    if cache.type == "gcs":
        return {"BucketName": cache.bucket}
    if cache.type == "azure":
        return {
            "AccountName": cache.account_name,
            "ContainerName": cache.bucket,
            "StorageDomain": cache.storage_domain,
        }
    is_identity = cache.credentials_secret_name is None
    return {
        "ServerAddress": cache.server_address,
        "BucketName": cache.bucket,
        # Without it, the runner asks the store for the region before every cache transfer.
        "BucketLocation": cache.region,
        "Insecure": cache.insecure,
        "AuthenticationType": "iam" if is_identity else "access-key",
        "PathStyle": lift(lambda address: address and True, cache.server_address),
        "RoleARN": cache.role_arn,
        "ServerSideEncryption": lift(lambda key: key and "KMS", cache.kms_key_arn),
        "ServerSideEncryptionKeyID": cache.kms_key_arn,
    }


def _volumes(settings: GitLabRunnerSettings) -> dict[str, Any]:
    # In the executor's configuration, the name of a volume is the name of its Secret.
    secrets = [
        {
            "name": daemon.client_secret_name,
            "mount_path": path,
            "read_only": True,
            "items": {name: name for name in CLIENT_CERTIFICATE_FILES},
        }
        for daemon, path in (
            (settings.docker, DOCKER_CERTS_PATH),
            (settings.buildkit, BUILDKIT_CERTS_PATH),
        )
        if daemon
    ]
    if settings.cache and settings.cache.ca_secret_name is not None:
        authority = {"name": settings.cache.ca_secret_name, "mount_path": CACHE_CA_PATH}
        secrets.append({**authority, "read_only": True})
    config_maps = settings.registry_mirror and [
        {
            "name": settings.registry_mirror.daemon_config_map_name,
            "mount_path": "/etc/docker/daemon.json",
            "sub_path": "daemon.json",
            "read_only": True,
        }
    ]
    volumes = {"secret": secrets, "config_map": config_maps}
    return {kind: entries for kind, entries in volumes.items() if entries}


def _is_of_cluster(host: str) -> bool:
    """Tell whether a host is `service.namespace.svc` in a cluster domain of two labels."""
    labels = (urlsplit(host).hostname or "").split(".")
    return len(labels) == _NDOTS + 1 and labels[2] == "svc"


def _dns_config(settings: GitLabRunnerSettings, extra: Mapping[str, Any]) -> Any:
    """Return the DNS options with which the resolver looks up a daemon's full name first.

    Kubernetes' default is 5 dots. With it, each of a build's half a dozen connections would look up
    three wrong names first. Names with fewer than 4 dots are looked up as before. A DNS policy
    other than the cluster's stays unchanged.
    """
    kubernetes = extra.get("kubernetes", {})
    policy, user_config = kubernetes.get("dns_policy"), kubernetes.get("dns_config")
    hosts = [daemon.host for daemon in (settings.docker, settings.buildkit) if daemon]
    if not hosts or not (policy or "cluster-first").startswith("cluster-first"):
        return user_config
    ndots = {"options": [{"name": "ndots", "value": str(_NDOTS)}]}

    def joined(hosts: list[str]) -> Any:
        is_needed = any(map(_is_of_cluster, hosts))
        return merge(ndots, user_config or {}) if is_needed else user_config

    return lift(joined, hosts)


def _affinity(settings: GitLabRunnerSettings, extra: Mapping[str, Any]) -> Any:
    """Return the affinity that keeps jobs away from nodes. The user's own node affinity counts."""
    if "node_affinity" in extra.get("kubernetes", {}).get("affinity", {}):
        return None
    return nodes.executor_affinity(settings.job_excluded_nodes)


def _container_lifecycle(settings: GitLabRunnerSettings, extra: Mapping[str, Any]) -> Any:
    """Return the hook that removes the job's own Compose project from the Docker daemon.

    Kubernetes runs it when the job's pod ends, also after a timeout and a cancellation. The user's
    own hook replaces it.
    """
    hooks = extra.get("kubernetes", {}).get("container_lifecycle", {})
    if settings.docker is None or "pre_stop" in hooks or not is_posix_shell(extra):
        return None
    replicas = settings.docker.replicas

    def hook(host: str) -> dict[str, Any]:
        commands = [script("runner/remove_compose_project.sh")]
        if replicas > 1:
            commands.insert(0, _assign_daemon("docker", host, replicas))
        return {"pre_stop": {"exec": {"command": ["/bin/sh", "-c", "\n".join(commands)]}}}

    return lift(hook, settings.docker.host)


def _pre_build_script(
    settings: GitLabRunnerSettings, extra: Mapping[str, Any]
) -> pulumi.Input[str] | None:
    """Return the commands that choose a shared daemon, and then the user's own commands.

    This order lets the user's commands use the daemon.
    """
    user_script: str | None = extra.get("pre_build_script")
    kinds = {"docker": settings.docker, "buildkit": settings.buildkit}
    daemons = [(kind, daemon.host, daemon.replicas) for kind, daemon in kinds.items() if daemon]
    if not daemons or not is_posix_shell(extra):
        return user_script
    seconds = settings.daemon_wait_seconds

    def joined(hosts: list[str]) -> str:
        addressed = [
            (kind, host, replicas) for (kind, _, replicas), host in zip(daemons, hosts, strict=True)
        ]
        commands = use_daemons(addressed, seconds)
        return "\n".join([*commands, *([user_script] if user_script else [])])

    if not seconds and user_script is None and all(replicas == 1 for _, _, replicas in daemons):
        return None
    return lift(joined, [host for _, host, _ in daemons])


def use_daemons(daemons: Iterable[tuple[str, str, int]], seconds: int) -> list[str]:
    """Return the commands with which a job chooses a shared daemon, and waits for it.

    Args:
        daemons: The daemons of each kind: docker or buildkit, the address of the first daemon, and
            the number of daemons.
        seconds: Seconds to wait for a daemon that does not answer. With 0, jobs do not wait.

    Raises:
        ArgsError: there are several daemons, and the address is an IP address.
    """
    commands = []
    for kind, host, replicas in daemons:
        # The value of an Output is known only now.
        if problems := [*host_conflicts(host, replicas, f"{kind}: ")]:
            raise ArgsError("GitLabRunner", problems)
        if replicas > 1:
            commands.append(_choose_daemon(kind, host, replicas, seconds > 0))
        elif seconds:
            commands.append(
                f'if [ "${{{kind.upper()}_HOST:-}}" = {shlex.quote(host)} ]; then\n'
                f"    wait_for_daemon {kind} ERROR || exit 1\n"
                f"{_other_daemon(kind)}fi"
            )
    if not commands:
        return []
    if not seconds:
        return ["# Choose the shared daemon", *commands]
    # The job's log shows the first line. The parentheses run the function in its own shell.
    return [
        "# Wait for the shared daemon",
        "wait_for_daemon() (",
        "kind=$1 level=$2",
        f"seconds={seconds} draining={DRAINING_VOLUME}",
        f"{script('runner/wait_for_daemon.sh')})",
        *commands,
    ]


def _parts(host: str) -> tuple[str, str]:
    """Return the two parts of an address between which the number of a daemon stands."""
    match = re.match(r"[a-z]+://[^.:]+", host)
    end = match.end() if match else len(host)
    return host[:end], host[end:]


def _assign_daemon(kind: str, host: str, replicas: int) -> str:
    """Return the commands that set the variable of a project's daemon among several."""
    head, tail = map(shlex.quote, _parts(host))
    return f"""\
    {kind}_suffix=$(
replicas={replicas}
{script("runner/choose_daemon.sh")})
    export {kind.upper()}_HOST={head}"${kind}_suffix"{tail}"""


def _choose_daemon(kind: str, host: str, replicas: int, waits: bool) -> str:
    """Return the commands with which a job chooses its project's daemon among several.

    A daemon that does not answer may have been removed, while the runner still has the old number.
    The job then uses the first daemon.
    """
    variable, (head, tail) = f"{kind.upper()}_HOST", map(shlex.quote, _parts(host))
    choose = f"""\
if [ "${{{variable}:-}}" = {head}{tail} ]; then
{_assign_daemon(kind, host, replicas)}
    echo "This project's daemon, one of {replicas}: ${variable}"
"""
    fall_back = f"""\
    if [ -n "${kind}_suffix" ] && ! wait_for_daemon {kind} WARNING; then
        {kind}_suffix=
        export {variable}={head}{tail}
        echo "using the first of the {replicas} daemons, which has no layers of this project:" \\
            "this build starts cold" >&2
    fi
"""
    export = f"""\
    # For after_script, which has a shell of its own.
    [ -z "${{GITLAB_ENV:-}}" ] || echo "{variable}=${variable}" >> "$GITLAB_ENV"
"""
    wait = f"""\
    [ -n "${kind}_suffix" ] || wait_for_daemon {kind} ERROR || exit 1
"""
    parts = [choose, fall_back, export, wait] if waits else [choose, export]
    return "".join([*parts, _other_daemon(kind), "fi"])


def _other_daemon(kind: str) -> str:
    """Return the branch for a job that has chosen a daemon itself, maybe without knowing it."""
    variable = f"{kind.upper()}_HOST"
    return f"""\
elif [ -n "${{{variable}:-}}" ]; then
    echo "this job does not use the shared daemon: .gitlab-ci.yml or a CI/CD variable sets" \\
        "{variable} to ${variable}" >&2
"""
