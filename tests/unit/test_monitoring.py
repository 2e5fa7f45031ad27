"""Monitoring: the queries parse, their metrics exist, and what is declared is whole."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import promql_parser as promql
import pulumi
import pytest
from gitlab_runner_k8s import MonitoringArgs, RunnerPlatform
from gitlab_runner_k8s.kubernetes import network_policy as net
from gitlab_runner_k8s.monitoring import component as monitoring
from gitlab_runner_k8s.monitoring.alerts import alert_rules
from gitlab_runner_k8s.monitoring.dashboard import dashboard
from gitlab_runner_k8s.monitoring.settings import MonitoringSettings
from gitlab_runner_k8s.monitoring.targets import MINIO_METRICS_PATH, Target, Workload, runner_target
from gitlab_runner_k8s.validation.messages import ArgsError, validate

from lab.paths import ROOT
from tests import builders
from tests.harness import Recorder, deploy

METRICS = {
    "Prometheus itself, for every target": ["up"],
    "GitLab Runner 19.4, network/api_requests_collector.go": [
        "gitlab_runner_api_request_statuses_total"
    ],
    "GitLab Runner 19.4, commands/builds_helper.go": [
        "gitlab_runner_jobs",
        "gitlab_runner_job_queue_duration_seconds_bucket",
        "gitlab_runner_job_stage_duration_seconds_bucket",
    ],
    "GitLab Runner 19.4, commands/multi.go": ["gitlab_runner_concurrent"],
    "GitLab Runner 19.4, helpers/prometheus/failures_collector.go": [
        "gitlab_runner_failed_jobs_total"
    ],
    "a running MinIO, read at /minio/v2/metrics/cluster": [
        "minio_s3_requests_total",
        "minio_s3_traffic_sent_bytes",
        "minio_s3_traffic_received_bytes",
        "minio_cluster_usage_total_bytes",
        "minio_cluster_capacity_usable_total_bytes",
    ],
    "MinIO, docs/metrics/prometheus/list.md": ["minio_s3_requests_5xx_errors_total"],
    "SeaweedFS, weed/stats/metrics.go": [
        "SeaweedFS_s3_request_total",
        "SeaweedFS_s3_bucket_traffic_sent_bytes_total",
        "SeaweedFS_s3_bucket_traffic_received_bytes_total",
    ],
    "a running dockerd 28.5.2, read at --metrics-addr": [
        "engine_daemon_container_states_containers",
        "engine_daemon_events_total",
    ],
    "kubelet, pkg/kubelet/metrics/collectors/volume_stats.go": [
        "kubelet_volume_stats_available_bytes",
        "kubelet_volume_stats_capacity_bytes",
        "kubelet_volume_stats_inodes",
        "kubelet_volume_stats_inodes_free",
    ],
    "kubelet, /metrics/cadvisor": [
        "container_cpu_usage_seconds_total",
        "container_memory_rss",
        # cAdvisor, container/libcontainer/handler.go passes over lo, veth* and docker*, not br-*.
        "container_network_receive_bytes_total",
    ],
    "kube-state-metrics, docs/metrics/workload/statefulset-metrics.md": [
        "kube_statefulset_replicas",
        "kube_statefulset_status_replicas_ready",
    ],
    "kube-state-metrics, docs/metrics/workload/pod-metrics.md": [
        "kube_pod_container_status_restarts_total"
    ],
}
"""The metrics that may be used, by where each was seen."""

LABELS = {
    "gitlab_runner_api_request_statuses_total": {"endpoint", "status"},
    "gitlab_runner_failed_jobs_total": {"failure_reason"},
    "gitlab_runner_job_stage_duration_seconds_bucket": {"stage", "le"},
    "gitlab_runner_job_queue_duration_seconds_bucket": {"le"},
    "minio_s3_requests_total": {"api"},
    "minio_s3_requests_5xx_errors_total": {"api"},
    "SeaweedFS_s3_request_total": {"type", "code"},
    "engine_daemon_container_states_containers": {"state"},
    "kubelet_volume_stats_available_bytes": {"persistentvolumeclaim"},
    "container_cpu_usage_seconds_total": {"container"},
    "container_memory_rss": {"container"},
    "kube_pod_container_status_restarts_total": {"container"},
    "container_network_receive_bytes_total": {"interface"},
    "kube_statefulset_replicas": {"statefulset"},
    "kube_statefulset_status_replicas_ready": {"statefulset"},
}
"""Labels of the metrics' own; Prometheus adds those of `TARGET` to all."""
TARGET = {"job", "namespace", "pod"}

