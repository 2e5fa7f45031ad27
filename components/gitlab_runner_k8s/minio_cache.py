"""A distributed cache in the cluster: an S3-compatible store for `cache:` of jobs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from . import _certificates as pki
from . import _kubernetes as kube
from . import _network as net
from ._inputs import concat, digest, lift, sha256
from ._meta import script, token
from ._specs import MinioCacheSpec
from ._store_engines import (
    CERTIFICATE_FILES,
    CERTIFICATES_PATH,
    CONSOLE_PORT,
    ENGINES,
    Credentials,
    metrics_token,
    time_to_live,
)
from ._validation import name_problems, validate
from .gitlab_runner import ResourcesArgs

USER_ID = 10001
MAXIMUM_NAME = 44
"""Of the component: the pods of `-bootstrap`, with 9 characters of Pulumi's, have it as a label."""
_CA_VALIDITY_HOURS = 87600
_CERTIFICATE_HOURS = (8760, 2160)  # validity; before its end, an update renews it


class MinioEngine(str, Enum):
    """The server that stores the objects."""

    SILO = "silo"
    """Silo, the maintained fork of MinIO; same commands, variables, ports and data."""
    MINIO = "minio"
    """MinIO itself, from an image of your own: the official ones are withdrawn."""
    SEAWEEDFS = "seaweedfs"
    """SeaweedFS, under the Apache licence. Its data are its own: a change from or to it starts
    with an empty cache."""


class MinioOptionsArgs(TypedDict):
    """What can be chosen about the in-cluster store."""

    engine: NotRequired[MinioEngine]
    """The server. Another one starts with an empty bucket, except between silo and minio, which
    read each other's data; what the other left stays on the volume. Default: silo."""
    image: NotRequired[str]
    """Image of the server, by digest; that of silo or minio must carry the client `mc` too, that
    of seaweedfs `curl`. Default: the pinned image of the engine."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity; it can grow, if the StorageClass
    allows that, and never shrink. Default: 20Gi."""
    storage_class_name: NotRequired[str]
    """StorageClass of the volume; it cannot be changed later. Default: the cluster's."""
    expiration_days: NotRequired[int]
    """Days after which an object that was not written again is deleted. Default: 14, as on
    GitLab.com's runners."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the server. Default: 100m to 2 cores, 256Mi to 1Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the server runs. Default: any node."""
    enable_console: NotRequired[bool]
    """Serve the web console on port 9001; seaweedfs has none. Default: not served."""
    enable_tls: NotRequired[bool]
    """Serve HTTPS alone, with a certificate of an authority of the store's own. It is valid for a
    year; updates renew it from 90 days before its end. Default: plain HTTP."""
    enable_metrics: NotRequired[bool]
    """Let Prometheus read the store's metrics: of silo and minio at /minio/v2/metrics/cluster of
    port `s3` with a bearer token, of seaweedfs at /metrics of port `metrics`. Default: not let."""
    metrics_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of Prometheus, which may reach the metrics. Default: monitoring."""


class MinioCacheArgs(MinioOptionsArgs):
    """Arguments of `MinioCache`."""

    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the store. Default: gitlab-runner-cache."""
    runner_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the runner, where the credentials go. Default: gitlab-runner."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of the jobs, which may reach the store; with TLS it must exist, to get the
    authority's certificate. Default: gitlab-runner-jobs."""
    bucket: NotRequired[pulumi.Input[str]]
    """Name of the bucket. Default: runner."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Default: cluster.local."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the store but the runner's and the jobs'; seaweedfs needs that.
    Default: denied."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of DNS caches on the nodes. Default: that of NodeLocal DNSCache,
    169.254.20.10/32."""


