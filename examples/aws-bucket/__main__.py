"""A bucket on AWS with a key of your own, access logs, and objects over 5 GB; identity by IRSA."""

import pulumi
from gitlab_runner_k8s import RunnerPlatform

config = pulumi.Config()
platform = RunnerPlatform(
    "ci",
    {
        "gitlab_url": "https://gitlab.example.com",
        "runner_token": config.require_secret("runnerToken"),
        "cache": {
            "backend": "s3",
            "s3": {
                "region": "eu-central-1",
                "identity": "irsa",
                "oidc_provider_arn": config.require("oidcProviderArn"),
                "kms_key_arn": config.require("kmsKeyArn"),
                "access_log_bucket": "example-access-logs",
                "enable_large_objects": True,
                "tags": {"team": "platform"},
            },
        },
        "docker_daemon": {"node_selector": {"pool": "builders"}},
    },
)
pulumi.export("cache_bucket", platform.cache_bucket)
