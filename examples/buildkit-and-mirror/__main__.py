"""No privilege: rootless BuildKit, a mirror of Docker Hub, and a store with TLS and metrics.

A job builds with `docker buildx create --driver remote --driver-opt …` and $BUILDKIT_HOST; the
options `cacert`, `cert` and `key` name the three files in $BUILDKIT_CERT_PATH.
"""

import pulumi
from gitlab_runner_k8s import RunnerPlatform

config = pulumi.Config()
platform = RunnerPlatform(
    "ci",
    {
        "gitlab_url": "https://gitlab.example.com",
        "runner_token": config.require_secret("runnerToken"),
        "buildkit_daemon": {"volume_size": "150Gi", "build_cache_percent": 80},
        "registry_mirror": {
            "username": "ci",
            "password": config.require_secret("dockerHubToken"),
            "volume_size": "100Gi",
            "ttl_hours": 336,
        },
        "cache": {
            "minio": {"enable_tls": True, "enable_metrics": True, "volume_size": "50Gi"},
        },
    },
)
pulumi.export("buildkit_host", platform.buildkit_host)
pulumi.export("registry_mirror_url", platform.registry_mirror_url)
