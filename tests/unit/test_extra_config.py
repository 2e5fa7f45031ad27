"""Every key of the executor can be reached, or is refused with its reason."""

from typing import Any

import pytest
from gitlab_runner_k8s import GitLabRunner, RunnerPlatform
from gitlab_runner_k8s.runner.extra_config import check, privileges
from gitlab_runner_k8s.runner.helm_values import AUTOSCALER_RULE, PRIORITY_CLASS_RULE
from gitlab_runner_k8s.runner.settings import GitLabRunnerSettings

from tests import builders
from tests.harness import deploy

ROLES = ("", "helper_", "service_", "pod_")
BOUNDS = [f"{kind}_{bound}" for kind in ("cpu", "memory") for bound in ("limit", "request")]
STORAGE = [f"ephemeral_storage_{bound}" for bound in ("limit", "request")]
TEXT: Any = "x"
PROFILE = {"type": "RuntimeDefault"}
CONTEXT = {
    "privileged": False,
    "allow_privilege_escalation": False,
    "run_as_user": 1000,
    "run_as_group": 1000,
    "run_as_non_root": True,
    "read_only_root_filesystem": True,
    "capabilities": {"add": ["CHOWN"], "drop": ["ALL"]},
    "proc_mount": "Default",
    "selinux_type": "x",
    "seccomp_profile": PROFILE,
    "app_armor_profile": PROFILE,
}
MOUNT = {"name": "v", "mount_path": "/v", "sub_path": "s"}
# Every key of `[runners.kubernetes]` in gitlab-runner 19, with a right value.
KEYS: dict[str, Any] = {
    **dict.fromkeys(("host", "context", "cert_file", "key_file", "ca_file", "bearer_token"), TEXT),
    "bearer_token_overwrite_allowed": True,
    "image": TEXT,
    "namespace": TEXT,
    "namespace_overwrite_allowed": "ci-.*",
    "namespace_per_job": True,
    "privileged": False,
    "allow_privilege_escalation": False,
    "cap_add": ["CHOWN"],
    "cap_drop": ["NET_RAW"],
    **{f"{role}{bound}": "1" for role in ROLES for bound in BOUNDS},
    **{f"{role}{bound}": "1Gi" for role in ROLES[:-1] for bound in STORAGE},
    **{f"{role}{bound}_overwrite_max_allowed": "2" for role in ROLES for bound in BOUNDS},
    **{f"{role}{bound}_overwrite_max_allowed": "2Gi" for role in ROLES[:-1] for bound in STORAGE},
    "pull_policy": ["always"],
    "allowed_pull_policies": ["always"],
    **{key: ["x"] for key in ("allowed_images", "allowed_services")},
    **{key: ["1000"] for key in ("allowed_users", "allowed_groups")},
    "image_pull_secrets": ["registry"],
    "use_service_account_image_pull_secrets": True,
    "helper_image": TEXT,
    "helper_image_flavor": "alpine",
    "helper_image_autoset_arch_and_os": True,
    "node_selector": {"a": "b"},
    "node_tolerations": {"a=b": "NoSchedule"},
    "affinity": {
        "node_affinity": {
            "required_during_scheduling_ignored_during_execution": {
                "node_selector_terms": [
                    {"match_expressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
                ]
            }
        },
        "pod_anti_affinity": {
            "preferred_during_scheduling_ignored_during_execution": [
                {
                    "weight": 1,
                    "pod_affinity_term": {
                        "topology_key": "k",
                        "label_selector": {"match_labels": {"a": "b"}},
                    },
                }
            ]
        },
    },
    **dict.fromkeys(("runtime_class_name", "scheduler_name", "priority_class_name"), TEXT),
    "node_selector_overwrite_allowed": ".*",
    "node_tolerations_overwrite_allowed": ".*",
    "service_account": TEXT,
    "service_account_overwrite_allowed": ".*",
    "automount_service_account_token": False,
    "pod_annotations": {"a": "b"},
    "pod_labels": {"a": "b"},
    "pod_annotations_overwrite_allowed": ".*",
    "pod_labels_overwrite_allowed": ".*",
    "poll_interval": 3,
    "poll_timeout": 180,
    "cleanup_grace_period_seconds": 0,
    "pod_termination_grace_period_seconds": 0,
    "cleanup_resources_timeout": "5m",
    "resource_availability_check_max_attempts": 0,
    "retry_limit": 5,
    "retry_backoff_max": 2000,
    "retry_limits": {"exceeded quota": 10},
    "print_pod_warning_events": True,
    "pod_disruption_budget": True,
    "dns_policy": "cluster-first",
    "dns_config": {
        "nameservers": ["10.0.0.10"],
        "searches": ["x"],
        "options": [{"name": "ndots", "value": "2"}],
    },
    "host_aliases": [{"ip": "10.0.0.1", "hostnames": ["x"]}],
    "services": [
        {
            "name": "docker:dind",
            "alias": "docker",
            "entrypoint": ["dockerd-entrypoint.sh"],
            "command": ["--tlsverify"],
            "environment": ["HEALTHCHECK_TCP_PORT=2376"],
        }
    ],
    "pod_security_context": {
        "fs_group": 1,
        "run_as_group": 1,
        "run_as_user": 1,
        "run_as_non_root": True,
        "supplemental_groups": [1],
        "selinux_type": "x",
        "seccomp_profile": PROFILE,
        "app_armor_profile": PROFILE,
    },
    **{
        f"{role}_container_security_context": CONTEXT
        for role in ("build", "helper", "service", "init_permissions")
    },
    "container_lifecycle": {
        "post_start": {"exec": {"command": ["x"]}},
        "pre_stop": {"http_get": {"port": 80, "http_headers": [{"name": "a", "value": "b"}]}},
    },
    "pod_spec": [{"name": "p", "patch": "x", "patch_type": "merge"}],
    "logs_base_dir": "/tmp",
    "scripts_base_dir": "/tmp",
    "suspend_pvc_size": "10Gi",
    "suspend_pvc_storage_class": TEXT,
    "autoscaler": {"max_pause_pods": 1},
    "volumes": {
        "empty_dir": [{**MOUNT, "medium": "Memory", "size_limit": "1Gi"}],
        "secret": [{**MOUNT, "read_only": True, "items": {"token": "path"}}],
        "config_map": [{**MOUNT, "read_only": True, "items": {"key": "path"}}],
        "pvc": [{**MOUNT, "name": "build-pvc-$CI_CONCURRENT_ID", "read_only": False}],
        "host_path": [{**MOUNT, "host_path": "/mnt/x", "mount_propagation": "HostToContainer"}],
        "csi": [{**MOUNT, "driver": "d", "fs_type": "ext4", "volume_attributes": {"a": "b"}}],
        "nfs": [{**MOUNT, "server": "s", "path": "/p", "read_only": True}],
    },
}
REASONS = ("jobs run in the runner's own cluster", "jobs get no token", "needs a ClusterRole with")


def toml(value: Any) -> str:
    """Return a value as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def text(key: str, value: Any) -> str:
    return f'[[runners]]\n[runners.kubernetes]\n"{key}" = {toml(value)}'


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_reached_or_refused_with_its_reason(key: str) -> None:
    found = check(text(key, KEYS[key]))
    if not found:
        return
    (problem,) = found
    assert problem.startswith(f"kubernetes.{key}: ")
    if "because this package sets it; use" in problem:
        argument = problem.rpartition(" use ")[2].partition(".")[0]
        assert argument in GitLabRunnerSettings.model_fields, problem
    else:
        assert any(reason in problem for reason in REASONS), problem


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_another_type_is_refused(key: str) -> None:
    wrong = {"x": [1]} if not isinstance(KEYS[key], dict) else [1.5]
    assert check(text(key, wrong))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("build_container_security_context", {"proc_mount": "unmasked"}),
        ("dns_policy", ""),
        ("retry_backoff_max", 100),
        ("cpu_request_overwrite_max_allowed", "1e3"),
        ("cleanup_resources_timeout", "1.5s500us"),
        ("pod_labels_overwrite_allowed", r"\pL+\z"),
        ("volumes", {"empty_dir": [{**MOUNT, "medium": "HugePages-2Mi"}]}),
        (
            "affinity",
            {
                "pod_affinity": {
                    "required_during_scheduling_ignored_during_execution": [
                        {"topology_key": "zone", "match_label_keys": ["app"]}
                    ]
                }
            },
        ),
        ("autoscaler", {"policy": [{"preemptive_mode": True}]}),
    ],
)
def test_what_the_runner_accepts_is_not_refused(key: str, value: Any) -> None:
    assert check(text(key, value)) == []


def test_a_key_with_dashes_is_reached_by_its_own_name() -> None:
    assert check('[[runners]]\ntls-ca-file = "/ca.pem"') == []
    (problem,) = check('[[runners]]\ntls_ca_file = "/ca.pem"')
    assert "did you mean 'tls-ca-file'?" in problem


def test_another_executors_table_is_refused() -> None:
    (problem,) = check('[[runners]]\n[runners.docker]\nimage = "x"')
    assert problem.startswith("docker: is for executors other than")


@pytest.mark.parametrize(
    ("key", "value", "privilege"),
    [
        ("build_container_security_context", {"privileged": True}, True),
        ("service_container_security_context", {"proc_mount": "Unmasked"}, True),
        ("service_container_security_context", {"proc_mount": "unmasked"}, True),
        ("helper_container_security_context", {"capabilities": {"add": ["NET_ADMIN"]}}, True),
        ("pod_security_context", {"app_armor_profile": {"type": "Unconfined"}}, True),
        ("cap_add", ["SYS_ADMIN"], True),
        ("pod_spec", KEYS["pod_spec"], True),
        ("volumes", {"host_path": KEYS["volumes"]["host_path"]}, True),
        ("cap_add", ["CHOWN"], False),
        ("build_container_security_context", CONTEXT, False),
        ("poll_interval", 5, False),
    ],
)
def test_the_namespace_admits_what_the_jobs_ask_for(key: str, value: Any, privilege: bool) -> None:
    args: Any = {**builders.GITLAB, "runner": {"extra_config": text(key, value)}}
    recorder = deploy(lambda: RunnerPlatform("ci", args))
    labels = recorder.one(":Namespace", "ci-jobs-namespace").plain["metadata"]["labels"]
    level = labels["pod-security.kubernetes.io/enforce"]
    assert level == ("privileged" if privilege else "baseline")
    assert bool(privileges(args["runner"]["extra_config"])) == privilege
    assert recorder.one(":Release").runner["kubernetes"][key] == value


AUTOSCALER = """
[[runners]]
  [runners.kubernetes.autoscaler]
    max_pause_pods = 10
    [[runners.kubernetes.autoscaler.policy]]
      periods = ["* 8-18 * * mon-fri"]
      timezone = "Europe/Berlin"
      idle_count = 3
      idle_time = "10m"
      scale_factor = 0.5
"""


def test_pause_pods_come_with_exactly_the_rights_that_they_need() -> None:
    args: Any = dict(builders.GITLAB)
    plain = deploy(lambda: GitLabRunner("ci", args))
    recorder = deploy(lambda: GitLabRunner("ci", args | {"extra_config": AUTOSCALER}))
    release = recorder.one(":Release")
    values = release.values
    assert release.runner["kubernetes"]["autoscaler"]["policy"][0]["idle_count"] == 3
    usual = plain.one(":Release").values["rbac"]["rules"]
    assert values["rbac"]["rules"] == [*usual, AUTOSCALER_RULE]
    assert values["rbac"]["clusterWideAccess"] is False
    role = recorder.one(":ClusterRole").plain
    assert role["rules"] == [PRIORITY_CLASS_RULE]
    (subject,) = recorder.one(":ClusterRoleBinding").plain["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "ci", "namespace": "gitlab-runner"}
    assert plain.of_type(":ClusterRole") == []
