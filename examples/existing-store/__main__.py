"""A GCS bucket that is there already, by Workload Identity; a docker daemon for each job."""

import pulumi
from gitlab_runner_k8s import RunnerPlatform

platform = RunnerPlatform(
    "ci",
    {
        "gitlab_url": "https://gitlab.example.com",
        "token_secret_name": "runner-token",
        "runner": {"enable_privileged_services": True},
        "registry_mirror": {},
        "cache": {
            "backend": "external",
            "external": {
                "gcs": {
                    "bucket": "example-runner-cache",
                    "service_account_email": "runner@example.iam.gserviceaccount.com",
                },
                "max_archive_size": "2Gi",
            },
        },
    },
)
pulumi.export("cache_bucket", platform.cache_bucket)
