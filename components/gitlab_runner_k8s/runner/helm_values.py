"""The Helm values of the runner's chart.

A value that is not known yet stays an Output in them.
"""

import math
from collections.abc import Mapping
from typing import Any

import pulumi

from ..kubernetes import nodes
from ..outputs import lift
from ..validation.rules.images import Image
from .config_toml import escape_template
from .extra_config import has_autoscaler
from .settings import GitLabRunnerSettings

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

They include permissions for features that a job can enable by a variable: FF_PRINT_POD_EVENTS
watches events. The list is never empty, because the chart reads an empty list as every verb on
every core resource."""

DISRUPTION_BUDGET_RULE = {
    "apiGroups": ["policy"],
    "resources": ["poddisruptionbudgets"],
    "verbs": ["create", "get"],
}
"""Further permission of the executor, to protect its jobs' pods from eviction."""

AUTOSCALER_RULE = {
    "apiGroups": ["apps"],
    "resources": ["deployments"],
    "verbs": ["create", "delete", "get", "list", "update"],
}
"""Further permission of the executor, to keep room for jobs with pause pods."""

PRIORITY_CLASS_RULE = {
    "apiGroups": ["scheduling.k8s.io"],
    "resources": ["priorityclasses"],
    "verbs": ["create", "get"],
}
"""Permission of the executor for the PriorityClass of pause pods, which has no namespace."""


def _image(reference: str) -> dict[str, str]:
    image = Image(reference)
    # The chart joins the three with "/" and ":", so the tag must contain the digest.
    return {
        "registry": image.registry,
        "image": image.repository,
        "tag": f"{image.tag}@{image.digest}",
    }


def _escaped(texts: Mapping[str, pulumi.Input[str]]) -> dict[str, pulumi.Input[str]]:
    """Escape texts for the chart's `tpl`."""
    return {key: lift(escape_template, text) for key, text in texts.items()}


def helm_values(
    settings: GitLabRunnerSettings,
    release_name: str,
    *,
    config_toml: pulumi.Input[str],
    token_secret_name: pulumi.Input[str],
    secrets_checksum: pulumi.Input[str] | None,
) -> dict[str, Any]:
    """Return the Helm values. They contain no secrets, only names of Secrets.

    Args:
        settings: Settings of the runner.
        release_name: Name of the release, the Deployment and the ServiceAccount.
        config_toml: The config.toml template.
        token_secret_name: Secret with the runner's token.
        secrets_checksum: Digest of the secrets that the runner reads. A change restarts its pod.
    """
    runners: dict[str, Any] = {
        "executor": "kubernetes",
        "jobNamespace": settings.job_namespace,
        "secret": token_secret_name,
        "config": lift(escape_template, config_toml),
    }
    if settings.cache and settings.cache.credentials_secret_name is not None:
        runners["cache"] = {"secretName": settings.cache.credentials_secret_name}
    optional: dict[str, Any] = {
        "tolerations": settings.manager_tolerations or None,
        **nodes.affinity(settings.manager_excluded_nodes),
        "priorityClassName": settings.manager_priority_class_name,
        "podLabels": _escaped(settings.manager_pod_labels) or None,
        "certsSecretName": settings.gitlab_ca_secret_name,
        # GitLab stores the tags that select jobs. The annotation is for people to read.
        "deploymentAnnotations": (
            {"gitlab-runner-k8s/tags": ",".join(settings.tags)} if settings.tags else None
        ),
    }
    rules = [
        *RBAC_RULES,
        *([DISRUPTION_BUDGET_RULE] if settings.enable_job_disruption_budget else []),
        *([AUTOSCALER_RULE] if has_autoscaler(settings.extra_config) else []),
    ]
    return {
        "fullnameOverride": release_name,
        "image": _image(settings.image),
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        "gitlabUrl": settings.gitlab_url,
        "concurrent": settings.concurrent,
        "checkInterval": settings.check_interval_seconds,
        "logLevel": settings.log_level,
        "terminationGracePeriodSeconds": settings.maximum_job_timeout_seconds,
        # The chart's hook would unregister the manager before its jobs have ended.
        "unregisterRunners": False,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        # The probe fails while GitLab is unreachable. A restart would only make that worse.
        "livenessProbe": {
            "periodSeconds": PROBE_PERIOD_SECONDS,
            "failureThreshold": math.ceil(
                settings.gitlab_outage_tolerance_minutes * 60 / PROBE_PERIOD_SECONDS
            ),
        },
        # By default, the chart waits a minute before the first probe.
        "readinessProbe": {"initialDelaySeconds": 2, "periodSeconds": 10},
        "rbac": {"create": True, "rules": rules, "clusterWideAccess": False},
        "serviceAccount": {
            "create": True,
            "name": release_name,
            "annotations": _escaped(settings.service_account_annotations),
        },
        "podAnnotations": (
            {"checksum/external-secrets": secrets_checksum} if secrets_checksum is not None else {}
        ),
        "metrics": {"enabled": settings.enable_metrics},
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
        "resources": settings.manager_resources.kubernetes(),
        "nodeSelector": settings.manager_node_selector,
        # The root file system is read-only.
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "runners": runners,
        **{key: value for key, value in optional.items() if value is not None},
    }
