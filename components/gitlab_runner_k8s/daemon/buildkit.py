"""`BuildKitDaemon`: a shared buildkitd without root, on which jobs cannot start containers."""

import tomllib
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import tomli_w

from ..arguments import BuildKitDaemonArgs
from ..meta import type_token
from ..outputs import lift
from ..validation.messages import validate
from ..validation.rules.kubernetes import STATEFUL_SET_NAME, name_problems, quantity
from ..validation.tables import merge
from . import common as daemon
from .extra_config import parse
from .settings import BuildKitDaemonSettings

USER_ID = 1000
KIND = daemon.Kind("buildkit", 1234, "/home/user/.local/share/buildkit", "/config", 0o440)
_SOCKET = "unix:///run/user/1000/buildkit/buildkitd.sock"


class BuildKitDaemon(pulumi.ComponentResource):
    """A rootless BuildKit daemon on a volume, which jobs reach only over mutual TLS.

    Use it in place of `SharedDockerDaemon` if your jobs build images and start no containers. The
    daemon has no API for containers, and its pod is not privileged. All builds share one cache, so
    let only projects that trust each other use the same daemon. The volume outlives the component.
    Jobs use the daemon with `docker buildx create --driver remote` or `buildctl --tlsdir`.

    Raises:
        ArgsError: the arguments are not valid. The message lists every problem.
    """

    buildkit_host: pulumi.Output[str]
    """Address of the daemon, for BUILDKIT_HOST. With several daemons, it is the address of the
    first daemon."""
    client_secret_name: pulumi.Output[str]
    """Secret in the job namespace with the client certificate: `ca.pem`, `cert.pem`, `key.pem`."""
    namespace: pulumi.Output[str]
    """Namespace of the daemon."""

    def __init__(
        self, name: str, args: BuildKitDaemonArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        names = name_problems(STATEFUL_SET_NAME, name)
        settings = validate(BuildKitDaemonSettings, args, f"BuildKitDaemon '{name}'", also=names)
        super().__init__(type_token("BuildKitDaemon"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.buildkit_host = daemon.address(name, KIND, settings)
        self.namespace = pulumi.Output.from_input(settings.namespace)
        certificates = daemon.certificates(name, KIND, settings, child)
        self._certificate_expires = certificates.expires
        self._stateful_set = self._daemon(name, settings, certificates)
        if settings.enable_network_policies:
            daemon.policy(name, KIND, settings, child)
        daemon.disruption_budget(name, KIND, settings, child)
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
        """The daemon's StatefulSet (Python only)."""
        return self._stateful_set

    @property
    def certificate_expires(self) -> pulumi.Output[str]:
        """Time at which the certificates end, in RFC 3339 (Python only)."""
        return self._certificate_expires

    def _daemon(
        self, name: str, settings: BuildKitDaemonSettings, certificates: daemon.Certificates
    ) -> k8s.apps.v1.StatefulSet:
        config = lift(lambda mirrors: buildkitd_toml(settings, mirrors), settings.registry_mirrors)
        container = daemon.container(
            "buildkitd",
            KIND,
            settings,
            image=settings.image,
            arguments=[
                f"--config={KIND.config_path}/buildkitd.toml",
                f"--addr={_SOCKET}",
                f"--addr=tcp://0.0.0.0:{KIND.port}",
                *daemon.flags(KIND.server_certs_path),
                # The sandbox needs a pod that may mount /proc, and only a privileged pod may.
                "--oci-worker-no-process-sandbox",
            ],
            over_socket=_workers(_SOCKET),
            over_tls=_workers(
                f"tcp://localhost:{KIND.port}", *daemon.flags(KIND.client_certs_path)
            ),
            environment=(
                settings.proxy.variables(str(settings.cluster_domain)) if settings.proxy else None
            ),
            # Rootless builds create namespaces, which the default profiles forbid.
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
            settings,
            certificates,
            {"buildkitd.toml": config},
            ("buildkitd-toml", config),
            {
                "securityContext": {"fsGroup": USER_ID, "fsGroupChangePolicy": "OnRootMismatch"},
                "containers": [container],
            },
            pulumi.ResourceOptions(parent=self),
        )


def _workers(address: str, *flags: str) -> list[str]:
    return ["buildctl", f"--addr={address}", *flags, "debug", "workers"]


def buildkitd_toml(settings: BuildKitDaemonSettings, mirrors: list[str]) -> str:
    """Return the daemon's configuration: limits of the build cache, and registries."""
    policies = daemon.gc_policies(
        int(quantity(settings.volume_size)),
        settings.build_cache_percent,
        settings.build_cache_keep_hours,
    )
    plain = [mirror for mirror in mirrors if mirror.startswith("http://")]
    registries: dict[str, Any] = {
        host: {"http": True}
        for host in [*settings.insecure_registries, *(_host(mirror) for mirror in plain)]
    }
    if mirrors:
        registries["docker.io"] = {"mirrors": [_host(mirror) for mirror in mirrors]}
    for host, file in daemon.registry_certificate_files(settings).items():
        registries[host] = {**registries.get(host, {}), "ca": [f"{KIND.config_path}/{file}"]}
    config: dict[str, Any] = {
        "worker": {"oci": {"gc": True, "gcpolicy": policies}, "containerd": {"enabled": False}}
    }
    if registries:
        config["registry"] = registries
    return tomli_w.dumps(merge(config, parse(settings.extra_daemon_config, tomllib.loads)))


def _host(url: str) -> str:
    return url.partition("://")[2].rstrip("/")
