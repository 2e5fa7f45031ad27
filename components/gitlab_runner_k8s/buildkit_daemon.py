"""One buildkitd for all jobs, without root: layers stay, and no container can be started on it."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s
import tomli_w

from . import _daemon as daemon
from ._inputs import lift
from ._meta import token
from ._specs import BuildKitDaemonSpec
from ._validation import STATEFUL_SET_NAME, name_problems, quantity, validate
from .gitlab_runner import ResourcesArgs

USER_ID = 1000
KIND = daemon.Kind("buildkit", 1234, "/home/user/.local/share/buildkit", "/config", 0o440)
_SOCKET = "unix:///run/user/1000/buildkit/buildkitd.sock"


class BuildKitOptionsArgs(TypedDict):
    """What can be chosen about buildkitd."""

    image: NotRequired[str]
    """Image of the daemon, rootless, by digest. Default: the pinned moby/buildkit."""
    replicas: NotRequired[int]
    """Daemons, from 1 to 16, each with a volume of its own. They are for load and no boundary: all
    share a client certificate, and any job can reach every daemon of its zone; zones are for that.
    A project's jobs always use the same one, chosen by CI_PROJECT_ID in a consistent way: one more
    takes over its share of the projects, which start cold there, and the others stay. From 1 to
    more, and back to 1, the server's certificate is replaced and the first restarts. One less ends
    the last one, within `termination_grace_period_seconds`; its volume stays. Its running jobs then
    fail at their next command to it; those that start before the runner knows wait, and take the
    first. Jobs choose in their own shell, which has to be bash or sh; services and jobs with `run:`
    know the first alone. Default: 1."""
    volume_size: NotRequired[str]
    """Size of the volume for images and build cache in bytes, as a Kubernetes quantity.
    Default: 100Gi."""
    storage_class_name: NotRequired[str]
    """StorageClass of the volume, of a block device: not NFS. It cannot be changed later.
    Default: the cluster's."""
    build_cache_percent: NotRequired[int]
    """Share of the volume that the build cache may take before the oldest is removed, from 10 to
    90. Default: 70."""
    build_cache_keep_hours: NotRequired[int]
    """Hours after which build cache that nothing used is removed, however much room there is.
    Default: 1440, 60 days."""
    registry_mirrors: NotRequired[list[pulumi.Input[str]]]
    """URLs of pull-through mirrors of Docker Hub. Default: none."""
    insecure_registries: NotRequired[list[str]]
    """`host:port` of registries without TLS. Default: none."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the daemon and of everything that it builds.
    Default: 1 to 8 cores, 2Gi to 16Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the daemon runs. Default: any node."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the daemon's pod, as in Kubernetes. Default: none."""
    enable_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting the daemon: the drain waits until you delete the pod.
    Default: it is evicted, after `termination_grace_period_seconds`."""
    certificate_validity_hours: NotRequired[int]
    """Hours for which the server's and the client's certificates are valid. Default: 2160, 90
    days."""
    certificate_renewal_hours: NotRequired[int]
    """Hours before expiry from which an update renews the certificates. Default: 720, 30 days."""
    ca_validity_hours: NotRequired[int]
    """Hours for which the authority is valid. Another value makes a new certificate of the same
    key: what it signed before is still trusted. Default: 87600, 10 years."""
    termination_grace_period_seconds: NotRequired[int]
    """Seconds that running builds have to end when the daemon restarts, from 30 to 86400. It stops
    once no client is connected, and 20 seconds before the end in any case. Default: 600."""


class BuildKitDaemonArgs(BuildKitOptionsArgs):
    """Arguments of `BuildKitDaemon`."""

    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the daemon alone; it needs the Pod Security level `privileged`, because
    the daemon's pod, without privilege as it is, has no seccomp and no AppArmor profile.
    Default: gitlab-runner-buildkit."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs, which get the client certificate.
    Default: gitlab-runner-jobs."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Default: cluster.local."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the daemon but the jobs' and the internet. Default: denied."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that builds may reach, such as a registry's. Default: none."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of DNS caches on the nodes. Default: that of NodeLocal DNSCache,
    169.254.20.10/32."""