class MinioCache(pulumi.ComponentResource):
    """An S3-compatible store on a volume, with a bucket and a user scoped to that bucket.

    The runner never gets the root credentials. The volume outlives the component: destroying
    it leaves the PersistentVolumeClaim.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    endpoint: pulumi.Output[str]
    """`host:port` of the S3 API: HTTPS where TLS is on, else plain HTTP."""
    bucket: pulumi.Output[str]
    """Name of the bucket."""
    credentials_secret_name: pulumi.Output[str]
    """Secret in the runner's namespace with the scoped user's `accesskey` and `secretkey`."""
    credentials_checksum: pulumi.Output[str]
    """Salted digest of the scoped user's credentials."""
    ca_secret_name: pulumi.Output[str] | None
    """Secret in the jobs' namespace with the authority's `ca.crt`; none without TLS."""
    metrics_secret_name: pulumi.Output[str] | None
    """Secret in the store's namespace with the `token` for the metrics; none where they are off,
    or need none."""

    def __init__(
        self,
        name: str,
        args: MinioCacheArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        names = name_problems(MAXIMUM_NAME, name)
        spec = validate(MinioCacheSpec, args, f"MinioCache '{name}'", also=names)
        super().__init__(token("MinioCache"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        service_name = f"{name}-minio"
        host = concat(service_name, ".", spec.namespace, ".svc.", spec.cluster_domain)
        self.endpoint = pulumi.Output.from_input(concat(host, f":{net.S3_PORT}"))
        self.bucket = pulumi.Output.from_input(spec.bucket)

        self._engine = ENGINES[spec.engine]
        root = _credentials(f"{name}-root", self)
        user = _credentials(f"{name}-user", self)
        salt = random.RandomId(f"{name}-checksum-salt", byte_length=16, opts=child)
        self.credentials_checksum = digest(*user, salt=salt.hex)
        certificates = self._certificates(name, spec, host) if spec.enable_tls else None

        server_secret = self._secret(
            f"{name}-server",
            spec.namespace,
            pulumi.Output.all(*root, *user, spec.bucket).apply(
                lambda known: self._engine.server_files(
                    Credentials(*known[:2]), Credentials(*known[2:4]), known[4]
                )
            ),
        )
        files = {
            "root-user": root[0],
            "root-password": root[1],
            "accesskey": user[0],
            "secretkey": user[1],
        }
        self.metrics_secret_name = None
        if spec.enable_metrics and self._engine.has_metrics_token:
            metrics = _credentials(f"{name}-metrics", self)
            files |= {"metrics-accesskey": metrics[0], "metrics-secretkey": metrics[1]}
            bearer = pulumi.Output.all(*metrics).apply(
                lambda known: metrics_token(Credentials(*known))
            )
            metrics_secret = self._secret(f"{name}-metrics", spec.namespace, {"token": bearer})
            self.metrics_secret_name = metrics_secret.metadata["name"]
        lines: dict[str, pulumi.Input[str]] = {
            file: pulumi.Output.concat(text, "\n") for file, text in files.items()
        }
        self.ca_secret_name = None
        self._ca_certificate = certificates.authority if certificates else None
        if certificates:
            lines["ca.crt"] = certificates.authority
            trusted = {"ca.crt": certificates.authority}
            # The runner itself never calls the store: it signs URLs, which jobs call.
            job_secret = self._secret(f"{name}-job-ca", spec.job_namespace, trusted, f"{name}-ca")
            self.ca_secret_name = job_secret.metadata["name"]
        bootstrap_secret = self._secret(f"{name}-bootstrap", spec.namespace, lines)
        runner_secret = self._secret(
            f"{name}-credentials",
            spec.runner_namespace,
            {"accesskey": user[0], "secretkey": user[1]},
        )
        console = {"console": CONSOLE_PORT} if spec.enable_console else {}
        self._service = kube.service(
            service_name,
            spec.namespace,
            ("minio", name),
            {"s3": net.S3_PORT, **console},
            resource_name=f"{name}-service",
            opts=child,
        )
        read_by_server = (*root, *user) if self._engine.server_knows_runner else root
        checksum = digest(*read_by_server, salt=salt.hex)
        self._stateful_set = self._server(name, spec, server_secret, checksum, certificates)
        bootstrap = self._bootstrap(
            name, spec, bootstrap_secret, digest(*lines.values(), salt=salt.hex)
        )
        if spec.enable_network_policies:
            self._network_policy(name, spec)
        # Whoever uses the credentials waits until the user behind them exists.
        self.credentials_secret_name = pulumi.Output.all(
            runner_secret.metadata["name"], bootstrap.id
        ).apply(lambda known: str(known[0]))
        self.register_outputs(
            {
                "endpoint": self.endpoint,
                "bucket": self.bucket,
                "credentials_secret_name": self.credentials_secret_name,
                "credentials_checksum": self.credentials_checksum,
                "ca_secret_name": self.ca_secret_name,
                "metrics_secret_name": self.metrics_secret_name,
            }
        )

    @property
    def ca_certificate(self) -> pulumi.Output[str] | None:
        """PEM text of the authority's certificate; none without TLS (native only)."""
        return self._ca_certificate

    @property
    def stateful_set(self) -> k8s.apps.v1.StatefulSet:
        """The server's StatefulSet (native only)."""
        return self._stateful_set

    def _secret(
        self,
        name: str,
        namespace: pulumi.Input[str],
        files: pulumi.Input[Mapping[str, pulumi.Input[str]]],
        secret_name: str | None = None,
    ) -> k8s.core.v1.Secret:
        return k8s.core.v1.Secret(
            name,
            metadata={"name": secret_name or name, "namespace": namespace},
            string_data=files,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _certificates(
        self, name: str, spec: MinioCacheSpec, host: pulumi.Input[str]
    ) -> "_Certificates":
        child = pulumi.ResourceOptions(parent=self)
        authority = pki.authority(name, f"{name} store CA", _CA_VALIDITY_HOURS, child)
        service = f"{name}-minio"
        names = [
            "localhost",
            service,
            concat(service, ".", spec.namespace),
            concat(service, ".", spec.namespace, ".svc"),
            host,
        ]
        server = pki.leaf(name, "store", authority, _CERTIFICATE_HOURS, child, dns_names=names)
        secret = self._secret(
            f"{name}-certificates",
            spec.namespace,
            dict(zip(CERTIFICATE_FILES, (server.certificate, server.key), strict=True)),
        )
        checksum = pulumi.Output.all(authority.certificate, server.certificate).apply(
            lambda certificates: sha256("".join(certificates))
        )
        return _Certificates(authority.certificate, secret, checksum)

    def _server(
        self,
        name: str,
        spec: MinioCacheSpec,
        secret: k8s.core.v1.Secret,
        checksum: pulumi.Input[str],
        certificates: "_Certificates | None",
    ) -> k8s.apps.v1.StatefulSet:
        engine = self._engine
        ports = {"s3": net.S3_PORT, **engine.ports(spec)}
        ready, live = (
            {"path": path, "port": net.S3_PORT, **({"scheme": "HTTPS"} if certificates else {})}
            for path in engine.probes
        )
        container: dict[str, Any] = {
            "name": "minio",
            "image": _image(spec),
            "imagePullPolicy": "IfNotPresent",
            "args": engine.arguments(spec),
            "env": [
                {"name": key, "value": value} for key, value in engine.environment(spec).items()
            ],
            "ports": [{"name": key, "containerPort": port} for key, port in ports.items()],
            "readinessProbe": {"httpGet": ready, "periodSeconds": 5},
            "livenessProbe": {"httpGet": live, "periodSeconds": 20, "failureThreshold": 6},
            "resources": spec.resources.kubernetes(),
            "securityContext": kube.restricted_container(),
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "tmp", "mountPath": "/tmp"},
                {"name": "secrets", "mountPath": "/secrets", "readOnly": True},
            ],
        }
        if command := engine.command(spec):
            container["command"] = command
        if engine.started:
            given = [spec.bucket, time_to_live(spec.expiration_days)]
            hook = {"command": ["/bin/sh", "-c", script(engine.started), *given]}
            container["lifecycle"] = {"postStart": {"exec": hook}}
        annotations: dict[str, pulumi.Input[str]] = {"checksum/root-credentials": checksum}
        volumes = [
            {"name": "tmp", "emptyDir": {}},
            kube.secret_volume("secrets", secret, 0o440),
        ]
        if certificates:
            volumes.append(kube.secret_volume("certificates", certificates.secret, 0o440))
            container["volumeMounts"].append(
                {"name": "certificates", "mountPath": CERTIFICATES_PATH, "readOnly": True}
            )
            annotations["checksum/certificates"] = certificates.checksum
        return kube.stateful_set(
            f"{name}-minio",
            spec.namespace,
            ("minio", name),
            {
                "securityContext": kube.restricted_pod(USER_ID),
                "nodeSelector": spec.node_selector,
                "containers": [container],
                "volumes": volumes,
            },
            resource_name=f"{name}-server",
            annotations=annotations,
            volume_size=spec.volume_size,
            storage_class_name=spec.storage_class_name,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._service]),
        )

    def _bootstrap(
        self,
        name: str,
        spec: MinioCacheSpec,
        secret: k8s.core.v1.Secret,
        secret_checksum: pulumi.Input[str],
    ) -> k8s.batch.v1.Job:
        engine = self._engine
        files = lift(
            lambda bucket: {
                "bootstrap.sh": script(engine.bootstrap),
                **engine.bootstrap_files(bucket, spec.expiration_days),
            },
            spec.bucket,
        )
        scheme = "https" if spec.enable_tls else "http"
        config_map = k8s.core.v1.ConfigMap(
            f"{name}-bootstrap",
            metadata={"name": f"{name}-bootstrap", "namespace": spec.namespace},
            data=files,
            opts=pulumi.ResourceOptions(parent=self),
        )
        checksum = pulumi.Output.all(files, secret_checksum).apply(
            lambda known: sha256(json.dumps(known, sort_keys=True))
        )
        container = {
            "name": "bootstrap",
            "image": _image(spec),
            "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "/config/bootstrap.sh"],
            "env": [
                {"name": "STORE_URL", "value": concat(f"{scheme}://", self.endpoint)},
                {"name": "BUCKET", "value": spec.bucket},
            ],
            "resources": {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"cpu": "1", "memory": "256Mi"},
            },
            "securityContext": kube.restricted_container(),
            "volumeMounts": [
                {"name": "config", "mountPath": "/config", "readOnly": True},
                {"name": "secrets", "mountPath": "/secrets", "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }
        labels = kube.labels("minio-bootstrap", name)
        template: Any = {
            "metadata": {"labels": labels, "annotations": {"checksum/bootstrap": checksum}},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": kube.restricted_pod(USER_ID),
                "containers": [container],
                "volumes": [
                    kube.config_volume("config", config_map),
                    kube.secret_volume("secrets", secret, 0o440),
                    {"name": "tmp", "emptyDir": {}},
                ],
            },
        }
        # A Job cannot be changed: its autonamed successor runs before it is deleted.
        return k8s.batch.v1.Job(
            f"{name}-bootstrap",
            metadata={"namespace": spec.namespace, "labels": labels},
            spec={"backoff_limit": 5, "active_deadline_seconds": 600, "template": template},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._stateful_set]),
        )

    def _network_policy(self, name: str, spec: MinioCacheSpec) -> None:
        clients = [
            net.namespace_peer(spec.runner_namespace),
            net.namespace_peer(spec.job_namespace),
        ]
        bootstrap = {"podSelector": {"matchLabels": kube.selector("minio-bootstrap", name)}}
        ingress = [{"from": [*clients, bootstrap], "ports": net.ports(net.S3_PORT)}]
        if spec.enable_metrics:
            scraper = net.namespace_peer(spec.metrics_namespace)
            ingress.append({"from": [scraper], "ports": net.ports(self._engine.metrics_port)})
        child = pulumi.ResourceOptions(parent=self)
        net.policy(
            f"{name}-minio",
            spec.namespace,
            ingress=ingress,
            egress=[],
            pods=kube.selector("minio", name),
            opts=child,
        )
        server = {"podSelector": {"matchLabels": kube.selector("minio", name)}}
        net.policy(
            f"{name}-bootstrap",
            spec.namespace,
            ingress=[],
            egress=[net.dns(spec.dns_cidrs), {"to": [server], "ports": net.ports(net.S3_PORT)}],
            pods=kube.selector("minio-bootstrap", name),
            opts=child,
        )


@dataclass(frozen=True)
class _Certificates:
    """The authority's certificate, the Secret with the server's, and what changes with them."""

    authority: pulumi.Output[str]
    secret: k8s.core.v1.Secret
    checksum: pulumi.Output[str]


def _credentials(
    name: str, parent: pulumi.Resource
) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """Declare random credentials: a user's name of 20 and a password of 40 characters."""
    child = pulumi.ResourceOptions(parent=parent)
    user = random.RandomPassword(f"{name}-name", length=20, special=False, opts=child)
    password = random.RandomPassword(f"{name}-password", length=40, special=False, opts=child)
    return user.result, password.result


def _image(spec: MinioCacheSpec) -> str:
    image = spec.image or ENGINES[spec.engine].image
    assert image is not None  # the spec holds that an engine without one is given one
    return image
