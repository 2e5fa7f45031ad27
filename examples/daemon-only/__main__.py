"""A shared docker daemon alone, beside a cluster, namespaces and a runner of your own."""

import pulumi
import pulumi_kubernetes as k8s
from gitlab_runner_k8s import SharedDockerDaemon

# Stands for your own code, which makes the cluster or knows it.
cluster = k8s.Provider(
    "cluster",
    kubeconfig=pulumi.Config().require_secret("kubeconfig"),
    enable_secret_mutable=True,
    enable_config_map_mutable=True,
)
on_cluster = pulumi.ResourceOptions(provider=cluster)
docker = k8s.core.v1.Namespace(
    "docker",
    metadata={
        "name": "builds-docker",
        "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
    },
    # Deleting the namespace would delete the daemon's volume.
    opts=pulumi.ResourceOptions(provider=cluster, retain_on_delete=True),
)
jobs = k8s.core.v1.Namespace("jobs", metadata={"name": "builds-jobs"}, opts=on_cluster)

daemon = SharedDockerDaemon(
    "builds",
    {
        "namespace": docker.metadata["name"],
        "job_namespace": jobs.metadata["name"],
        "node_selector": {"pool": "builders"},
        "volume_size": "200Gi",
    },
    # An option on the component is one on all of its parts.
    opts=pulumi.ResourceOptions(provider=cluster),
)

# What your own runner's config.toml needs: DOCKER_HOST, and the Secret mounted at /certs/client.
pulumi.export("docker_host", daemon.docker_host)
pulumi.export("client_secret_name", daemon.client_secret_name)
