"""The user's part of config.toml: the keys that it may contain, and how it is merged."""

import json
import posixpath
import re
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field

from ..secrets import has_secret, is_secret_name
from ..validation.base import rule
from ..validation.messages import problems
from ..validation.rules.gitlab import gitlab_url
from ..validation.rules.images import ImageReference
from ..validation.rules.kubernetes import PlainName, quantity
from ..validation.rules.network import Port
from ..validation.tables import fixed, managed, model

_KINDS = ("cpu", "memory", "ephemeral_storage")
_DURATION = r"0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|m|s|ms|us|µs|ns))+"


def _duration(value: str) -> str | None:
    return (
        None if re.fullmatch(_DURATION, value) else "must be a duration, such as '10m' or '1h30m'"
    )


def _expression(value: str) -> str | None:
    # Go has names for classes of Unicode and for the end of the text that Python does not have.
    expression = re.sub(r"\\[pP](\w|\{\^?\w+\})", r"\\w", value).replace(r"\z", r"\Z")
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            re.compile(expression)
    except (re.error, RecursionError):
        return "must be a regular expression, such as 'team-.*'"
    return None


def _quantity(value: str) -> str | None:
    quantity(value)
    return None


def _any_case(*choices: str) -> Any:
    """Return the type of a choice that the runner compares without regard to case."""

    def check(value: str) -> str | None:
        is_choice = value.lower() in {choice.lower() for choice in choices}
        return None if is_choice else f"must be one of {', '.join(map(repr, choices))}"

    return Annotated[str, rule(check)]


Duration = Annotated[str, rule(_duration)]
Expression = Annotated[str, rule(_expression)]
Quantity = Annotated[str, rule(_quantity)]
Amount = Annotated[int, Field(ge=0)]


_RULES: dict[str, Any] = {
    "clone_url": Annotated[str, rule(gitlab_url)],
    "dns_policy": Literal["", "none", "default", "cluster-first", "cluster-first-with-host-net"],
    "image_pull_secrets": list[PlainName],
    "medium": Annotated[str, Field(pattern=r"^(|Memory|HugePages.*)$")],
    "mount_propagation": Literal["None", "HostToContainer", "Bidirectional"],
    "operator": Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
    "output_limit": Annotated[int, Field(ge=1)],
    "patch_type": Literal["", "merge", "json", "strategic"],
    "pause_pod_image": ImageReference,
    "poll_interval": Annotated[int, Field(ge=1)],
    "port": Port,
    "proc_mount": _any_case("Default", "Unmasked"),
    "scale_factor": Annotated[float, Field(ge=0, strict=False)],
    "scheduler_name": PlainName,
    "scheme": Literal["HTTP", "HTTPS"],
    "shell": Literal["", "bash", "sh", "cmd", "pwsh", "powershell"],
    "size_limit": Quantity,
    "suspend_pvc_size": Quantity,
    "suspend_pvc_storage_class": PlainName,
    "app_armor_profile.type": Literal["RuntimeDefault", "Localhost", "Unconfined"],
    "seccomp_profile.type": Literal["RuntimeDefault", "Localhost", "Unconfined"],
    "services.environment": list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*=")]],
}
"""Rules beyond a key's type, by `key` or by `table.key`."""

_PROFILE = {"type"}
_REQUIREMENT = {"key", "operator"}
_AFFINITY = {"weight", "preference", "pod_affinity_term", "node_selector_terms", "topology_key"}
_VOLUMES = ("config_map", "csi", "empty_dir", "host_path", "nfs", "pvc", "secret")
_VOLUME = {"name", "mount_path", "driver", "server", "path"}
_REQUIRED = {
    "app_armor_profile": _PROFILE,
    "seccomp_profile": _PROFILE,
    "exec": {"command"},
    "host_aliases": {"ip", "hostnames"},
    "http_get": {"port"},
    "http_headers": {"name", "value"},
    "tcp_socket": {"port"},
    "match_expressions": _REQUIREMENT,
    "match_fields": _REQUIREMENT,
    "options": {"name"},
    "pod_affinity_term": {"topology_key"},
    "pod_spec": {"name"},
    "preferred_during_scheduling_ignored_during_execution": _AFFINITY,
    "required_during_scheduling_ignored_during_execution": _AFFINITY,
    "services": {"name"},
    **dict.fromkeys(_VOLUMES, _VOLUME),
}
"""Keys that Kubernetes or the runner requires, by table."""

