"""The runner chart's Helm values: pure functions from plain values to a dictionary."""

import math
from dataclasses import dataclass, field
from typing import Any

from ._config_toml import escape_template
from ._validation import Image

PROBE_PERIOD_SECONDS = 60

RBAC_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": [resource], "verbs": verbs}
    for resource, verbs in {
        "pods": ["create", "delete", "get", "list", "watch"],
        "pods/attach": ["create", "delete", "get", "patch"],
        "pods/exec": ["create", "delete", "get", "patch"],
        "pods/log": ["get", "list"],
        "secrets": ["create", "delete", "get", "update"],
        "services": ["create", "get"],
        "serviceaccounts": ["get"],
        "events": ["list", "watch"],
    }.items()
]
"""Permissions of the Kubernetes executor, from GitLab's table of API permissions.

They include what a job can ask for by a variable: FF_PRINT_POD_EVENTS watches events. The list is
never empty: the chart reads an empty list as every verb on every core resource."""

DISRUPTION_BUDGET_RULE = {
    "apiGroups": ["policy"],
    "resources": ["poddisruptionbudgets"],
    "verbs": ["create", "get"],
}
"""What the executor needs beside it to protect its jobs' pods from eviction."""

AUTOSCALER_RULE = {
    "apiGroups": ["apps"],
    "resources": ["deployments"],
    "verbs": ["create", "delete", "get", "list", "update"],
}
"""What the executor needs beside it to keep room for jobs by pause pods."""

PRIORITY_CLASS_RULE = {
    "apiGroups": ["scheduling.k8s.io"],
    "resources": ["priorityclasses"],
    "verbs": ["create", "get"],
}
"""What it needs for their PriorityClass, which belongs to no namespace."""


@dataclass(frozen=True)
class ChartConfig:
    """What the values of one release are made of; sizes are Kubernetes quantities."""

    gitlab_url: str
    job_namespace: str
    concurrent: int
    config_toml: str
    token_secret_name: str
    image: str
    service_account_name: str
    cache_secret_name: str | None = None
    secrets_checksum: str | None = None
    service_account_annotations: dict[str, str] = field(default_factory=dict)
    log_level: str = "info"
    check_interval_seconds: int = 3
    termination_grace_period_seconds: int = 3600
    outage_tolerance_minutes: int = 30
    enable_metrics: bool = True
    manager_resources: dict[str, Any] = field(default_factory=dict)
    node_selector: dict[str, str] = field(default_factory=dict)
    image_pull_secrets: list[str] = field(default_factory=list)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    priority_class_name: str | None = None
    pod_labels: dict[str, str] = field(default_factory=dict)
    ca_secret_name: str | None = None
    tags: list[str] = field(default_factory=list)
    enable_job_disruption_budget: bool = False
    enable_autoscaler: bool = False


def _image(reference: str) -> dict[str, str]:
    image = Image(reference)
    # The chart joins the three with "/" and ":": the digest travels in the tag.
    return {
        "registry": image.registry,
        "image": image.repository,
        "tag": f"{image.tag}@{image.digest}",
    }


def _escaped(texts: dict[str, str]) -> dict[str, str]:
    """Return texts that the chart's `tpl` gives back as they are."""
    return {key: escape_template(text) for key, text in texts.items()}


def values(chart: ChartConfig) -> dict[str, Any]:
    """Return the Helm values. No secret is among them, only names of Secrets."""
    runners: dict[str, Any] = {
        "executor": "kubernetes",
        "jobNamespace": chart.job_namespace,
        "secret": chart.token_secret_name,
        "config": escape_template(chart.config_toml),
    }
    if chart.cache_secret_name:
        runners["cache"] = {"secretName": chart.cache_secret_name}
    optional: dict[str, Any] = {
        "tolerations": chart.tolerations,
        "priorityClassName": chart.priority_class_name,
        "podLabels": _escaped(chart.pod_labels),
        "certsSecretName": chart.ca_secret_name,
        # GitLab holds a runner's tags; here they are for people.
        "deploymentAnnotations": {"gitlab-runner-k8s/tags": ",".join(chart.tags)}
        if chart.tags
        else None,
    }
    rules = [
        *RBAC_RULES,
        *([DISRUPTION_BUDGET_RULE] if chart.enable_job_disruption_budget else []),
        *([AUTOSCALER_RULE] if chart.enable_autoscaler else []),
    ]
    return {
        "fullnameOverride": chart.service_account_name,
        "image": _image(chart.image),
        "imagePullSecrets": [{"name": name} for name in chart.image_pull_secrets],
        "gitlabUrl": chart.gitlab_url,
        "concurrent": chart.concurrent,
        "checkInterval": chart.check_interval_seconds,
        "logLevel": chart.log_level,
        "terminationGracePeriodSeconds": chart.termination_grace_period_seconds,
        # The chart's hook would unregister the manager before its jobs have ended.
        "unregisterRunners": False,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        # The probe fails while GitLab cannot be reached; a restart would only make that worse.
        "livenessProbe": {
            "periodSeconds": PROBE_PERIOD_SECONDS,
            "failureThreshold": math.ceil(
                chart.outage_tolerance_minutes * 60 / PROBE_PERIOD_SECONDS
            ),
        },
        # The chart's default is to wait a minute before it looks for the first time.
        "readinessProbe": {"initialDelaySeconds": 2, "periodSeconds": 10},
        "rbac": {"create": True, "rules": rules, "clusterWideAccess": False},
        "serviceAccount": {
            "create": True,
            "name": chart.service_account_name,
            "annotations": _escaped(chart.service_account_annotations),
        },
        "podAnnotations": (
            {"checksum/external-secrets": chart.secrets_checksum} if chart.secrets_checksum else {}
        ),
        "metrics": {"enabled": chart.enable_metrics},
        "podSecurityContext": {
            "runAsUser": 100,
            "runAsNonRoot": True,
            "fsGroup": 65533,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": chart.manager_resources,
        "nodeSelector": chart.node_selector,
        # The root file system is read-only.
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "runners": runners,
        **{key: value for key, value in optional.items() if value},
    }
