"""`MinioCache`: a distributed cache in the cluster, in an S3-compatible store."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from ..arguments import MinioCacheArgs
from ..kubernetes import certificates as pki
from ..kubernetes import network_policy as net
from ..kubernetes import nodes, workloads
from ..meta import script, type_token
from ..outputs import concat, digest, lift, sha256
from ..validation.messages import validate
from ..validation.rules.kubernetes import name_problems
from .engines import (
    CERTIFICATE_FILES,
    CERTIFICATES_PATH,
    CONSOLE_PORT,
    ENGINES,
    Credentials,
    metrics_token,
    time_to_live,
)
from .settings import MinioCacheSettings

USER_ID = 10001
MAXIMUM_NAME = 44
"""Longest name of the component. A label of the bootstrap Job's pods has this name, `-bootstrap`
and 9 characters from Pulumi."""
_CA_VALIDITY_HOURS = 87600
CERTIFICATE_HOURS = (8760, 2160)  # validity, and hours before its end from which an update renews


class MinioCache(pulumi.ComponentResource):
    """An S3-compatible store on a volume, with a bucket and a user for that bucket only.

    The runner never gets the root credentials. The volume outlives the component: `pulumi destroy`
    leaves the PersistentVolumeClaim.

    Raises:
        ArgsError: the arguments are not valid. The message lists every problem.
    """

    endpoint: pulumi.Output[str]
    """`host:port` of the S3 API, which uses HTTPS with `enable_tls` and plain HTTP without it."""
    bucket: pulumi.Output[str]
    """Name of the bucket."""
    credentials_secret_name: pulumi.Output[str]
    """Secret in the runner's namespace with `accesskey` and `secretkey` of the bucket's user."""
    credentials_checksum: pulumi.Output[str]
    """Salted digest of the credentials of the bucket's user."""
    ca_secret_name: pulumi.Output[str] | None
    """Secret in the job namespace with the authority's `ca.crt`. Set only with `enable_tls`."""
    metrics_secret_name: pulumi.Output[str] | None
    """Secret in the store's namespace with the `token` for the metrics. Set only with
    `enable_metrics`, and not for the engine `seaweedfs`, whose metrics need no token."""

    def __init__(
        self,
        name: str,
        args: MinioCacheArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        names = name_problems(MAXIMUM_NAME, name)
        settings = validate(MinioCacheSettings, args, f"MinioCache '{name}'", also=names)
        super().__init__(type_token("MinioCache"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        service_name = f"{name}-minio"
        host = concat(service_name, ".", settings.namespace, ".svc.", settings.cluster_domain)
        self.endpoint = pulumi.Output.from_input(concat(host, f":{net.S3_PORT}"))
        self.bucket = pulumi.Output.from_input(settings.bucket)

        self._engine = ENGINES[settings.engine]
        root = _credentials(f"{name}-root", self)
        user = _credentials(f"{name}-user", self)
        salt = random.RandomId(f"{name}-checksum-salt", byte_length=16, opts=child)
        self.credentials_checksum = digest(*user, salt=salt.hex)
        certificates = self._certificates(name, settings, host) if settings.enable_tls else None

        server_secret = self._secret(
            f"{name}-server",
            settings.namespace,
            pulumi.Output.all(*root, *user, settings.bucket).apply(
                lambda values: self._engine.server_files(
                    Credentials(*values[:2]), Credentials(*values[2:4]), values[4]
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
        if settings.enable_metrics and self._engine.has_metrics_token:
            metrics = _credentials(f"{name}-metrics", self)
            files |= {"metrics-accesskey": metrics[0], "metrics-secretkey": metrics[1]}
            bearer = pulumi.Output.all(*metrics).apply(
                lambda values: metrics_token(Credentials(*values))
            )
            metrics_secret = self._secret(f"{name}-metrics", settings.namespace, {"token": bearer})
            self.metrics_secret_name = metrics_secret.metadata["name"]
        lines: dict[str, pulumi.Input[str]] = {
            file: pulumi.Output.concat(text, "\n") for file, text in files.items()
        }
        self.ca_secret_name = None
        self._ca_certificate = certificates.authority if certificates else None
        self._certificate_expires = certificates.expires if certificates else None
        if certificates:
            lines["ca.crt"] = certificates.authority
            trusted = {"ca.crt": certificates.authority}
            # The runner itself never calls the store. It signs URLs, and jobs call them.
            job_secret = self._secret(
                f"{name}-job-ca", settings.job_namespace, trusted, f"{name}-ca"
            )
            self.ca_secret_name = job_secret.metadata["name"]
        bootstrap_secret = self._secret(f"{name}-bootstrap", settings.namespace, lines)
        runner_secret = self._secret(
            f"{name}-credentials",
            settings.runner_namespace,
            {"accesskey": user[0], "secretkey": user[1]},
        )
        console = {"console": CONSOLE_PORT} if settings.enable_console else {}
        self._service = workloads.service(
            service_name,
            settings.namespace,
            ("minio", name),
            {"s3": net.S3_PORT, **console},
            resource_name=f"{name}-service",
            opts=child,
        )
        read_by_server = (*root, *user) if self._engine.server_knows_runner else root
        checksum = digest(*read_by_server, salt=salt.hex)
        self._stateful_set = self._server(name, settings, server_secret, checksum, certificates)
        bootstrap = self._bootstrap(
            name, settings, bootstrap_secret, digest(*lines.values(), salt=salt.hex)
        )
        if settings.enable_network_policies:
            self._network_policy(name, settings)
        # Resources that use the credentials wait until the bootstrap Job has created the user.
        self.credentials_secret_name = pulumi.Output.all(
            runner_secret.metadata["name"], bootstrap.id
        ).apply(lambda values: str(values[0]))
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
        """PEM text of the authority's certificate; None without TLS (Python only)."""
        return self._ca_certificate

    @property
    def certificate_expires(self) -> pulumi.Output[str] | None:
        """Time at which the certificate ends, in RFC 3339; None without TLS (Python only)."""
        return self._certificate_expires

    @property
    def stateful_set(self) -> k8s.apps.v1.StatefulSet:
        """The server's StatefulSet (Python only)."""
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
        self, name: str, settings: MinioCacheSettings, host: pulumi.Input[str]
    ) -> "_Certificates":
        child = pulumi.ResourceOptions(parent=self)
        authority = pki.authority(name, f"{name} store CA", _CA_VALIDITY_HOURS, child)
        service = f"{name}-minio"
        names = [
            "localhost",
            service,
            concat(service, ".", settings.namespace),
            concat(service, ".", settings.namespace, ".svc"),
            host,
        ]
        server = pki.certificate(
            name, "store", authority, CERTIFICATE_HOURS, child, dns_names=names
        )
        secret = self._secret(
            f"{name}-certificates",
            settings.namespace,
            dict(zip(CERTIFICATE_FILES, (server.certificate, server.key), strict=True)),
        )
        checksum = pulumi.Output.all(authority.certificate, server.certificate).apply(
            lambda certificates: sha256("".join(certificates))
        )
        return _Certificates(authority.certificate, secret, checksum, server.expires)

    def _server(
        self,
        name: str,
        settings: MinioCacheSettings,
        secret: k8s.core.v1.Secret,
        checksum: pulumi.Input[str],
        certificates: "_Certificates | None",
    ) -> k8s.apps.v1.StatefulSet:
        engine = self._engine
        ports = {"s3": net.S3_PORT, **engine.ports(settings)}
        ready, live = (
            {"path": path, "port": net.S3_PORT, **({"scheme": "HTTPS"} if certificates else {})}
            for path in engine.probes
        )
        container: dict[str, Any] = {
            "name": "minio",
            "image": _image(settings),
            "imagePullPolicy": "IfNotPresent",
            "args": engine.arguments(settings),
            "env": [
                {"name": key, "value": value} for key, value in engine.environment(settings).items()
            ],
            "ports": [{"name": key, "containerPort": port} for key, port in ports.items()],
            "readinessProbe": {"httpGet": ready, "periodSeconds": 5},
            "livenessProbe": {"httpGet": live, "periodSeconds": 20, "failureThreshold": 6},
            "resources": settings.resources.kubernetes(),
            "securityContext": workloads.restricted_container(),
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "tmp", "mountPath": "/tmp"},
                {"name": "secrets", "mountPath": "/secrets", "readOnly": True},
            ],
        }
        if command := engine.command(settings):
            container["command"] = command
        if engine.started:
            arguments = [settings.bucket, time_to_live(settings.expiration_days)]
            hook = {"command": ["/bin/sh", "-c", script(engine.started), *arguments]}
            container["lifecycle"] = {"postStart": {"exec": hook}}
        annotations: dict[str, pulumi.Input[str]] = {"checksum/root-credentials": checksum}
        volumes = [
            {"name": "tmp", "emptyDir": {}},
            workloads.secret_volume("secrets", secret, 0o440),
        ]
        if certificates:
            volumes.append(workloads.secret_volume("certificates", certificates.secret, 0o440))
            container["volumeMounts"].append(
                {"name": "certificates", "mountPath": CERTIFICATES_PATH, "readOnly": True}
            )
            annotations["checksum/certificates"] = certificates.checksum
        return workloads.stateful_set(
            f"{name}-minio",
            settings.namespace,
            ("minio", name),
            {
                "securityContext": workloads.restricted_pod(USER_ID),
                "nodeSelector": settings.node_selector,
                **nodes.affinity(settings.excluded_nodes, is_preferred=True),
                "containers": [container],
                "volumes": volumes,
            },
            resource_name=f"{name}-server",
            annotations=annotations,
            volume_size=settings.volume_size,
            storage_class_name=settings.storage_class_name,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._service]),
        )

    def _bootstrap(
        self,
        name: str,
        settings: MinioCacheSettings,
        secret: k8s.core.v1.Secret,
        secret_checksum: pulumi.Input[str],
    ) -> k8s.batch.v1.Job:
        engine = self._engine
        files = lift(
            lambda bucket: {
                "bootstrap.sh": script(engine.bootstrap),
                **engine.bootstrap_files(bucket, settings.expiration_days),
            },
            settings.bucket,
        )
        scheme = "https" if settings.enable_tls else "http"
        config_map = k8s.core.v1.ConfigMap(
            f"{name}-bootstrap",
            metadata={"name": f"{name}-bootstrap", "namespace": settings.namespace},
            data=files,
            opts=pulumi.ResourceOptions(parent=self),
        )
        checksum = pulumi.Output.all(files, secret_checksum).apply(
            lambda values: sha256(json.dumps(values, sort_keys=True))
        )
        container = {
            "name": "bootstrap",
            "image": _image(settings),
            "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "/config/bootstrap.sh"],
            "env": [
                {"name": "STORE_URL", "value": concat(f"{scheme}://", self.endpoint)},
                {"name": "BUCKET", "value": settings.bucket},
            ],
            "resources": {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"cpu": "1", "memory": "256Mi"},
            },
            "securityContext": workloads.restricted_container(),
            "volumeMounts": [
                {"name": "config", "mountPath": "/config", "readOnly": True},
                {"name": "secrets", "mountPath": "/secrets", "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }
        labels = workloads.labels("minio-bootstrap", name)
        template: Any = {
            "metadata": {"labels": labels, "annotations": {"checksum/bootstrap": checksum}},
            "spec": {
                "restartPolicy": "Never",
                **nodes.affinity(settings.excluded_nodes),
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": workloads.restricted_pod(USER_ID),
                "containers": [container],
                "volumes": [
                    workloads.config_volume("config", config_map),
                    workloads.secret_volume("secrets", secret, 0o440),
                    {"name": "tmp", "emptyDir": {}},
                ],
            },
        }
        # A Job cannot be changed. Its successor has another name, and runs before it is deleted.
        return k8s.batch.v1.Job(
            f"{name}-bootstrap",
            metadata={"namespace": settings.namespace, "labels": labels},
            spec={"backoff_limit": 5, "active_deadline_seconds": 600, "template": template},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._stateful_set]),
        )

    def _network_policy(self, name: str, settings: MinioCacheSettings) -> None:
        clients = [
            net.namespace_peer(settings.runner_namespace),
            net.namespace_peer(settings.job_namespace),
        ]
        bootstrap = {"podSelector": {"matchLabels": workloads.selector("minio-bootstrap", name)}}
        ingress = [{"from": [*clients, bootstrap], "ports": net.ports(net.S3_PORT)}]
        if settings.enable_metrics:
            scraper = net.namespace_peer(settings.metrics_namespace)
            ingress.append({"from": [scraper], "ports": net.ports(self._engine.metrics_port)})
        child = pulumi.ResourceOptions(parent=self)
        net.policy(
            f"{name}-minio",
            settings.namespace,
            ingress=ingress,
            egress=[],
            pods=workloads.selector("minio", name),
            opts=child,
        )
        server = {"podSelector": {"matchLabels": workloads.selector("minio", name)}}
        net.policy(
            f"{name}-bootstrap",
            settings.namespace,
            ingress=[],
            egress=[net.dns(settings.dns_cidrs), {"to": [server], "ports": net.ports(net.S3_PORT)}],
            pods=workloads.selector("minio-bootstrap", name),
            opts=child,
        )


@dataclass(frozen=True)
class _Certificates:
    """The authority's certificate, the Secret with the server's certificate, and their checksum."""

    authority: pulumi.Output[str]
    secret: k8s.core.v1.Secret
    checksum: pulumi.Output[str]
    expires: pulumi.Output[str]
    """Time at which the server's certificate ends."""


def _credentials(
    name: str, parent: pulumi.Resource
) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """Declare random credentials: a user name of 20 characters and a password of 40."""
    child = pulumi.ResourceOptions(parent=parent)
    user = random.RandomPassword(f"{name}-name", length=20, special=False, opts=child)
    password = random.RandomPassword(f"{name}-password", length=40, special=False, opts=child)
    return user.result, password.result


def _image(settings: MinioCacheSettings) -> str:
    image = settings.image or ENGINES[settings.engine].image
    assert image is not None  # the settings require it for an engine without a default
    return image
