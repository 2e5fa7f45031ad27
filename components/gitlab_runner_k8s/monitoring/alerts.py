"""Alerts for the Prometheus operator. Each says what it means and what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from .targets import Object, Target, Workload

VOLUME_FULL_PERCENT = 85
MEMORY_FULL_PERCENT = 90
NETWORKS_USED_PERCENT = 80
QUEUE_SECONDS = 120
"""GitLab's own target for its hosted runners: 90 % of jobs start within two minutes."""


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
    # A pod that does not run is not a target, so `up == 0` alone would never fire.
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
            # The runner does not count refused connections, so the alert looks for missing answers.
            f'max {by} (up{{job="{job}"}}) == 1 unless {answered}',
            "critical",
            5,
            "{{ $labels.pod }} has got no successful response from GitLab for 10 minutes",
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
            "If the runner runs `concurrent` jobs, raise `concurrent`. If it does not, raise "
            "`request_concurrency`. If one runner cannot take all jobs with these tags, add a "
            "fleet.",
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
            "The cache's store {{ $labels.pod }} answers requests with errors of its own (5xx)",
            "Mostly a full volume or a slow disk: look at the volume's usage and at "
            f"kubectl -n {namespace} logs {{{{ $labels.pod }}}}.",
        ),
    ]


def _docker_alerts(job: str, namespace: str, replicas: int) -> list[Object]:
    daemon, harm = "The shared docker daemon", "Every docker build of its jobs fails."
    if replicas > 1:
        daemon = f"One of the {replicas} shared docker daemons"
        harm = (
            "Jobs of the projects on this daemon wait for it, then build on the first daemon, "
            "cold. If it is the first daemon, they fail. To find it, run kubectl -n "
            f"{namespace} get pods; the log of each job names the daemon of its project."
        )
    return [
        _down(
            "DockerDaemonDown",
            job,
            f"{daemon} {job} is down",
            f"{harm} See why its pod does not start: "
            f"kubectl -n {namespace} describe pods; an expired certificate needs `pulumi up`.",
            replicas=replicas,
        )
    ]


_TITLES = {
    "DockerDaemon": ("The shared Docker daemon", "Docker builds and containers of its jobs fail."),
    "BuildKitDaemon": ("The BuildKit daemon", "Builds of its jobs fail."),
    "CacheStore": ("The cache's store", "Jobs run on without their cache, slower."),
    "RegistryMirror": (
        "The registry mirror",
        "Docker daemons pull from Docker Hub itself, slower and within its rate limit.",
    ),
}


def _workload_alerts(workload: Workload) -> Iterator[Object]:
    part, namespace, name = workload.part, workload.namespace, workload.stateful_set
    title, harm = _TITLES[part]
    of_set = f'namespace="{namespace}", statefulset="{name}"'
    of_pod = f'namespace="{namespace}", pod=~"{name}-[0-9]+"'
    of_container = f'{of_pod}, container="{workload.container}"'
    describe = f"kubectl -n {namespace} describe pods"
    yield _alert(
        f"{part}NotReady",
        f"kube_statefulset_status_replicas_ready{{{of_set}}} "
        f"< kube_statefulset_replicas{{{of_set}}}",
        "critical",
        10,
        f"{title} {name} is not ready",
        f"{harm} See why: {describe}. If its certificate has ended, run `pulumi up`.",
    )
    yield _alert(
        f"{part}Restarted",
        "sum by (namespace, pod) (increase("
        f"kube_pod_container_status_restarts_total{{{of_container}}}[15m])) > 0",
        "warning",
        0,
        "The container of {{ $labels.pod }} has restarted",
        f"{harm[:-1]} meanwhile. Run {describe}: the last state says why. For OOMKilled, raise "
        "resources.memoryLimit, or lower `concurrent`.",
    )
    if workload.certificate_expires is not None:
        ends = datetime.fromisoformat(str(workload.certificate_expires))
        # Half of the time in which an update would have renewed it.
        seconds = int(ends.timestamp()) - workload.renewal_hours * 1800
        yield _alert(
            f"{part}CertificateExpiresSoon",
            f"vector(time()) > {seconds}",
            "warning",
            0,
            f"The certificates of {name} end on {ends:%Y-%m-%d}, and no update has renewed them",
            f"{harm[:-1]} from then on. Run `pulumi up`, which renews them, and let a pipeline run "
            "it every month.",
        )
    if workload.memory_bytes:
        yield _alert(
            f"{part}MemoryNearlyFull",
            f"max by (namespace, pod) (container_memory_rss{{{of_container}}}) "
            f"> {workload.memory_bytes * MEMORY_FULL_PERCENT // 100}",
            "warning",
            15,
            f"{{{{ $labels.pod }}}} uses more than {MEMORY_FULL_PERCENT} % of its memory limit",
            "Above the limit, processes are killed. Raise resources.memoryLimit, or spread the "
            "load: fewer jobs at a time (concurrent), or more replicas of a daemon.",
        )
    if workload.networks:
        limit = workload.networks * NETWORKS_USED_PERCENT // 100
        yield _alert(
            f"{part}NetworksNearlyUsedUp",
            # Each network of the daemon is a bridge in the pod.
            "count by (namespace, pod) "
            f'(container_network_receive_bytes_total{{{of_pod}, interface=~"br-.*"}}) > {limit}',
            "warning",
            15,
            f"Jobs have created {{{{ $value }}}} of {workload.networks} networks on "
            "{{ $labels.pod }}",
            "Without a free network, `docker compose up` fails. Look for jobs that leave networks "
            f"behind: kubectl -n {namespace} exec {{{{ $labels.pod }}}} -c prune -- docker network "
            "ls. Add a pool to addressPools.",
        )


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
    name: str,
    targets: Sequence[Target],
    volume_namespaces: Sequence[str] = (),
    workloads: Sequence[Workload] = (),
) -> Object:
    """Return the spec of the PrometheusRule.

    It has a group for each target, one for each workload, and one for all volumes. The ends of the
    workloads' certificates must be plain texts.
    """
    groups = [
        {
            "name": target.monitor_name(name),
            "rules": _alerts(target, target.job(name)),
        }
        for target in targets
    ]
    groups += [
        {
            "name": f"{name}-{workload.namespace}-{workload.stateful_set}",
            "rules": list(_workload_alerts(workload)),
        }
        for workload in workloads
    ]
    rules = [rule for namespace in volume_namespaces for rule in _volume_alerts(namespace)]
    if rules:
        groups.append({"name": f"{name}-volumes", "rules": rules})
    return {"groups": groups}


def with_expiry(workloads: Sequence[Workload], ends: Sequence[str | None]) -> list[Workload]:
    """Return the workloads with the ends of their certificates."""
    return [
        replace(workload, certificate_expires=end)
        for workload, end in zip(workloads, ends, strict=True)
    ]
