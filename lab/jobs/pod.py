"""The job's pod, made of `[runners.kubernetes]` as the executor makes it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gitlab_runner_k8s._validation import camel

from lab.jobs.model import Job, Service, Variable

BUILD, HELPER = "build", "helper"

_PULL_POLICIES = {"always": "Always", "if-not-present": "IfNotPresent", "never": "Never"}
_DNS_POLICIES = {
    "none": "None",
    "default": "Default",
    "cluster-first": "ClusterFirst",
    "cluster-first-with-host-net": "ClusterFirstWithHostNet",
}
# Starts nothing, and ends at once when the pod is deleted.
_IDLE = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"]

_ACTED_ON = {
    *("image", "namespace", "privileged", "allow_privilege_escalation", "cap_add", "cap_drop"),
    *("pull_policy", "image_pull_secrets", "helper_image", "node_selector", "node_tolerations"),
    *("affinity", "runtime_class_name", "scheduler_name", "priority_class_name"),
    *("service_account", "automount_service_account_token", "pod_annotations", "pod_labels"),
    *("poll_timeout", "dns_policy", "dns_config", "host_aliases", "services", "volumes"),
    *("pod_security_context", "cleanup_grace_period_seconds", "print_pod_warning_events"),
    "pod_termination_grace_period_seconds",
    *(f"{role}_container_security_context" for role in (BUILD, HELPER, "service")),
    "init_permissions_container_security_context",
    *(
        f"{role}{kind}_{bound}"
        for role in ("", "helper_", "service_")
        for kind in ("cpu", "memory", "ephemeral_storage")
        for bound in ("limit", "request")
    ),
}


def not_acted_on(table: Mapping[str, Any]) -> list[str]:
    """Return the keys of `[runners.kubernetes]` that the stand-in does nothing about."""
    return sorted(key for key, value in table.items() if key not in _ACTED_ON and value)


def _camel_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {camel(key): _camel_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_camel_keys(item) for item in value]
    return value


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value not in (None, "", [], {})}


def _resources(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, dict[str, str]] = {}
    for kind in ("cpu", "memory", "ephemeral_storage"):
        for bound in ("request", "limit"):
            if value := table.get(f"{prefix}{kind}_{bound}"):
                found.setdefault(f"{bound}s", {})[kind.replace("_", "-")] = value
    return found


def _profiles(own: Mapping[str, Any]) -> dict[str, Any]:
    return _given(
        seccompProfile=_camel_keys(own.get("seccomp_profile")),
        appArmorProfile=_camel_keys(own.get("app_armor_profile")),
        seLinuxOptions=_given(type=own.get("selinux_type")),
    )


def _container_security(table: Mapping[str, Any], role: str) -> dict[str, Any]:
    own = table.get(f"{role}_container_security_context") or {}
    capabilities = own.get("capabilities") or {
        "add": table.get("cap_add", []),
        # The executor's own default.
        "drop": sorted({"NET_RAW", *table.get("cap_drop", [])} - set(table.get("cap_add", []))),
    }
    escalation = own.get("allow_privilege_escalation", table.get("allow_privilege_escalation"))
    return _given(
        privileged=own.get("privileged", table.get("privileged")),
        allowPrivilegeEscalation=escalation,
        capabilities=_given(**capabilities),
        runAsUser=own.get("run_as_user"),
        runAsGroup=own.get("run_as_group"),
        runAsNonRoot=own.get("run_as_non_root"),
        readOnlyRootFilesystem=own.get("read_only_root_filesystem"),
        procMount=own.get("proc_mount"),
        **_profiles(own),
    )


def _pod_security(table: Mapping[str, Any]) -> dict[str, Any]:
    own = table.get("pod_security_context") or {}
    names = ("fs_group", "run_as_group", "run_as_user", "run_as_non_root", "supplemental_groups")
    return _given(**{camel(name): own.get(name) for name in names}, **_profiles(own))


def _items(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"key": key, "path": path} for key, path in (entry.get("items") or {}).items()]


def _source(kind: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    name = entry["name"]
    if kind == "secret":
        return {"secret": _given(secretName=name, items=_items(entry))}
    if kind == "config_map":
        return {"configMap": _given(name=name, items=_items(entry))}
    if kind == "pvc":
        return {"persistentVolumeClaim": {"claimName": name}}
    if kind == "empty_dir":
        return {"emptyDir": _given(medium=entry.get("medium"), sizeLimit=entry.get("size_limit"))}
    if kind == "host_path":
        return {"hostPath": {"path": entry.get("host_path") or entry["mount_path"]}}
    if kind == "nfs":
        return {
            "nfs": _given(
                server=entry["server"], path=entry["path"], readOnly=entry.get("read_only")
            )
        }
    if kind == "csi":
        return {
            "csi": _given(
                driver=entry["driver"],
                fsType=entry.get("fs_type"),
                readOnly=entry.get("read_only"),
                volumeAttributes=entry.get("volume_attributes"),
            )
        }
    raise ValueError(f"config.toml has volumes of a kind that there is not: {kind}")


def _configured_volumes(
    table: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the volumes of config.toml and their mounts, which every container gets."""
    volumes: dict[str, dict[str, Any]] = {}
    mounts = []
    for kind, entries in (table.get("volumes") or {}).items():
        for entry in entries:
            # A name is that of the Secret, claim and so on; it may be mounted more than once.
            name = entry["name"].replace(".", "-")
            volumes[name] = {"name": name, **_source(kind, entry)}
            mounts.append(
                _given(
                    name=name,
                    mountPath=entry["mount_path"],
                    subPath=entry.get("sub_path"),
                    readOnly=entry.get("read_only"),
                    mountPropagation=entry.get("mount_propagation"),
                )
            )
    return list(volumes.values()), mounts


