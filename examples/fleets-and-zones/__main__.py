"""Four runners in three trust zones: what runs for `prod` shares nothing with the others.

The zone `open` is for projects of many people: its daemon is not root.
"""

import pulumi
from gitlab_runner_k8s import RunnerPlatform

CLEANUP = """
[[runners]]
  [runners.kubernetes]
    cleanup_resources_timeout = "10m"
"""

config = pulumi.Config()
platform = RunnerPlatform(
    "ci",
    {
        "gitlab_url": "https://gitlab.example.com",
        "docker_daemon": {"node_selector": {"pool": "builders"}},
        "zones": {
            "prod": {
                "docker_daemon": {
                    "node_selector": {"pool": "prod-builders"},
                    "volume_size": "200Gi",
                    "build_cache_keep_hours": 336,
                    "enable_disruption_budget": True,
                }
            },
            "open": {
                "docker_daemon": {
                    "isolation": "rootless",
                    "node_selector": {"pool": "open-builders"},
                    "termination_grace_period_seconds": 1800,
                }
            },
        },
        "runner": {"concurrent": 20, "enable_job_disruption_budget": True},
        "fleets": {
            "small": {
                "runner_token": config.require_secret("smallToken"),
                "runner": {"tags": ["small"], "spot": "karpenter"},
            },
            "large": {
                "token_secret_name": "large-runner-token",
                "runner": {
                    "tags": ["large"],
                    "concurrent": 4,
                    "job_resources": {
                        "cpu_request": "8",
                        "memory_request": "16Gi",
                        "ephemeral_storage_limit": "50Gi",
                    },
                    "job_node_selector": {"pool": "large"},
                },
            },
            "open": {
                "zone": "open",
                "token_secret_name": "open-runner-token",
                "runner": {"tags": ["open"], "daemon_wait_seconds": 600},
            },
            "release": {
                "zone": "prod",
                "token_external_secret": {
                    "store_name": "vault",
                    "remote_key": "gitlab/runners/release",
                    "remote_property": "token",
                },
                "runner": {
                    "tags": ["release"],
                    "job_service_account_name": "release-jobs",
                    "allowed_images": ["registry.example.com/**"],
                    "extra_config": CLEANUP,
                },
            },
        },
        "monitoring": {
            "enable_pod_monitor": True,
            "enable_alert_rules": True,
            "enable_dashboard": True,
            "labels": {"release": "kube-prometheus-stack"},
        },
    },
)
pulumi.export("release_names", platform.release_names)
pulumi.export("docker_hosts", platform.docker_hosts)
