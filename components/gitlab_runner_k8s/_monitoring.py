"""Monitoring with the Prometheus operator and Grafana: what to scrape, alerts and a dashboard.

Pure functions return the objects; `declare` registers them. Nothing here is on by default: the
kinds exist only where the Prometheus operator is installed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from . import _kubernetes as kube
from ._inputs import sha256
from ._specs import MonitoringSpec

API_VERSION = "monitoring.coreos.com/v1"
MINIO_METRICS_PATH = "/minio/v2/metrics/cluster"
VOLUME_FULL_PERCENT = 85
QUEUE_SECONDS = 120
"""GitLab's own promise for its hosted runners: 90 % of jobs start within two minutes."""

Object = dict[str, Any]


class MonitoringArgs(TypedDict):
    """Monitoring by the Prometheus operator and Grafana. All of it is off by default."""

    enable_pod_monitor: NotRequired[bool]
    """Let the Prometheus operator scrape the runner, the store and the daemon (PodMonitor).
    Default: not scraped."""
    enable_alert_rules: NotRequired[bool]
    """Declare alerts (PrometheusRule); needs `enable_pod_monitor`. Default: none."""
    enable_dashboard: NotRequired[bool]
    """Declare a dashboard, as a ConfigMap that Grafana's sidecar picks up. Default: none."""
    labels: NotRequired[dict[str, str]]
    """Labels by which your Prometheus selects PodMonitors and PrometheusRules, such as
    `release: kube-prometheus-stack`. Default: none."""
    interval_seconds: NotRequired[int]
    """Seconds between two scrapes, from 5 to 120. Default: 30."""
    dashboard_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the dashboard's ConfigMap. Default: the runner's."""
    prometheus_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of Prometheus, which alone may reach the metrics. Default: monitoring."""


@dataclass(frozen=True)
class Target:
    """Pods that serve metrics."""

    role: Literal["runner", "store", "docker"]
    name: str
    """What the PodMonitor is called after the platform's name; unique among the targets."""
    namespace: str
    pod_labels: Mapping[str, str]
    port: str
    """Name of the container's port."""
    path: str = "/metrics"
    bearer_secret: tuple[pulumi.Input[str], str] | None = None
    """Secret and key of a bearer token, in the target's namespace."""
    tls_config: Mapping[str, Any] | None = None
    """Scrape by HTTPS, with these settings of the operator (`ca`, `serverName`)."""
    replicas: int = 1
    """How many pods there are to be."""

    def monitor_name(self, name: str) -> str:
        """Return the name of the target's PodMonitor."""
        return f"{name}-{self.name}"

    def job(self, name: str) -> str:
        """Return the label `job` that the operator gives all metrics of the target."""
        return f"{self.namespace}/{self.monitor_name(name)}"


def runner_target(namespace: str, release_name: str, name: str = "runner") -> Target:
    """Return the target of a runner's release; every pod of the chart has its label."""
    return Target("runner", name, namespace, {"release": release_name}, "metrics")


def pod_monitor(target: Target, interval_seconds: int) -> Object:
    """Return the spec of a target's PodMonitor."""
    endpoint: Object = {
        "port": target.port,
        "path": target.path,
        "interval": f"{interval_seconds}s",
    }
    if target.bearer_secret:
        secret, key = target.bearer_secret
        endpoint["authorization"] = {"credentials": {"name": secret, "key": key}}
    if target.tls_config is not None:
        endpoint |= {"scheme": "https", "tlsConfig": dict(target.tls_config)}
    return {
        "selector": {"matchLabels": dict(target.pod_labels)},
        "podMetricsEndpoints": [endpoint],
    }


def _alert(
    alert: str,
    expr: str,
    severity: Literal["critical", "warning", "info"],
    minutes: int,
    summary: str,
    fix: str,
) -> Object:
    return {
        "alert": alert,
        "expr": expr,
        "for": f"{minutes}m",
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": fix},
    }