TARGETS = [
    runner_target("runners", "ci"),
    Target(
        "store",
        "cache",
        "cache",
        {"app.kubernetes.io/name": "minio"},
        "s3",
        path=MINIO_METRICS_PATH,
        bearer_secret=("ci-cache-metrics", "token"),
        tls_config={"serverName": "store"},
    ),
    Target("docker", "docker", "docker", {"app.kubernetes.io/name": "docker"}, "metrics"),
]
VOLUMES = ["cache", "docker"]
ENDS = "2027-02-26T10:00:00Z"
WATCHED = [
    Workload("DockerDaemon", "docker", "ci-docker", "docker", 2**34, 512, ENDS, 720),
    Workload("BuildKitDaemon", "buildkit", "ci-buildkit", "buildkitd", 2**34, None, ENDS, 720),
    Workload("CacheStore", "cache", "ci-cache-minio", "minio"),
    Workload("RegistryMirror", "mirror", "ci-mirror", "registry", 2**30),
]
ALL: Any = {"enable_pod_monitor": True, "enable_alert_rules": True, "enable_dashboard": True}


def alerts() -> list[dict[str, Any]]:
    groups = alert_rules("ci", TARGETS, VOLUMES, WATCHED)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard("ci", TARGETS, VOLUMES)["panels"]
    return found


def queries() -> list[str]:
    of_panels = [target["expr"] for panel in panels() for target in panel["targets"]]
    # Grafana puts a duration there.
    return [rule["expr"] for rule in alerts()] + [
        query.replace("$__rate_interval", "5m") for query in of_panels
    ]


def nodes(expression: Any) -> Iterator[Any]:
    """Return every part of a parsed query."""
    yield expression
    for part in ("expr", "lhs", "rhs", "vector_selector"):
        child = getattr(expression, part, None)
        if child is not None:
            yield from nodes(child)
    for argument in getattr(expression, "args", None) or []:
        yield from nodes(argument)


def selectors(query: str) -> list[Any]:
    return [node for node in nodes(promql.parse(query)) if isinstance(node, promql.VectorSelector)]


def declared(
    options: MonitoringArgs, targets: Sequence[Target] = TARGETS, volumes: Sequence[str] = VOLUMES
) -> Recorder:
    spec = validate(MonitoringSettings, options, "monitoring")
    return deploy(
        lambda: monitoring.declare(
            "ci", "runners", spec, targets, volumes, WATCHED, opts=pulumi.ResourceOptions()
        )
    )


@pytest.mark.parametrize("query", queries())
def test_a_query_parses_and_its_metrics_exist(query: str) -> None:
    known = {metric for metrics in METRICS.values() for metric in metrics}
    found = selectors(query)
    assert found or "time()" in query
    for selector in found:
        assert selector.name in known
        for matcher in selector.matchers.matchers:
            assert matcher.name in TARGET | LABELS.get(selector.name, set()), query
            if matcher.op == promql.MatchOp.Re:
                re.compile(matcher.value)


@pytest.mark.parametrize("query", queries())
def test_a_query_groups_by_labels_that_its_metrics_have(query: str) -> None:
    for node in nodes(promql.parse(query)):
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            metrics = [selector.name for selector in selectors(str(node))]
            labels = TARGET.union(*(LABELS.get(metric, set()) for metric in metrics))
            assert set(node.modifier.labels) <= labels, query


def test_every_known_metric_is_used() -> None:
    used = {selector.name for query in queries() for selector in selectors(query)}
    assert used == {metric for metrics in METRICS.values() for metric in metrics}