_TYPES: dict[str, Any] = {
    "any": Any,
    "boolean": bool,
    "duration": Duration,
    "integer": Amount,
    "number": float,
    "string": str,
    "string or list": str | list[str],
    "time": Any,
}


def _rule(table: str, key: str, shape: Any) -> Any:
    if rule := _RULES.get(f"{table}.{key}") or _RULES.get(key):
        return rule
    if shape == "string" and key.endswith(("_overwrite_max_allowed", "_limit", "_request")):
        return Quantity
    if shape == "string" and key.endswith("_overwrite_allowed"):
        return Expression
    return None


_KEYS: dict[str, Any] = json.loads(
    resources.files(__package__).joinpath("config_keys.json").read_text()
)
Runner = model("runners", _KEYS["keys"]["runners"][0], _TYPES, _rule, _REQUIRED)
"""The keys of `[[runners]]`, from the runner's own configuration types."""


# Keys that the package renders itself, each with the argument to use instead.
_MANAGED = {
    "name": "release_name",
    "url": "gitlab_url",
    "token": "runner_token",
    "request_concurrency": "request_concurrency",
    "environment": "environment",
    "feature_flags": "feature_flags",
    "cache": "cache",
    "kubernetes.namespace": "job_namespace",
    "kubernetes.image": "default_image",
    "kubernetes.privileged": "enable_privileged_jobs",
    "kubernetes.helper_image": "helper_image",
    "kubernetes.pull_policy": "pull_policy",
    "kubernetes.allowed_pull_policies": "allowed_pull_policies",
    "kubernetes.allowed_images": "allowed_images",
    "kubernetes.allowed_services": "allowed_services",
    "kubernetes.node_selector": "job_node_selector",
    "kubernetes.node_tolerations": "job_node_tolerations",
    "kubernetes.poll_timeout": "poll_timeout_seconds",
    "kubernetes.service_account": "job_service_account_name",
    "kubernetes.pod_labels": "job_pod_labels",
    "kubernetes.pod_annotations": "job_pod_annotations",
    "kubernetes.runtime_class_name": "job_runtime_class_name",
    "kubernetes.priority_class_name": "job_priority_class_name",
    "kubernetes.pod_disruption_budget": "enable_job_disruption_budget",
    **{
        f"kubernetes.{prefix}{kind}_{bound}": f"{role}_resources.{kind}_{bound}"
        for prefix, role in (("", "job"), ("helper_", "helper"), ("service_", "service"))
        for kind in _KINDS
        for bound in ("request", "limit")
    },
}
# Keys that have no argument, each with the reason.
_FIXED = {
    "executor": "it is always 'kubernetes'",
    **dict.fromkeys(("id", "token_obtained_at", "token_expires_at"), "the runner writes it"),
    "kubernetes.automount_service_account_token": "jobs get no token of the cluster",
}
_OURS = _MANAGED | _FIXED
_OTHER_EXECUTORS = (
    *("autoscaler", "custom", "docker", "instance", "machine", "parallels", "ssh", "virtualbox"),
)
_CLUSTER_ACCESS = ("host", "context", "cert_file", "key_file", "ca_file", "bearer_token")
# Permissions that the runner would need for a key, from GitLab's table of API permissions.
_NEEDS_MORE_RIGHTS = {
    "namespace_per_job": "create and delete on namespaces",
}
# A job that can write to these paths, or read some of them, controls the node.
_SYSTEM_PATHS = (
    *("/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run"),
    *("/sbin", "/sys", "/usr", "/var/lib", "/var/log", "/var/run"),
)
# Capabilities that the Pod Security level `baseline` lets containers add.
_BASELINE_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}