def _down(alert: str, job: str, summary: str, fix: str, *, replicas: int = 1) -> Object:
    # A pod that does not run is no target: `up == 0` alone would stay silent.
    expr = f'absent(up{{job="{job}"}} == 1)'
    if replicas > 1:
        expr = f'(count(count by (pod) (up{{job="{job}"}} == 1)) or vector(0)) < {replicas}'
    return _alert(alert, expr, "critical", 5, summary, fix)


def _runner_alerts(job: str, namespace: str) -> list[Object]:
    by = "by (namespace, pod)"
    api = f'gitlab_runner_api_request_statuses_total{{job="{job}"'
    answered = f'sum {by} (increase({api}, status=~"2.."}}[10m])) > 0'
    failed = f'sum {by} (rate({api}, status=~"5.."}}[10m]))'
    running = f'sum {by} (gitlab_runner_jobs{{job="{job}"}})'
    allowed = f'max {by} (gitlab_runner_concurrent{{job="{job}"}})'
    queued = f'gitlab_runner_job_queue_duration_seconds_bucket{{job="{job}"}}'
    system = f'gitlab_runner_failed_jobs_total{{job="{job}", failure_reason="runner_system_failure"'
    logs = f"kubectl -n {namespace} logs {{{{ $labels.pod }}}}"
    return [
        _down(
            "GitLabRunnerDown",
            job,
            f"No runner of {job} is running",
            f"Jobs wait. See why its pod does not start: kubectl -n {namespace} describe pods; "
            "after a change of the token or of GitLab's address, see the pod's log.",
        ),
        _alert(
            "GitLabRunnerCannotReachGitLab",
            # A refused connection is counted nowhere, so look for the answers that are missing.
            f'max {by} (up{{job="{job}"}}) == 1 unless {answered}',
            "critical",
            5,
            "{{ $labels.pod }} has had no good answer of GitLab for 10 minutes",
            "New jobs do not start. Either GitLab, DNS or the network in between is down, or "
            f"GitLab refuses the token: {logs} says which. A refused token (401, 403) needs a new "
            "one: make a runner in GitLab and set runnerToken.",
        ),
        _alert(
            "GitLabRunnerApiErrors",
            f"{failed} / sum {by} (rate({api}}}[10m])) > 0.1",
            "warning",
            10,
            "GitLab answers {{ $value | humanizePercentage }} of the requests of "
            "{{ $labels.pod }} with an error",
            "The runner tries again, jobs start late and logs arrive late. The cause is in GitLab: "
            "look at its own status and logs.",
        ),
        _alert(
            "GitLabRunnerConcurrencyReached",
            f"{running} >= {allowed}",
            "info",
            15,
            "{{ $labels.pod }} runs as many jobs as it may ({{ $value }})",
            "Further jobs wait in GitLab. Raise `concurrent` of the runner if the cluster has room "
            "for more pods, or add a fleet.",
        ),
        _alert(
            "GitLabRunnerJobQueueSlow",
            f"histogram_quantile(0.9, sum by (namespace, pod, le) (rate({queued}[15m]))) "
            f"> {QUEUE_SECONDS}",
            "warning",
            15,
            "One job in ten waited {{ $value | humanizeDuration }} or longer for {{ $labels.pod }}",
            "Raise `concurrent` where it is reached, else `request_concurrency`; projects may also "
            "have more jobs with these tags than any one runner takes.",
        ),
        _alert(
            "GitLabRunnerSystemFailures",
            f"sum {by} (increase({system}}}[15m])) >= 3",
            "warning",
            0,
            "{{ $value | humanize }} jobs of {{ $labels.pod }} failed in 15 minutes for reasons of "
            "the runner's own",
            "Not the jobs' fault: pods that cannot be scheduled, images that cannot be pulled, a "
            f"quota, or a permission that is missing. {logs} names it.",
        ),
    ]