class BuildKitDaemon(pulumi.ComponentResource):
    """A rootless buildkitd on a volume, reachable by mutual TLS alone.

    An alternative to `SharedDockerDaemon` of the same shape, where jobs build images and start no
    containers: it has no API for that, and its pod is not privileged. Builders still share their
    cache: give one daemon to projects that trust each other. The volume outlives the component.
    Jobs use it by `docker buildx create --driver remote` or `buildctl --tlsdir`.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    buildkit_host: pulumi.Output[str]
    """Address of the daemon, for BUILDKIT_HOST; of the first, where there are several."""
    client_secret_name: pulumi.Output[str]
    """Secret in the job namespace with `ca.pem`, `cert.pem` and `key.pem`."""
    namespace: pulumi.Output[str]
    """Namespace of the daemon."""

    def __init__(
        self, name: str, args: BuildKitDaemonArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        names = name_problems(STATEFUL_SET_NAME, name)
        spec = validate(BuildKitDaemonSpec, args, f"BuildKitDaemon '{name}'", also=names)
        super().__init__(token("BuildKitDaemon"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.buildkit_host = daemon.address(name, KIND, spec)
        self.namespace = pulumi.Output.from_input(spec.namespace)
        certificates = daemon.certificates(name, KIND, spec, child)
        self._stateful_set = self._daemon(name, spec, certificates)
        if spec.enable_network_policies:
            daemon.policy(name, KIND, spec, child)
        daemon.disruption_budget(name, KIND, spec, child)
        self.client_secret_name = daemon.client_secret_name(certificates, self._stateful_set)
        self.register_outputs(
            {
                "buildkit_host": self.buildkit_host,
                "client_secret_name": self.client_secret_name,
                "namespace": self.namespace,
            }
        )

    @property
    def stateful_set(self) -> k8s.apps.v1.StatefulSet:
        """The daemon's StatefulSet (native only)."""
        return self._stateful_set

    def _daemon(
        self, name: str, spec: BuildKitDaemonSpec, certificates: daemon.Certificates
    ) -> k8s.apps.v1.StatefulSet:
        settings = lift(lambda mirrors: buildkitd_toml(spec, mirrors), spec.registry_mirrors)
        container = daemon.container(
            "buildkitd",
            KIND,
            spec,
            image=spec.image,
            arguments=[
                f"--config={KIND.config_path}/buildkitd.toml",
                f"--addr={_SOCKET}",
                f"--addr=tcp://0.0.0.0:{KIND.port}",
                *daemon.flags(KIND.server_certs_path),
                # Its own sandbox needs a pod that may mount /proc, which a privileged one may.
                "--oci-worker-no-process-sandbox",
            ],
            over_socket=_workers(_SOCKET),
            over_tls=_workers(
                f"tcp://localhost:{KIND.port}", *daemon.flags(KIND.client_certs_path)
            ),
            # Rootless builds make namespaces of their own, which the default profiles forbid.
            security_context={
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "Unconfined"},
                "appArmorProfile": {"type": "Unconfined"},
            },
        )
        return daemon.stateful_set(
            name,
            KIND,
            spec,
            certificates,
            {"buildkitd.toml": settings},
            ("buildkitd-toml", settings),
            {
                "securityContext": {"fsGroup": USER_ID, "fsGroupChangePolicy": "OnRootMismatch"},
                "containers": [container],
            },
            pulumi.ResourceOptions(parent=self),
        )


def _workers(address: str, *flags: str) -> list[str]:
    return ["buildctl", f"--addr={address}", *flags, "debug", "workers"]


def buildkitd_toml(spec: BuildKitDaemonSpec, mirrors: list[str]) -> str:
    """Return the daemon's configuration: limits of the build cache, and registries."""
    policies = daemon.gc_policies(
        int(quantity(spec.volume_size)), spec.build_cache_percent, spec.build_cache_keep_hours
    )
    plain = [mirror for mirror in mirrors if mirror.startswith("http://")]
    registries: dict[str, Any] = {
        host: {"http": True}
        for host in [*spec.insecure_registries, *(_host(mirror) for mirror in plain)]
    }
    if mirrors:
        registries["docker.io"] = {"mirrors": [_host(mirror) for mirror in mirrors]}
    settings: dict[str, Any] = {
        "worker": {"oci": {"gc": True, "gcpolicy": policies}, "containerd": {"enabled": False}}
    }
    if registries:
        settings["registry"] = registries
    return tomli_w.dumps(settings)


def _host(url: str) -> str:
    return url.partition("://")[2].rstrip("/")
