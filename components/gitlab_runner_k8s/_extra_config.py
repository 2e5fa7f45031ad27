"""The part of config.toml that a user writes: what it may hold, and how it joins the rest."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

# The executor's keys (gitlab-runner 19, docs/configuration and docs/executors/kubernetes).
_RUNNER_KEYS = {
    *("limit", "strict_check_interval", "output_limit", "builds_dir", "cache_dir", "shell"),
    *("pre_get_sources_script", "post_get_sources_script", "pre_build_script"),
    *("post_build_script", "clone_url", "clean_git_config", "prepare_timeout"),
    *("get_sources_timeout", "unhealthy_requests_limit", "unhealthy_interval"),
    *("job_status_final_update_retry_limit", "debug_trace_disabled", "step_runner_image"),
    *("labels", "kubernetes"),
}
_ROLES = ("build", "helper", "service", "init_permissions")
_KINDS = ("cpu", "memory", "ephemeral_storage")
_KUBERNETES_KEYS = {
    *("allow_privilege_escalation", "cap_add", "cap_drop", "image_pull_secrets"),
    *("use_service_account_image_pull_secrets", "helper_image_flavor"),
    *("helper_image_autoset_arch_and_os", "affinity", "scheduler_name", "allowed_users"),
    *("allowed_groups", "poll_interval", "cleanup_grace_period_seconds"),
    *("pod_termination_grace_period_seconds", "cleanup_resources_timeout"),
    *("resource_availability_check_max_attempts", "retry_limit", "retry_backoff_max"),
    *("retry_limits", "print_pod_warning_events", "dns_policy", "dns_config", "host_aliases"),
    *("services", "pod_security_context", "container_lifecycle", "pod_spec", "logs_base_dir"),
    *("scripts_base_dir", "volumes", "namespace_overwrite_allowed"),
    *("service_account_overwrite_allowed", "pod_labels_overwrite_allowed"),
    *("pod_annotations_overwrite_allowed", "node_selector_overwrite_allowed"),
    *("node_tolerations_overwrite_allowed", "bearer_token_overwrite_allowed"),
    *(f"{role}_container_security_context" for role in _ROLES),
    *(
        f"{role}{kind}_{bound}_overwrite_max_allowed"
        for role in ("", "helper_", "service_", "pod_")
        for kind in _KINDS
        for bound in ("limit", "request")
    ),
    *(f"pod_{kind}_{bound}" for kind in _KINDS for bound in ("limit", "request")),
}
# What the package renders itself, and the argument that it comes from.
_MANAGED = {
    "name": "release_name",
    "url": "gitlab_url",
    "token": "runner_token",
    "executor": "nothing: it is 'kubernetes'",
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
    "kubernetes.automount_service_account_token": "nothing: jobs get no token of the cluster",
    **{
        f"kubernetes.{prefix}{kind}_{bound}": f"{role}_resources.{kind}_{bound}"
        for prefix, role in (("", "job"), ("helper_", "helper"), ("service_", "service"))
        for kind in _KINDS
        for bound in ("request", "limit")
    },
}
_CLUSTER_ACCESS = ("host", "context", "cert_file", "key_file", "ca_file", "bearer_token")
_NEEDS_MORE_RIGHTS = ("namespace_per_job", "autoscaler")
_SECRET_KEY = re.compile(
    r"token$|accesskey|secretkey|sessiontoken|privatekey|accountkey|password|credentialsfile",
    re.IGNORECASE,
)
_HOST_PATHS = re.compile(r"/|/var/run/docker\.sock|/run/docker\.sock|/run/containerd/.*|/proc.*")


class ExtraConfigError(ValueError):
    """The text is not a TOML table of one runner."""


def parse(text: str) -> dict[str, Any]:
    """Return the keys of the one `[[runners]]` table.

    Raises:
        ExtraConfigError: the text is not TOML, or holds anything but one `[[runners]]`.
    """
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ExtraConfigError(f"must be TOML: {error}; correct the syntax") from None
    others = sorted(set(parsed) - {"runners"})
    runners = parsed.get("runners")
    if others or not isinstance(runners, list) or len(runners) != 1:
        found = f"found {', '.join(others)}" if others else f"found {len(runners or [])} of it"
        raise ExtraConfigError(
            f"must be exactly one [[runners]] table ({found}); the chart's template takes one, "
            "global options are arguments of their own"
        )
    table: dict[str, Any] = runners[0]
    return table


def _unknown(path: str, key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), n=1)
    fix = f"did you mean '{near[0]}'?" if near else "see the executor's documentation"
    return f"{path}{key}: unknown key; {fix}"


def _level(table: Mapping[str, Any], prefix: str, known: set[str]) -> Iterator[str]:
    for key in table:
        path = prefix + key
        if path in _MANAGED:
            yield f"{path}: is made by this package; remove it and use {_MANAGED[path]}"
        elif prefix and key in _CLUSTER_ACCESS:
            yield f"{path}: is not for this: jobs run in the runner's own cluster; remove it"
        elif prefix and key in _NEEDS_MORE_RIGHTS:
            yield f"{path}: needs rights on the whole cluster, which the runner has not; remove it"
        elif key not in known:
            yield _unknown(prefix, key, known)


def _secrets(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            place = f"{path}.{key}" if path else str(key)
            if _SECRET_KEY.search(str(key)) and isinstance(item, str) and place not in _MANAGED:
                yield (
                    f"{place}: must not be here: config.toml is plain text in the cluster; "
                    "use a Secret"
                )
            yield from _secrets(item, place)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _secrets(item, f"{path}[{n}]")


def check(text: str) -> list[str]:
    """Return everything that is wrong with the text, a line each; an empty list is right."""
    if "{{" in text:
        return ["must not contain '{{': Helm would read it as a template; write the value itself"]
    try:
        table = parse(text)
    except ExtraConfigError as error:
        return [str(error)]
    problems = list(_level(table, "", _RUNNER_KEYS))
    kubernetes = table.get("kubernetes", {})
    if not isinstance(kubernetes, Mapping):
        return [*problems, "kubernetes: must be a table; write [runners.kubernetes]"]
    problems += _level(kubernetes, "kubernetes.", _KUBERNETES_KEYS)
    problems += _secrets(table)
    volumes = kubernetes.get("volumes", {})
    for n, volume in enumerate(volumes.get("host_path", []) if isinstance(volumes, dict) else []):
        path = str(volume.get("host_path") or volume.get("mount_path") or "")
        if _HOST_PATHS.fullmatch(path):
            problems.append(
                f"kubernetes.volumes.host_path[{n}]: must not be '{path}': whoever runs a job "
                "would own the node; use the shared docker daemon"
            )
    return problems


def overwrites(text: str) -> list[str]:
    """Return the keys that let a job choose its own labels or identity."""
    kubernetes = parse(text).get("kubernetes", {})
    names = ("pod_labels", "service_account", "bearer_token", "namespace")
    return [
        f"{name}_overwrite_allowed" for name in names if kubernetes.get(f"{name}_overwrite_allowed")
    ]


def merge(rendered: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables as one: tables are joined, lists are appended, the rest is `extra`'s."""
    merged = dict(rendered)
    for key, value in extra.items():
        mine = merged.get(key)
        if isinstance(mine, dict) and isinstance(value, Mapping):
            merged[key] = merge(mine, value)
        elif isinstance(mine, list) and isinstance(value, list):
            merged[key] = [*mine, *value]
        else:
            merged[key] = value
    return merged