def _store_alerts(job: str, namespace: str) -> list[Object]:
    minio = f'minio_s3_requests_5xx_errors_total{{job="{job}"}}'
    seaweedfs = f'SeaweedFS_s3_request_total{{job="{job}",code=~"5.."}}'
    return [
        _down(
            "CacheStoreDown",
            job,
            f"The cache's store {job} is down",
            "Jobs run on, slower: a cache that cannot be read or written is only a warning in "
            f"their log. See why its pod does not start: kubectl -n {namespace} describe pods.",
        ),
        _alert(
            "CacheStoreErrors",
            f"sum by (namespace, pod) (increase({minio}[10m]) or increase({seaweedfs}[10m])) > 0",
            "warning",
            10,
            "The cache's store {{ $labels.pod }} fails requests of its own fault",
            "Mostly a full volume or a slow disk: look at the volume's usage and at "
            f"kubectl -n {namespace} logs {{{{ $labels.pod }}}}.",
        ),
    ]


def _docker_alerts(job: str, namespace: str, replicas: int) -> list[Object]:
    one, harm = "The shared docker daemon", "Every docker build of its jobs fails."
    if replicas > 1:
        one = f"One of the {replicas} shared docker daemons"
        harm = (
            "Only the projects on it notice: their jobs wait for it and then build on the first "
            f"daemon, cold; they fail if it is the first. kubectl -n {namespace} get pods tells "
            "which it is, and each job's log which one its project has."
        )
    return [
        _down(
            "DockerDaemonDown",
            job,
            f"{one} {job} is down",
            f"{harm} See why its pod does not start: "
            f"kubectl -n {namespace} describe pods; an expired certificate needs `pulumi up`.",
            replicas=replicas,
        )
    ]


def _volume_alerts(namespace: str) -> list[Object]:
    free = (100 - VOLUME_FULL_PERCENT) / 100
    volume = "{{ $labels.persistentvolumeclaim }}"
    fix = (
        "A full volume fails every write. Raise volumeSize, or keep less: a lower expirationDays "
        "for the cache's store, a lower buildCachePercent or pruneKeepHours for a daemon."
    )
    return [
        _alert(
            "VolumeNearlyFull",
            f'kubelet_volume_stats_available_bytes{{namespace="{namespace}"}} '
            f'/ kubelet_volume_stats_capacity_bytes{{namespace="{namespace}"}} < {free:g}',
            "warning",
            15,
            f"Only {{{{ $value | humanizePercentage }}}} of the volume {volume} in {namespace} "
            "is free",
            fix,
        ),
        _alert(
            "VolumeOutOfInodes",
            f'kubelet_volume_stats_inodes_free{{namespace="{namespace}"}} '
            f'/ kubelet_volume_stats_inodes{{namespace="{namespace}"}} < {free:g}',
            "warning",
            15,
            f"The volume {volume} in {namespace} has room for few more files",
            fix + " Many small files need a file system with more inodes.",
        ),
    ]


def _alerts(target: Target, job: str) -> list[Object]:
    if target.role == "docker":
        return _docker_alerts(job, target.namespace, target.replicas)
    alerts = _runner_alerts if target.role == "runner" else _store_alerts
    return alerts(job, target.namespace)


def alert_rules(
    name: str, targets: Sequence[Target], volume_namespaces: Sequence[str] = ()
) -> Object:
    """Return the spec of the PrometheusRule: one group a target, one for all volumes."""
    groups = [
        {
            "name": target.monitor_name(name),
            "rules": _alerts(target, target.job(name)),
        }
        for target in targets
    ]
    rules = [rule for namespace in volume_namespaces for rule in _volume_alerts(namespace)]
    if rules:
        groups.append({"name": f"{name}-volumes", "rules": rules})
    return {"groups": groups}


