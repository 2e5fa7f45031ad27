"""A Grafana dashboard of the runner, the store, the daemons and the volumes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ..outputs import sha256
from .targets import Object, Target


def _panel(
    title: str,
    unit: str,
    queries: Mapping[str, str],
    *,
    description: str = "",
    kind: Literal["timeseries", "stat"] = "timeseries",
) -> Object:
    """Return a panel. `queries` maps each legend to its PromQL."""
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
    # The daemon does not count builds by BuildKit: builder_builds_* counts the old builder only.
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
    """Return the Grafana dashboard, with panels for the given targets and volumes."""
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
