"""The distributed cache, the store for the `cache:` of jobs: in the cluster, on AWS or existing."""
