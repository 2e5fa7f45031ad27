"""`RegistryMirror`: a mirror of a registry, which pulls each base image only once."""

from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from ..arguments import RegistryMirrorArgs
from ..kubernetes import network_policy as net
from ..kubernetes import nodes, workloads
from ..meta import type_token
from ..outputs import digest, lift, sha256
from ..validation.messages import validate
from ..validation.rules.kubernetes import STATEFUL_SET_NAME, name_problems
from . import config
from .config import DATA_PATH, DRAIN_SECONDS, METRICS_PORT, PORT, config_yml, job_daemon_json
from .settings import RegistryMirrorSettings

USER_ID = 10002
CONFIG_PATH = "/config/config.yml"


class RegistryMirror(pulumi.ComponentResource):
    """A pull-through cache of a registry, over plain HTTP inside the cluster.

    A Docker daemon that cannot reach the mirror pulls from Docker Hub itself. The mirror serves
    layers from its volume, and asks the mirrored registry whether a tag has moved. The mirrored
    registry must answer when the mirror starts. The volume outlives the component. Nobody can push
    to the mirror, or delete anything over its API.

    The mirror has no TLS. A daemon decides by the scheme of `registry-mirrors`, so `http://` needs
    no entry in `insecure-registries`. Daemons would not trust an authority of this package:
    BuildKit and the containerd image store look up a mirror's authority under `docker.io`.

    Raises:
        ArgsError: the arguments are not valid. The message lists every problem.
    """

    url: pulumi.Output[str]
    """URL of the mirror, for `registry-mirrors` of a Docker daemon."""
    host: pulumi.Output[str]
    """`host:port` of the mirror."""
    namespace: pulumi.Output[str]
    """Namespace of the mirror."""
    daemon_config_map_name: pulumi.Output[str]
    """ConfigMap in the job namespace with the `daemon.json` for Docker daemons that jobs start."""

    def __init__(
        self,
        name: str,
        args: RegistryMirrorArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        names = name_problems(STATEFUL_SET_NAME, name)
        settings = validate(RegistryMirrorSettings, args, f"RegistryMirror '{name}'", also=names)
        super().__init__(type_token("RegistryMirror"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        url = config.url(name, settings)
        self.host = pulumi.Output.from_input(config.host(name, settings))
        self.url = pulumi.Output.from_input(url)
        self.namespace = pulumi.Output.from_input(settings.namespace)

        metrics = {"metrics": METRICS_PORT} if settings.metrics_namespaces else {}
        self._service = workloads.service(
            name,
            settings.namespace,
            ("registry-mirror", name),
            {"registry": PORT, **metrics},
            resource_name=f"{name}-service",
            opts=child,
        )
        self._stateful_set = self._registry(name, settings)
        if settings.enable_network_policies:
            net.policy(
                name,
                settings.namespace,
                ingress=_ingress(settings),
                egress=lift(
                    lambda remote: [
                        net.dns(settings.dns_cidrs),
                        net.internet(settings.egress_cidrs),
                        *net.to_service(remote),
                    ],
                    settings.remote_url,
                ),
                pods=workloads.selector("registry-mirror", name),
                opts=child,
            )
        daemon = k8s.core.v1.ConfigMap(
            f"{name}-daemon",
            metadata={"name": f"{name}-daemon", "namespace": settings.job_namespace},
            data={"daemon.json": lift(job_daemon_json, url)},
            opts=child,
        )
        self.daemon_config_map_name = daemon.metadata["name"]
        self.register_outputs(
            {
                "url": self.url,
                "host": self.host,
                "namespace": self.namespace,
                "daemon_config_map_name": self.daemon_config_map_name,
            }
        )

    @property
    def stateful_set(self) -> k8s.apps.v1.StatefulSet:
        """The mirror's StatefulSet (Python only)."""
        return self._stateful_set

    def _registry(self, name: str, settings: RegistryMirrorSettings) -> k8s.apps.v1.StatefulSet:
        child = pulumi.ResourceOptions(parent=self)
        configuration = lift(lambda remote: config_yml(settings, remote), settings.remote_url)
        config_map = k8s.core.v1.ConfigMap(
            f"{name}-config",
            metadata={"name": f"{name}-config", "namespace": settings.namespace},
            data={"config.yml": configuration},
            opts=child,
        )
        http_secret = random.RandomPassword(
            f"{name}-http-secret", length=40, special=False, opts=child
        ).result
        secret_data: dict[str, pulumi.Input[str]] = {"http-secret": http_secret}
        annotations: dict[str, pulumi.Input[str]] = {"checksum/config": lift(sha256, configuration)}
        if settings.username is not None and settings.password is not None:
            secret_data["username"] = lift(_quotable, settings.username)
            secret_data["password"] = pulumi.Output.secret(settings.password).apply(_quotable)
            salt = random.RandomId(f"{name}-checksum-salt", byte_length=16, opts=child)
            annotations["checksum/credentials"] = digest(
                settings.username, settings.password, salt=salt.hex
            )
        secret = k8s.core.v1.Secret(
            f"{name}-registry",
            metadata={"name": f"{name}-registry", "namespace": settings.namespace},
            string_data=secret_data,
            opts=child,
        )
        secret_name = secret.metadata["name"]
        existing_name = settings.credentials_secret_name
        metrics = [{"name": "metrics", "containerPort": METRICS_PORT}]
        container = {
            "name": "registry",
            "image": settings.image,
            "imagePullPolicy": "IfNotPresent",
            "args": ["serve", CONFIG_PATH],
            "env": _environment(
                secret_name, existing_name if settings.username is None else secret_name
            ),
            "ports": [
                {"name": "registry", "containerPort": PORT},
                *(metrics if settings.metrics_namespaces else []),
            ],
            "readinessProbe": {
                "httpGet": {"path": "/v2/", "port": PORT},
                "periodSeconds": 5,
            },
            "livenessProbe": {
                "httpGet": {"path": "/", "port": PORT},
                "periodSeconds": 20,
                "failureThreshold": 6,
            },
            "resources": settings.resources.kubernetes(),
            "securityContext": workloads.restricted_container(),
            "volumeMounts": [
                {"name": "data", "mountPath": DATA_PATH},
                {"name": "config", "mountPath": "/config", "readOnly": True},
            ],
        }
        # Only one pod: each registry keeps expiry times in memory and writes them to the same file.
        return workloads.stateful_set(
            name,
            settings.namespace,
            ("registry-mirror", name),
            {
                "securityContext": workloads.restricted_pod(USER_ID),
                "nodeSelector": settings.node_selector,
                **nodes.affinity(settings.excluded_nodes, is_preferred=True),
                **({"tolerations": settings.tolerations} if settings.tolerations else {}),
                "terminationGracePeriodSeconds": DRAIN_SECONDS + 30,
                "containers": [container],
                "volumes": [workloads.config_volume("config", config_map)],
            },
            resource_name=f"{name}-server",
            annotations=annotations,
            volume_size=settings.volume_size,
            storage_class_name=settings.storage_class_name,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._service]),
        )


def _ingress(settings: RegistryMirrorSettings) -> list[net.Rule]:
    return [
        *net.namespace_rule(settings.client_namespaces, PORT),
        *net.namespace_rule(settings.metrics_namespaces, METRICS_PORT),
    ]


def _environment(
    secret_name: pulumi.Input[str], credentials_secret_name: pulumi.Input[str] | None
) -> list[dict[str, Any]]:
    """Return the registry's variables. Each is named after its key in config.yml."""

    def from_secret(variable: str, secret: pulumi.Input[str], key: str) -> dict[str, Any]:
        return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}

    environment: list[dict[str, Any]] = [
        # Without it, the registry sends traces to localhost.
        {"name": "OTEL_TRACES_EXPORTER", "value": "none"},
        from_secret("REGISTRY_HTTP_SECRET", secret_name, "http-secret"),
    ]
    if credentials_secret_name is not None:
        for key in ("USERNAME", "PASSWORD"):
            environment += [
                from_secret(f"REMOTE_{key}", credentials_secret_name, key.lower()),
                # The registry parses a variable as YAML, which could change a text without quotes.
                {"name": f"REGISTRY_PROXY_{key}", "value": f"'$(REMOTE_{key})'"},
            ]
    return environment


def _quotable(text: str) -> str:
    """Escape a text for single quotes in YAML."""
    return text.replace("'", "''")