@pytest.mark.parametrize("query", queries())
def test_a_counter_is_read_as_a_rate(query: str) -> None:
    counters = {"_total", "_bucket", "traffic_sent_bytes", "traffic_received_bytes"}
    for node in nodes(promql.parse(query)):
        if isinstance(node, promql.Call) and node.func.name in {"rate", "increase"}:
            (selector,) = selectors(str(node))
            assert selector.name.endswith(tuple(counters)), query
    # To count series is to read no counter.
    outside = re.sub(r"(rate|increase|count by \(.*\) )\([^()]*\)", "", query)
    names = re.findall(r"[A-Za-z_]+(?=\{)", outside)
    assert not [name for name in names if name.endswith(("_total", "_bucket"))], query


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in alerts():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"([A-Z][a-z]+|API|GitLab)+", rule["alert"])
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        summary, description = (rule["annotations"][key] for key in ("summary", "description"))
        assert 10 < len(summary) < 120
        assert len(description) > len(summary)
        for text in (summary, description):
            assert text.count("{{") == text.count("}}")
            # A template may only use labels that the query leaves.
            for label in re.findall(r"\$labels\.(\w+)", text):
                assert label in rule["expr"] or rule["expr"].startswith("kubelet_"), rule["alert"]


def test_there_is_an_alert_for_each_part_that_can_be_down() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert {"GitLabRunnerDown", "CacheStoreDown", "DockerDaemonDown"} <= set(names)
    assert names.count("VolumeNearlyFull") == len(VOLUMES)
    queries = {rule["alert"]: rule["expr"] for rule in alerts()}
    # The label is what the operator makes of the PodMonitor's namespace and name.
    assert queries["GitLabRunnerDown"] == 'absent(up{job="runners/ci-runner"} == 1)'
    assert "< 0.15" in queries["VolumeNearlyFull"]


def test_there_are_alerts_for_what_each_workload_has() -> None:
    expected = {
        "DockerDaemon": {"CertificateExpiresSoon", "NetworksNearlyUsedUp"},
        "BuildKitDaemon": {"CertificateExpiresSoon"},
        "CacheStore": set(),
        "RegistryMirror": set(),
    }
    memory = {"MemoryNearlyFull"}
    names = {rule["alert"] for rule in alerts()}
    for workload in WATCHED:
        part = workload.part
        found = {name.removeprefix(part) for name in names if name.startswith(part)} - {
            "Down",
            "Errors",
        }
        assert found == {"NotReady", "Restarted"} | expected[part] | (
            memory if workload.memory_bytes else set()
        )


def test_an_alert_comes_while_an_update_can_still_renew_the_certificate() -> None:
    """Half of the 30 days in which an update renews it are over."""
    queries = {rule["alert"]: rule for rule in alerts()}
    rule = queries["DockerDaemonCertificateExpiresSoon"]
    begins = datetime.fromisoformat(ENDS) - timedelta(days=15)
    assert rule["expr"] == f"vector(time()) > {begins.timestamp():.0f}"
    assert "end on 2027-02-26" in rule["annotations"]["summary"]


@pytest.mark.parametrize("isolation", ["privileged", "rootless"])
def test_the_alerts_of_a_platform_are_of_its_own_workloads(isolation: str) -> None:
    args: Any = {
        **builders.GITLAB,
        "docker_daemon": {
            "accept_shared_nodes": True,
            "isolation": isolation,
            "resources": {"memory_limit": "10Gi"},
            "address_pools": [{"base": "172.30.0.0/16", "size": 24}],
        },
        "zones": {"images": {"buildkit_daemon": {}}},
        "registry_mirror": {},
        "cache": {"minio": {"enable_tls": True}},
        "monitoring": {"enable_pod_monitor": True, "enable_alert_rules": True},
    }
    recorder = deploy(lambda: RunnerPlatform("ci", args))
    sets = {
        (made.plain["metadata"]["namespace"], made.plain["metadata"]["name"])
        for made in recorder.of_type(":StatefulSet")
    }
    spec = recorder.one("PrometheusRule").plain["spec"]
    rules = {rule["alert"]: rule["expr"] for group in spec["groups"] for rule in group["rules"]}
    watched = {
        tuple(re.findall(r'(?:namespace|statefulset)="([^"]+)"', query)[:2])
        for alert, query in rules.items()
        if alert.endswith("NotReady")
    }
    assert watched == sets
    assert f"> {9 * 2**30}" in rules["DockerDaemonMemoryNearlyFull"]
    networks = rules.get("DockerDaemonNetworksNearlyUsedUp", "none, as no metric counts them")
    assert ("> 204" in networks) == (isolation == "privileged")
    ends = {alert for alert in rules if alert.endswith("CertificateExpiresSoon")}
    assert {alert.removesuffix("CertificateExpiresSoon") for alert in ends} == {
        *("CacheStore", "DockerDaemon", "BuildKitDaemon")
    }


