"""Alerts for the Prometheus operator. Each says what it means and what to do."""

from collections.abc import Sequence
from typing import Literal

from .targets import Object, Target

VOLUME_FULL_PERCENT = 85
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
    """Return the spec of the PrometheusRule: a group for each target, and one for all volumes."""
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