def _panel(
    title: str,
    unit: str,
    queries: Mapping[str, str],
    *,
    description: str = "",
    kind: Literal["timeseries", "stat"] = "timeseries",
) -> Object:
    """Return a panel; `queries` are PromQL by legend."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "expr": expr,
                "legendFormat": legend,
                "datasource": source,
            }
            for at, (legend, expr) in enumerate(queries.items())
        ],
    }


def _runner_panels(at: str) -> Iterator[Object]:
    yield _panel(
        "Jobs",
        "short",
        {
            "running {{pod}}": f"sum by (pod) (gitlab_runner_jobs{{{at}}})",
            "allowed {{pod}}": f"max by (pod) (gitlab_runner_concurrent{{{at}}})",
        },
        description="Running jobs against `concurrent`.",
    )
    queued = f"gitlab_runner_job_queue_duration_seconds_bucket{{{at}}}"
    yield _panel(
        "Time in the queue",
        "s",
        {
            legend: f"histogram_quantile({share}, sum by (le) (rate({queued}[$__rate_interval])))"
            for legend, share in (("half of the jobs", 0.5), ("nine in ten", 0.9))
        },
        description="From GitLab's creation of a job to its start on a runner.",
    )
    failed = f"gitlab_runner_failed_jobs_total{{{at}}}"
    yield _panel(
        "Failed jobs by reason",
        "short",
        {"{{failure_reason}}": f"sum by (failure_reason) (increase({failed}[$__rate_interval]))"},
    )
    statuses = f"gitlab_runner_api_request_statuses_total{{{at}}}"
    yield _panel(
        "Answers of GitLab",
        "reqps",
        {
            "{{endpoint}} {{status}}": "sum by (endpoint, status) "
            f"(rate({statuses}[$__rate_interval]))"
        },
        description="204 on request_job: no job is waiting. A refused connection is not counted.",
    )
    stages = f"gitlab_runner_job_stage_duration_seconds_bucket{{{at}}}"
    yield _panel(
        "Duration of job stages, nine in ten",
        "s",
        {
            "{{stage}}": "histogram_quantile(0.9, sum by (le, stage) "
            f"(rate({stages}[$__rate_interval])))"
        },
        description="restore_cache and archive_cache are the distributed cache.",
    )


def _store_panels(at: str) -> Iterator[Object]:
    yield _panel(
        "Cache transfers",
        "Bps",
        {
            "to jobs": f"sum(rate(minio_s3_traffic_sent_bytes{{{at}}}[$__rate_interval])) or "
            f"sum(rate(SeaweedFS_s3_bucket_traffic_sent_bytes_total{{{at}}}[$__rate_interval]))",
            "from jobs": f"sum(rate(minio_s3_traffic_received_bytes{{{at}}}[$__rate_interval])) or "
            "sum(rate(SeaweedFS_s3_bucket_traffic_received_bytes_total"
            f"{{{at}}}[$__rate_interval]))",
        },
    )
    yield _panel(
        "Cache requests",
        "reqps",
        {
            "{{api}}{{type}}": "sum by (api) "
            f"(rate(minio_s3_requests_total{{{at}}}[$__rate_interval])) or "
            f"sum by (type) (rate(SeaweedFS_s3_request_total{{{at}}}[$__rate_interval]))",
            "failed {{api}}": "sum by (api) "
            f"(rate(minio_s3_requests_5xx_errors_total{{{at}}}[$__rate_interval]))",
        },
    )
    yield _panel(
        "Cache store",
        "bytes",
        {
            "objects": f"max(minio_cluster_usage_total_bytes{{{at}}})",
            "capacity": f"max(minio_cluster_capacity_usable_total_bytes{{{at}}})",
        },
        description="Silo and MinIO count the objects about once a minute.",
    )


def _docker_panels(at: str) -> Iterator[Object]:
    yield _panel(
        "Docker daemon",
        "short",
        {"up {{pod}}": f"max by (pod) (up{{{at}}})"},
        kind="stat",
    )
    # Builds by BuildKit are in no counter of the daemon: builder_builds_* has the old builder's.
    yield _panel(
        "Docker builds: processor",
        "short",
        {
            "cores {{pod}}": "sum by (pod) (rate(container_cpu_usage_seconds_total"
            f'{{{at}, container="docker"}}[$__rate_interval]))'
        },
        description="Cores in use by the daemon and by everything that it builds and runs.",
    )
    yield _panel(
        "Docker daemon: containers and events",
        "short",
        {
            "{{state}}": f"sum by (state) (engine_daemon_container_states_containers{{{at}}})",
            "events a second": f"sum(rate(engine_daemon_events_total{{{at}}}[$__rate_interval]))",
        },
    )


def _volume_panels(at: str) -> Iterator[Object]:
    yield _panel(
        "Volumes: used",
        "percentunit",
        {
            "{{namespace}}/{{persistentvolumeclaim}}": "1 - "
            f"kubelet_volume_stats_available_bytes{{{at}}} "
            f"/ kubelet_volume_stats_capacity_bytes{{{at}}}"
        },
    )


def _in(namespaces: Sequence[str]) -> str:
    return f'namespace=~"{"|".join(sorted(set(namespaces)))}"'


def dashboard(
    name: str, targets: Sequence[Target], volume_namespaces: Sequence[str] = ()
) -> Object:
    """Return the Grafana dashboard, with panels for what there is."""
    panels: list[Object] = []
    sections = {"runner": _runner_panels, "store": _store_panels, "docker": _docker_panels}
    for role, section in sections.items():
        namespaces = [target.namespace for target in targets if target.role == role]
        if namespaces:
            panels += section(_in(namespaces))
    if volume_namespaces:
        panels += _volume_panels(_in(volume_namespaces))
    for at, panel in enumerate(panels):
        panel["id"] = at + 1
        panel["gridPos"] = {"x": at % 2 * 12, "y": at // 2 * 8, "w": 12, "h": 8}
    return {
        "uid": f"gitlab-runner-{sha256(name)[:16]}",
        "title": f"GitLab runner {name}",
        "tags": ["gitlab-runner"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "panels": panels,
    }


def declare(
    name: str,
    namespace: pulumi.Input[str],
    spec: MonitoringSpec,
    targets: Sequence[Target],
    volume_namespaces: Sequence[str] = (),
    *,
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """Declare what the spec asks for.

    Args:
        name: Name from which all others are made.
        namespace: Namespace of the alerts, and of the dashboard unless the spec names one. A
            PodMonitor is where its pods are.
        spec: What to declare.
        targets: What serves metrics.
        volume_namespaces: Namespaces whose volumes are watched.
        opts: Options of every resource.
    """
    labels = kube.labels("monitoring", name) | spec.labels
    made: list[pulumi.Resource] = []
    if spec.enable_pod_monitor:
        made += [
            k8s.apiextensions.CustomResource(
                f"{name}-{target.name}-monitor",
                api_version=API_VERSION,
                kind="PodMonitor",
                metadata={
                    "name": target.monitor_name(name),
                    "namespace": target.namespace,
                    "labels": labels,
                },
                spec=pod_monitor(target, spec.interval_seconds),
                opts=opts,
            )
            for target in targets
        ]
    if spec.enable_alert_rules:
        made.append(
            k8s.apiextensions.CustomResource(
                f"{name}-alerts",
                api_version=API_VERSION,
                kind="PrometheusRule",
                metadata={"name": f"{name}-alerts", "namespace": namespace, "labels": labels},
                spec=alert_rules(name, targets, volume_namespaces),
                opts=opts,
            )
        )
    if spec.enable_dashboard:
        text = json.dumps(dashboard(name, targets, volume_namespaces), sort_keys=True, indent=2)
        made.append(
            k8s.core.v1.ConfigMap(
                f"{name}-dashboard",
                metadata={
                    "name": f"{name}-dashboard",
                    "namespace": spec.dashboard_namespace or namespace,
                    "labels": kube.labels("monitoring", name) | {"grafana_dashboard": "1"},
                },
                data={f"{name}-gitlab-runner.json": text},
                opts=opts,
            )
        )
    return made