def test_every_alert_is_in_the_runbook_and_no_other() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE)
    watched = [replace(workload, memory_bytes=1, certificate_expires=ENDS) for workload in WATCHED]
    groups = alert_rules("ci", TARGETS, VOLUMES, watched)["groups"]
    possible = {rule["alert"] for group in groups for rule in group["rules"]}
    assert len(headings) == len(set(headings))
    assert set(headings) == possible - {"RegistryMirrorCertificateExpiresSoon"}


def test_each_target_has_a_group_of_its_own() -> None:
    two = [
        runner_target("runners", "ci-a", "runner-a"),
        runner_target("runners", "ci-b", "runner-b"),
    ]
    groups = alert_rules("ci", two)["groups"]
    assert [group["name"] for group in groups] == ["ci-runner-a", "ci-runner-b"]
    for group, target in zip(groups, two, strict=True):
        for rule in group["rules"]:
            assert f'job="{target.job("ci")}"' in rule["expr"]


def test_panels_have_a_query_an_id_and_a_place_of_their_own() -> None:
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found}
    assert len(places) == len(found)
    for panel in found:
        assert panel["title"]
        assert panel["targets"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        for target in panel["targets"]:
            assert target["expr"]
            assert target["datasource"]["uid"] == "${datasource}"


def test_the_dashboard_is_the_same_each_time_and_another_for_another_platform() -> None:
    one, again = (dashboard("ci", TARGETS, VOLUMES) for _ in range(2))
    assert one == again
    assert one["uid"] != dashboard("other", TARGETS, VOLUMES)["uid"]
    assert len(one["uid"]) <= 40
    assert one["schemaVersion"] >= 39
    assert [variable["name"] for variable in one["templating"]["list"]] == ["datasource"]


def test_panels_are_for_what_there_is() -> None:
    text = json.dumps(dashboard("ci", TARGETS[:1]))
    assert "gitlab_runner_jobs" in text
    assert not re.search("minio_|engine_daemon|kubelet_volume", text)


def test_nothing_is_declared_by_default() -> None:
    assert [
        made for made in declared({}).registrations if made.type.startswith("kubernetes:")
    ] == []


def test_alerts_without_metrics_are_refused() -> None:
    with pytest.raises(ArgsError, match="enable_alert_rules needs enable_pod_monitor"):
        declared({"enable_alert_rules": True})


def test_everything_is_declared_where_prometheus_looks() -> None:
    recorder = declared(ALL | {"labels": {"release": "stack"}, "interval_seconds": 15})
    monitors = {made.plain["metadata"]["name"]: made.plain for made in recorder.of_type("Monitor")}
    assert {name: made["metadata"]["namespace"] for name, made in monitors.items()} == {
        "ci-runner": "runners",
        "ci-cache": "cache",
        "ci-docker": "docker",
    }
    assert all(made["metadata"]["labels"]["release"] == "stack" for made in monitors.values())
    assert monitors["ci-runner"]["spec"] == {
        "selector": {"matchLabels": {"release": "ci"}},
        "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
    }
    assert monitors["ci-cache"]["spec"]["podMetricsEndpoints"] == [
        {
            "port": "s3",
            "path": "/minio/v2/metrics/cluster",
            "interval": "15s",
            "authorization": {"credentials": {"name": "ci-cache-metrics", "key": "token"}},
            "scheme": "https",
            "tlsConfig": {"serverName": "store"},
        }
    ]
    rule = recorder.one("PrometheusRule").plain
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["metadata"]["labels"]["release"] == "stack"
    assert rule["spec"] == alert_rules("ci", TARGETS, VOLUMES, WATCHED)


def test_grafana_finds_the_dashboard() -> None:
    made = declared({"enable_dashboard": True, "dashboard_namespace": "grafana"}).one(":ConfigMap")
    assert made.plain["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made.plain["metadata"]["namespace"] == "grafana"
    ((file, text),) = made.plain["data"].items()
    assert file.endswith(".json")
    assert json.loads(text) == dashboard("ci", TARGETS, VOLUMES)


def test_only_prometheus_reaches_the_metrics() -> None:
    spec = validate(MonitoringSettings, {"prometheus_namespace": "observability"}, "monitoring")
    (rule,) = net.namespace_rule([spec.prometheus_namespace], 9252)
    assert rule == {
        "from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}
        ],
        "ports": [{"port": 9252, "protocol": "TCP"}],
    }
