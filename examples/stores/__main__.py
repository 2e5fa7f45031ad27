"""Stores alone, one of each kind, for runners that are declared elsewhere."""

import pulumi
from gitlab_runner_k8s import ExternalCache, MinioCache, S3Cache

config = pulumi.Config()

# In the cluster, by the engine under the Apache licence, over TLS.
in_cluster = MinioCache(
    "seaweedfs",
    {"engine": "seaweedfs", "enable_tls": True, "enable_metrics": True, "volume_size": "50Gi"},
)
# A bucket with versions, for runners outside of AWS: they get a key of their own.
versioned = S3Cache(
    "versioned",
    {
        "region": "eu-central-1",
        "identity": "access-key",
        "prefix": "ci/",
        "enable_versioning": True,
        "permissions_boundary_arn": config.require("boundaryArn"),
    },
)
# A bucket and a role that are there already.
shared = S3Cache(
    "shared",
    {
        "region": "eu-central-1",
        "existing_bucket_name": "example-runner-cache",
        "identity": "existing",
        "existing_role_arn": config.require("roleArn"),
    },
)
# Stores of others, by a key that is a secret of the stack.
ceph = ExternalCache(
    "ceph",
    {
        "s3": {
            "bucket": "runner",
            "server_address": "ceph.example.com:443",
            "access_key": config.require_secret("cephAccessKey"),
            "secret_key": config.require_secret("cephSecretKey"),
        }
    },
)
blobs = ExternalCache(
    "blobs",
    {
        "azure": {
            "account_name": "examplerunner",
            "container": "cache",
            "account_key": config.require_secret("azureAccountKey"),
        }
    },
)
pulumi.export("in_cluster", in_cluster.endpoint)
pulumi.export("buckets", [versioned.bucket, shared.bucket, ceph.bucket, blobs.bucket])
