"""A mirror of a registry: base images are pulled from outside once, for all docker daemons."""

import json
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from . import _kubernetes as kube
from . import _network as net
from ._inputs import concat, digest, lift, sha256
from ._meta import token
from ._specs import RegistryMirrorOptions, RegistryMirrorSpec
from ._validation import STATEFUL_SET_NAME, name_problems, validate
from .gitlab_runner import ResourcesArgs

USER_ID = 10002
PORT = 5000
METRICS_PORT = 5001
DATA_PATH = "/var/lib/registry"
CONFIG_PATH = "/config/config.yml"
DRAIN_SECONDS = 60


class RegistryMirrorOptionsArgs(TypedDict):
    """What can be chosen about the mirror."""

    image: NotRequired[str]
    """Image of the CNCF registry 3, by digest. Default: the pinned docker.io/library/registry."""
    remote_url: NotRequired[pulumi.Input[str]]
    """URL of the registry to mirror. Docker daemons use a mirror for Docker Hub alone: name Docker
    Hub, or a registry that itself mirrors it. Default: https://registry-1.docker.io."""
    allow_insecure_remote: NotRequired[bool]
    """Accept a `remote_url` without TLS. Default: refused."""
    username: NotRequired[pulumi.Input[str]]
    """Name of the account at the mirrored registry. Every job can then pull what that account
    can: give it no private repositories. Default: anonymous."""
    password: NotRequired[pulumi.Input[str]]
    """Password or access token of `username`, as a Pulumi secret. Default: anonymous."""
    credentials_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret in the mirror's namespace with the keys `username` and `password`, in place
    of these two; a single quote in either is written twice. The pod reads it when it starts.
    Default: anonymous."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. The registry knows no limit but
    `ttl_hours`: allow for what is pulled in that time. Default: 50Gi."""
    storage_class_name: NotRequired[pulumi.Input[str]]
    """StorageClass of the volume; it cannot be changed later. Default: the cluster's."""
    ttl_hours: NotRequired[int]
    """Hours after which a layer or manifest is removed and, if asked for again, pulled again. It
    holds for what is pulled from then on. Default: 168, 7 days."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the mirror. Default: 100m to 2 cores, 128Mi to 512Mi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the mirror runs. Default: any node."""
    log_level: NotRequired[str]
    """Least severity that is logged: error, warn, info or debug. Default: info."""
    metrics_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces that may read Prometheus metrics, on port 5001 at /metrics; Go's profiler is
    there too. Default: none, and no metrics are served."""


class RegistryMirrorArgs(RegistryMirrorOptionsArgs):
    """Arguments of `RegistryMirror`."""

    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the mirror; the Pod Security level `restricted` does.
    Default: gitlab-runner-mirror."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs, where the settings for their own daemons go.
    Default: gitlab-runner-jobs."""
    client_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces whose pods may pull. Default: gitlab-runner-jobs and gitlab-runner-docker."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Default: cluster.local."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the mirror but its clients' and the internet. Default: denied."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that the mirror may reach, such as a registry's. Default: none."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of DNS caches on the nodes. Default: that of NodeLocal DNSCache,
    169.254.20.10/32."""


class RegistryMirror(pulumi.ComponentResource):
    """A pull-through cache of a registry, plain HTTP inside the cluster.

    A docker daemon that cannot reach it pulls from Docker Hub itself. The mirrored registry must
    answer when the mirror starts, and is asked whether a tag moved; layers come from the volume,
    which outlives the component. Nothing can be pushed to the mirror or deleted over its API.

    There is no TLS: a daemon decides by the scheme of `registry-mirrors`, so `http://` needs no
    entry in `insecure-registries`. An authority of the package's own would not be trusted:
    BuildKit and the containerd image store look a mirror's authority up under `docker.io`.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    url: pulumi.Output[str]
    """Address of the mirror, for `registry-mirrors` of a docker daemon."""
    host: pulumi.Output[str]
    """`host:port` of the mirror."""
    namespace: pulumi.Output[str]
    """Namespace of the mirror."""
    daemon_config_map_name: pulumi.Output[str]
    """ConfigMap in the job namespace with the `daemon.json` of daemons that jobs start."""

    def __init__(
        self,
        name: str,
        args: RegistryMirrorArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        names = name_problems(STATEFUL_SET_NAME, name)
        spec = validate(RegistryMirrorSpec, args, f"RegistryMirror '{name}'", also=names)
        super().__init__(token("RegistryMirror"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        host = concat(name, ".", spec.namespace, ".svc.", spec.cluster_domain, f":{PORT}")
        url = concat("http://", host)
        self.host = pulumi.Output.from_input(host)
        self.url = pulumi.Output.from_input(url)
        self.namespace = pulumi.Output.from_input(spec.namespace)

        metrics = {"metrics": METRICS_PORT} if spec.metrics_namespaces else {}
        self._service = kube.service(
            name,
            spec.namespace,
            ("registry-mirror", name),
            {"registry": PORT, **metrics},
            resource_name=f"{name}-service",
            opts=child,
        )
        self._stateful_set = self._registry(name, spec)
        if spec.enable_network_policies:
            net.policy(
                name,
                spec.namespace,
                ingress=_ingress(spec),
                egress=lift(
                    lambda remote: [
                        net.dns(spec.dns_cidrs),
                        net.internet(spec.egress_cidrs),
                        *net.to_service(remote),
                    ],
                    spec.remote_url,
                ),
                pods=kube.selector("registry-mirror", name),
                opts=child,
            )
        daemon = k8s.core.v1.ConfigMap(
            f"{name}-daemon",
            metadata={"name": f"{name}-daemon", "namespace": spec.job_namespace},
            data={"daemon.json": lift(daemon_json, url)},
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
        """The mirror's StatefulSet (native only)."""
        return self._stateful_set

    def _registry(self, name: str, spec: RegistryMirrorSpec) -> k8s.apps.v1.StatefulSet:
        child = pulumi.ResourceOptions(parent=self)
        settings = lift(lambda remote: config_yml(spec, remote), spec.remote_url)
        config_map = k8s.core.v1.ConfigMap(
            f"{name}-config",
            metadata={"name": f"{name}-config", "namespace": spec.namespace},
            data={"config.yml": settings},
            opts=child,
        )
        http_secret = random.RandomPassword(
            f"{name}-http-secret", length=40, special=False, opts=child
        ).result
        secret_data: dict[str, pulumi.Input[str]] = {"http-secret": http_secret}
        annotations: dict[str, pulumi.Input[str]] = {"checksum/config": lift(sha256, settings)}
        if spec.username is not None and spec.password is not None:
            secret_data["username"] = lift(_quotable, spec.username)
            secret_data["password"] = pulumi.Output.secret(spec.password).apply(_quotable)
            salt = random.RandomId(f"{name}-checksum-salt", byte_length=16, opts=child)
            annotations["checksum/credentials"] = digest(
                spec.username, spec.password, salt=salt.hex
            )
        secret = k8s.core.v1.Secret(
            f"{name}-registry",
            metadata={"name": f"{name}-registry", "namespace": spec.namespace},
            string_data=secret_data,
            opts=child,
        )
        secret_name = secret.metadata["name"]
        given = spec.credentials_secret_name
        metrics = [{"name": "metrics", "containerPort": METRICS_PORT}]
        container = {
            "name": "registry",
            "image": spec.image,
            "imagePullPolicy": "IfNotPresent",
            "args": ["serve", CONFIG_PATH],
            "env": _environment(secret_name, given if spec.username is None else secret_name),
            "ports": [
                {"name": "registry", "containerPort": PORT},
                *(metrics if spec.metrics_namespaces else []),
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
            "resources": spec.resources.kubernetes(),
            "securityContext": kube.restricted_container(),
            "volumeMounts": [
                {"name": "data", "mountPath": DATA_PATH},
                {"name": "config", "mountPath": "/config", "readOnly": True},
            ],
        }
        # One pod: each registry keeps the times of expiry in memory, and writes them to one file.
        return kube.stateful_set(
            name,
            spec.namespace,
            ("registry-mirror", name),
            {
                "securityContext": kube.restricted_pod(USER_ID),
                "nodeSelector": spec.node_selector,
                "terminationGracePeriodSeconds": DRAIN_SECONDS + 30,
                "containers": [container],
                "volumes": [kube.config_volume("config", config_map)],
            },
            resource_name=f"{name}-server",
            annotations=annotations,
            volume_size=spec.volume_size,
            storage_class_name=spec.storage_class_name,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._service]),
        )


def _ingress(spec: RegistryMirrorSpec) -> list[net.Rule]:
    return [
        *net.namespace_rule(spec.client_namespaces, PORT),
        *net.namespace_rule(spec.metrics_namespaces, METRICS_PORT),
    ]


def _environment(
    secret_name: pulumi.Input[str], credentials_secret_name: pulumi.Input[str] | None
) -> list[dict[str, Any]]:
    """Return the registry's variables; each named after its key in config.yml."""

    def from_secret(variable: str, secret: pulumi.Input[str], key: str) -> dict[str, Any]:
        return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}

    environment: list[dict[str, Any]] = [
        # The registry sends traces to localhost otherwise.
        {"name": "OTEL_TRACES_EXPORTER", "value": "none"},
        from_secret("REGISTRY_HTTP_SECRET", secret_name, "http-secret"),
    ]
    if credentials_secret_name is not None:
        for key in ("USERNAME", "PASSWORD"):
            environment += [
                from_secret(f"REMOTE_{key}", credentials_secret_name, key.lower()),
                # The registry reads a variable as YAML: without quotes it may not be this text.
                {"name": f"REGISTRY_PROXY_{key}", "value": f"'$(REMOTE_{key})'"},
            ]
    return environment


def _quotable(text: str) -> str:
    """Return a text as it stands between single quotes in YAML."""
    return text.replace("'", "''")


def config_yml(spec: RegistryMirrorOptions, remote_url: str) -> str:
    """Return the registry's configuration, as JSON, which is YAML too.

    The cache collects its own garbage: its scheduler removes a layer once `ttl` is over, from the
    volume too, which is why `delete` is enabled (over the API a cache refuses it all the same).
    `registry garbage-collect` has no place beside it: it must not run while anything is written,
    and every first pull writes. The scheduler leaves manifests of a few kB each behind; what a
    killed pull left is removed by `uploadpurging`.
    """
    http: dict[str, Any] = {
        "addr": f":{PORT}",
        # Without it a pod that is stopped cuts running pulls off, and the last times of expiry.
        "draintimeout": f"{DRAIN_SECONDS}s",
        "headers": {"X-Content-Type-Options": ["nosniff"]},
    }
    if spec.metrics_namespaces:
        http["debug"] = {
            "addr": f":{METRICS_PORT}",
            "prometheus": {"enabled": True, "path": "/metrics"},
        }
    settings = {
        "version": "0.1",
        "log": {"level": spec.log_level, "accesslog": {"disabled": True}},
        # No cache of descriptors: it would know layers of other repositories after their expiry.
        "storage": {
            "filesystem": {"rootdirectory": DATA_PATH},
            "delete": {"enabled": True},
            "maintenance": {
                "uploadpurging": {
                    "enabled": True,
                    "age": "24h",
                    "interval": "24h",
                    "dryrun": False,
                }
            },
        },
        "http": http,
        "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
        "proxy": {"remoteurl": remote_url, "ttl": f"{spec.ttl_hours}h"},
    }
    return json.dumps(settings, indent=2) + "\n"


def daemon_json(url: str) -> str:
    """Return the configuration of a docker daemon that uses the mirror, for Docker Hub alone."""
    return json.dumps({"registry-mirrors": [url]}, indent=2) + "\n"
