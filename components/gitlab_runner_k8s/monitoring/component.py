"""Monitoring with the Prometheus operator and Grafana.

Nothing is declared by default, because the kinds PodMonitor and PrometheusRule exist only where the
Prometheus operator is installed.
"""

import json
from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as k8s

from ..kubernetes import workloads
from ..outputs import lift
from .alerts import alert_rules, with_expiry
from .dashboard import dashboard
from .settings import MonitoringSettings
from .targets import Target, Workload, pod_monitor

API_VERSION = "monitoring.coreos.com/v1"


def declare(
    name: str,
    namespace: pulumi.Input[str],
    settings: MonitoringSettings,
    targets: Sequence[Target],
    volume_namespaces: Sequence[str] = (),
    watched: Sequence[Workload] = (),
    *,
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """Declare the PodMonitors, alerts and dashboard that the settings enable.

    Args:
        name: Prefix of the names of all resources and objects.
        namespace: Namespace of the alerts, and of the dashboard unless the settings name another.
            Each PodMonitor is in the namespace of its pods.
        settings: Settings of monitoring.
        targets: Pods that serve metrics.
        volume_namespaces: Namespaces whose volumes the alerts and the dashboard watch.
        watched: StatefulSets that the alerts watch by Kubernetes' own metrics.
        opts: Options of every resource.
    """
    labels = workloads.labels("monitoring", name) | settings.labels
    resources: list[pulumi.Resource] = []
    if settings.enable_pod_monitor:
        resources += [
            k8s.apiextensions.CustomResource(
                f"{name}-{target.name}-monitor",
                api_version=API_VERSION,
                kind="PodMonitor",
                metadata={
                    "name": target.monitor_name(name),
                    "namespace": target.namespace,
                    "labels": labels,
                },
                spec=pod_monitor(target, settings.interval_seconds),
                opts=opts,
            )
            for target in targets
        ]
    if settings.enable_alert_rules:
        resources.append(
            k8s.apiextensions.CustomResource(
                f"{name}-alerts",
                api_version=API_VERSION,
                kind="PrometheusRule",
                metadata={"name": f"{name}-alerts", "namespace": namespace, "labels": labels},
                spec=lift(
                    lambda ends: alert_rules(
                        name, targets, volume_namespaces, with_expiry(watched, ends)
                    ),
                    [workload.certificate_expires for workload in watched],
                ),
                opts=opts,
            )
        )
    if settings.enable_dashboard:
        text = json.dumps(dashboard(name, targets, volume_namespaces), sort_keys=True, indent=2)
        resources.append(
            k8s.core.v1.ConfigMap(
                f"{name}-dashboard",
                metadata={
                    "name": f"{name}-dashboard",
                    "namespace": settings.dashboard_namespace or namespace,
                    "labels": workloads.labels("monitoring", name) | {"grafana_dashboard": "1"},
                },
                data={f"{name}-gitlab-runner.json": text},
                opts=opts,
            )
        )
    return resources