def _tolerations(table: Mapping[str, Any]) -> list[dict[str, str]]:
    tolerations = []
    for taint, effect in (table.get("node_tolerations") or {}).items():
        key, equals, value = taint.partition("=")
        operator = {"operator": "Equal", "value": value} if equals else {"operator": "Exists"}
        tolerations.append(_given(key=key, effect=effect, **operator))
    return tolerations


def aliases(service: Service) -> list[str]:
    """Return the host names of a service: its alias, and the one made of its image's name."""
    image = re.sub(r":[^:/]*$", "", service.name.partition("@")[0])
    names = dict.fromkeys([service.alias, image.replace("/", "-")])
    # Not every name of an image is one of a host.
    return [name for name in names if re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name)]


def services(table: Mapping[str, Any], job: Job) -> list[Service]:
    """Return the services of every job of the runner, then the job's own."""
    configured = [
        Service(
            entry["name"],
            entry.get("alias", ""),
            tuple(entry.get("entrypoint", ())),
            tuple(entry.get("command", ())),
            tuple(Variable(*line.partition("=")[::2]) for line in entry.get("environment", [])),
        )
        for entry in table.get("services") or []
    ]
    return [*configured, *job.services]


def _environment(variables: Iterable[Variable]) -> list[dict[str, str]]:
    # What is secret comes by the scripts: a pod's spec can be read by many.
    return [
        {"name": variable.key, "value": variable.value}
        for variable in variables
        if variable.public and not variable.masked and not variable.file
    ]