class ExtraConfigError(ValueError):
    """The text is not TOML with the table of one runner."""


def parse(text: str) -> dict[str, Any]:
    """Return the keys of the only `[[runners]]` table.

    Raises:
        ExtraConfigError: the text is not TOML, or contains anything except one `[[runners]]`.
    """
    try:
        parsed = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ExtraConfigError(f"must be TOML: {error}; correct the syntax") from None
    others = sorted(set(parsed) - {"runners"})
    runners = parsed.get("runners")
    is_list = isinstance(runners, list) and all(isinstance(entry, dict) for entry in runners)
    if others or not isinstance(runners, list) or not is_list or len(runners) != 1:
        count = len(runners) if isinstance(runners, list) else 0
        contents = f"found {', '.join(others)}" if others else f"found {count}"
        raise ExtraConfigError(
            f"must be exactly one [[runners]] table ({contents}); keep one table, and set global "
            "options by their arguments"
        )
    table: dict[str, Any] = runners[0]
    return table


def _refused(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Return the keys that the user must not set, each with the line that says why."""
    for key in table:
        path = prefix + key
        if path in _MANAGED:
            yield key, managed(path, _MANAGED[path])
        elif path in _FIXED:
            yield key, fixed(path, _FIXED[path])
        elif not prefix and key in _OTHER_EXECUTORS:
            yield key, f"{path}: is for executors other than 'kubernetes'; remove it"
        elif prefix and key in _CLUSTER_ACCESS:
            yield key, fixed(path, "jobs run in the runner's own cluster")
        elif prefix and key in _NEEDS_MORE_RIGHTS:
            rights = _NEEDS_MORE_RIGHTS[key]
            yield (
                key,
                f"{path}: needs a ClusterRole with {rights}, but the runner has rights only in "
                "the namespace of the jobs; remove it",
            )


def _secrets(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            place = f"{path}.{key}" if path else str(key)
            has_secret_name = is_secret_name(str(key).replace("_name", ""))
            is_ours = place in _OURS or place.startswith("kubernetes.") or path.endswith("items")
            if isinstance(item, str) and has_secret_name and not is_ours:
                yield (
                    f"{place}: must not be set here, because config.toml is plain text in the "
                    "cluster; use a Secret"
                )
            else:
                yield from _secrets(item, place)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _secrets(item, f"{path}[{n}]")
    elif isinstance(value, str) and has_secret(value):
        yield (
            f"{path}: must not contain a token or a password, because config.toml is plain text in "
            "the cluster; use a Secret"
        )


def _host_path(volume: Mapping[str, Any]) -> str:
    return str(volume.get("host_path") or volume.get("mount_path") or "")


def _is_system(path: str) -> bool:
    """Tell whether a path of the node is a system path, or above or below a system path."""
    if not path.startswith("/"):
        return True
    real = posixpath.normpath("/" + path.lstrip("/"))
    below = f"{real.rstrip('/')}/"
    return any(
        below.startswith(f"{place}/") or f"{place}/".startswith(below) for place in _SYSTEM_PATHS
    )


def _host_paths(kubernetes: Mapping[str, Any]) -> Iterator[str]:
    for n, volume in enumerate(kubernetes.get("volumes", {}).get("host_path", [])):
        path = _host_path(volume)
        if _is_system(path):
            yield (
                f"kubernetes.volumes.host_path[{n}]: must not be '{path}', because anyone who runs "
                "a job could control the node; use the shared Docker daemon, or a folder such as "
                "'/mnt/…'"
            )


def _open_daemons(kubernetes: Mapping[str, Any]) -> Iterator[str]:
    for n, service in enumerate(kubernetes.get("services", [])):
        words = [*service.get("command", []), *service.get("entrypoint", [])]
        environment = service.get("environment", [])
        is_open = any(
            re.search(r"\b2375\b|--tls(verify)?=(false|0)|tcp://[^:/\s]+(\s|$)", word)
            for word in words
        )
        if is_open or any(
            re.fullmatch(r"DOCKER_TLS_CERTDIR=[\s'\"]*", line) for line in environment
        ):
            yield (
                f"kubernetes.services[{n}]: must not be a Docker daemon without TLS, because "
                "anyone who reaches it is root in its container; remove the port 2375 and set "
                "DOCKER_TLS_CERTDIR=/certs"
            )


def check(text: str) -> list[str]:
    """Return every problem of the text, a line each."""
    if "{{" in text:
        return ["must not contain '{{': Helm would read it as a template; write the value itself"]
    try:
        table = parse(text)
    except ExtraConfigError as error:
        return [str(error)]
    refused = dict(_refused(table, ""))
    rest = {key: value for key, value in table.items() if key not in refused}
    lines = list(refused.values())
    kubernetes = rest.get("kubernetes")
    if isinstance(kubernetes, Mapping):
        refused = dict(_refused(kubernetes, "kubernetes."))
        lines += refused.values()
        kubernetes = {key: value for key, value in kubernetes.items() if key not in refused}
        rest["kubernetes"] = kubernetes
    lines += _secrets(table)
    wrong = problems(Runner, rest)
    if not wrong and kubernetes:
        wrong = [*_host_paths(kubernetes), *_open_daemons(kubernetes)]
    return [*lines, *wrong]


ExtraConfig = Annotated[str, rule(check)]


def _kubernetes(text: str | None) -> dict[str, Any]:
    table: dict[str, Any] = parse(text).get("kubernetes", {}) if text else {}
    return table


def is_posix_shell(table: Mapping[str, Any]) -> bool:
    """Tell whether jobs run in bash or sh, which the package's scripts need."""
    return (table.get("shell") or "bash") in {"bash", "sh"}


def has_posix_shell(text: str | None) -> bool:
    """Tell whether jobs run in bash or sh with this text of `extra_config`."""
    return is_posix_shell(parse(text) if text else {})


def has_autoscaler(text: str | None) -> bool:
    """Tell whether the executor manages pause pods."""
    return "autoscaler" in _kubernetes(text)


def overwrites(text: str | None) -> list[str]:
    """Return the keys that let a job choose its own labels, identity or nodes."""
    kubernetes = _kubernetes(text)
    names = (
        *("pod_labels", "service_account", "bearer_token", "namespace"),
        *("node_selector", "node_tolerations"),
    )
    return [
        f"{name}_overwrite_allowed" for name in names if kubernetes.get(f"{name}_overwrite_allowed")
    ]


def privileges(text: str | None) -> list[str]:
    """Return the keys that give jobs more than the Pod Security level `baseline` allows."""
    kubernetes = _kubernetes(text)
    keys = []
    for name, context in kubernetes.items():
        if not name.endswith("_security_context"):
            continue
        added = context.get("capabilities", {}).get("add", [])
        requests = {
            "privileged": context.get("privileged"),
            "capabilities.add": set(added) - _BASELINE_CAPABILITIES,
            "proc_mount": context.get("proc_mount", "").lower() == "unmasked",
        }
        for profile in ("seccomp_profile", "app_armor_profile"):
            requests[profile] = context.get(profile, {}).get("type") == "Unconfined"
        keys += [f"{name}.{key}" for key, is_requested in requests.items() if is_requested]
    if set(kubernetes.get("cap_add", [])) - _BASELINE_CAPABILITIES:
        keys.append("cap_add")
    if kubernetes.get("volumes", {}).get("host_path"):
        keys.append("volumes.host_path")
    # A patch can ask for anything.
    return [*keys, *(["pod_spec"] if kubernetes.get("pod_spec") else [])]
