"""Settings of monitoring."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from ..validation.base import Settings
from ..validation.rules.basic import Whole
from ..validation.rules.kubernetes import AnyNamespace, Labels


class MonitoringSettings(Settings):
    """Monitoring by the Prometheus operator and Grafana. Everything is off by default."""

    enable_pod_monitor: bool = False
    """Create PodMonitors, by which the Prometheus operator scrapes the runners, the Docker daemons
    and the in-cluster store. The store also needs its own `enable_metrics`."""
    enable_alert_rules: bool = False
    """Create alerts as a PrometheusRule. They need `enable_pod_monitor`."""
    enable_dashboard: bool = False
    """Create a dashboard, as a ConfigMap that Grafana's sidecar picks up."""
    labels: Labels = {}
    """Labels by which your Prometheus selects PodMonitors and PrometheusRules, such as `release:
    kube-prometheus-stack`."""
    interval_seconds: Annotated[Whole, Field(ge=5, le=120)] = 30
    """Seconds between two scrapes."""
    dashboard_namespace: AnyNamespace | None = None
    """Existing namespace for the dashboard's ConfigMap. Default: the runner's namespace."""
    prometheus_namespace: AnyNamespace = "monitoring"
    """Namespace of Prometheus. No other namespace may reach the metrics."""

    def _conflicts(self) -> Iterator[str]:
        if self.enable_alert_rules and not self.enable_pod_monitor:
            yield (
                "enable_alert_rules needs enable_pod_monitor, because without metrics every part "
                "would look as if it were down; set enable_pod_monitor to true"
            )