def manifest(
    runner: Mapping[str, Any],
    job: Job,
    variables: list[Variable],
    name: str,
) -> dict[str, Any]:
    """Return the pod of a job.

    Args:
        runner: The runner's effective configuration.
        job: The job.
        variables: All of the job's variables.
        name: Name of the pod and of the Secret with its scripts.
    """
    table = runner["kubernetes"]
    builds = runner.get("builds_dir") or "/builds"
    volumes, mounts = _configured_volumes(table)
    own: dict[str, tuple[str, dict[str, Any]]] = {
        "repo": (builds, {"emptyDir": {}}),
        "scripts": (scripts_directory(job), {"secret": {"secretName": name}}),
        "logs": (f"/logs-{job.project_id}-{job.id}", {"emptyDir": {}}),
    }
    for volume, (path, source) in own.items():
        # A volume of config.toml takes the place of the executor's own.
        if all(mount["mountPath"] != path for mount in mounts):
            volumes.append({"name": volume, **source})
            mounts.append({"name": volume, "mountPath": path})
    policies = table.get("pull_policy") or []
    policy = policies if isinstance(policies, str) else next(iter(policies), None)
    environment = _environment(variables)

    def container(title: str, role: str, image: str, **more: Any) -> dict[str, Any]:
        prefix = "" if role == BUILD else f"{role}_"
        return {
            "name": title,
            "image": image,
            "env": environment,
            "volumeMounts": mounts,
            **_given(
                imagePullPolicy=_PULL_POLICIES[policy] if policy else None,
                resources=_resources(table, prefix),
                securityContext=_container_security(table, role),
                **more,
            ),
        }

    # A helper that config.toml does not name is upstream's own, which the lab does not have.
    helper = table.get("helper_image") or table["image"]
    containers = [
        container(BUILD, BUILD, job.image or table["image"], command=_IDLE),
        container(HELPER, HELPER, helper, command=_IDLE),
    ]
    beside = services(table, job)
    for number, service in enumerate(beside):
        made = container(
            f"svc-{number}",
            "service",
            service.name,
            command=list(service.entrypoint),
            args=list(service.command),
        )
        made["env"] = [*environment, *_environment(service.variables)]
        containers.append(made)
    log = f"/logs-{job.project_id}-{job.id}/output.log"
    writable = f"touch {log} && (chmod 0777 {log} || exit 0)"
    permissions = container("init-permissions", HELPER, helper, command=["/bin/sh", "-c", writable])
    security = _container_security(table, "init_permissions")
    if table.get("init_permissions_container_security_context"):
        permissions["securityContext"] = security
    hosts = [
        *({"ip": "127.0.0.1", "hostnames": names} for names in map(aliases, beside) if names),
        *table.get("host_aliases", []),
    ]
    secrets = [{"name": secret} for secret in table.get("image_pull_secrets", [])]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": table["namespace"],
            "labels": {"job.runner.gitlab.com/pod": name, **table.get("pod_labels", {})},
            "annotations": {
                "job.runner.gitlab.com/id": str(job.id),
                "job.runner.gitlab.com/name": job.name,
                "job.runner.gitlab.com/sha": job.git.sha,
                "project.runner.gitlab.com/id": str(job.project_id),
                **table.get("pod_annotations", {}),
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": job.timeout_seconds + 1,
            "initContainers": [permissions],
            "containers": containers,
            "volumes": volumes,
            **_given(
                serviceAccountName=table.get("service_account"),
                automountServiceAccountToken=table.get("automount_service_account_token"),
                nodeSelector=table.get("node_selector"),
                tolerations=_tolerations(table),
                affinity=_camel_keys(table.get("affinity")),
                runtimeClassName=table.get("runtime_class_name"),
                schedulerName=table.get("scheduler_name"),
                priorityClassName=table.get("priority_class_name"),
                terminationGracePeriodSeconds=table.get("pod_termination_grace_period_seconds"),
                dnsPolicy=_DNS_POLICIES[table["dns_policy"]] if table.get("dns_policy") else None,
                dnsConfig=table.get("dns_config"),
                hostAliases=hosts,
                imagePullSecrets=secrets,
                securityContext=_pod_security(table),
            ),
        },
    }


def scripts_directory(job: Job) -> str:
    """Return where the job's scripts are mounted."""
    return f"/scripts-{job.project_id}-{job.id}"
