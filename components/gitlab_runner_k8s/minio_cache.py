"""A distributed cache in the cluster: an S3-compatible store for `cache:` of jobs."""

import json
from enum import Enum
from importlib import resources
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from . import _kubernetes as kube
from . import _network as net
from . import _pins
from ._inputs import concat, digest, lift, sha256
from ._meta import token
from ._specs import MinioCacheSpec
from ._validation import validate
from .gitlab_runner import ResourcesArgs

USER_ID = 10001
CONSOLE_PORT = 9001
_IMAGES = {"silo": _pins.SILO_IMAGE}


class MinioEngine(str, Enum):
    """The server that stores the objects."""

    SILO = "silo"
    """Silo, the maintained fork of MinIO; same commands, variables, ports and data."""
    MINIO = "minio"
    """MinIO itself, from an image of your own: the official ones are withdrawn."""


class MinioOptionsArgs(TypedDict):
    """What can be chosen about the in-cluster store."""

    engine: NotRequired[MinioEngine]
    """The server. Default: silo."""
    image: NotRequired[str]
    """Image of the server, by digest; it must carry the client `mc` too.
    Default: the pinned image of the engine."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. Default: 20Gi."""
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
    """Serve the web console on port 9001. Default: not served."""


class MinioCacheArgs(MinioOptionsArgs):
    """Arguments of `MinioCache`."""

    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the store. Default: gitlab-runner-cache."""
    runner_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the runner, where the credentials go. Default: gitlab-runner."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of the jobs, which may reach the store. Default: gitlab-runner-jobs."""
    bucket: NotRequired[pulumi.Input[str]]
    """Name of the bucket. Default: runner."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Default: cluster.local."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the store but the runner's and the jobs'. Default: denied."""


class MinioCache(pulumi.ComponentResource):
    """An S3-compatible store on a volume, with a bucket and a user scoped to that bucket.

    The runner never gets the root credentials. The volume outlives the component: destroying
    it leaves the PersistentVolumeClaim.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    endpoint: pulumi.Output[str]
    """`host:port` of the S3 API, plain HTTP."""
    bucket: pulumi.Output[str]
    """Name of the bucket."""
    credentials_secret_name: pulumi.Output[str]
    """Secret in the runner's namespace with the scoped user's `accesskey` and `secretkey`."""
    credentials_checksum: pulumi.Output[str]
    """Salted digest of the scoped user's credentials."""

    def __init__(
        self,
        name: str,
        args: MinioCacheArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        spec = validate(MinioCacheSpec, args, f"MinioCache '{name}'")
        super().__init__(token("MinioCache"), name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        service_name = f"{name}-minio"
        host = concat(service_name, ".", spec.namespace, ".svc.", spec.cluster_domain)
        self.endpoint = pulumi.Output.from_input(concat(host, f":{net.S3_PORT}"))
        self.bucket = pulumi.Output.from_input(spec.bucket)

        root = _credentials(f"{name}-root", self)
        user = _credentials(f"{name}-user", self)
        salt = random.RandomId(f"{name}-checksum-salt", byte_length=16, opts=child)
        self.credentials_checksum = digest(*user, salt=salt.hex)

        server_secret = k8s.core.v1.Secret(
            f"{name}-server",
            metadata={"name": f"{name}-server", "namespace": spec.namespace},
            string_data={
                "config.env": pulumi.Output.concat(
                    "export MINIO_ROOT_USER='",
                    root[0],
                    "'\n",
                    "export MINIO_ROOT_PASSWORD='",
                    root[1],
                    "'\n",
                )
            },
            opts=child,
        )
        bootstrap_secret = k8s.core.v1.Secret(
            f"{name}-bootstrap",
            metadata={"name": f"{name}-bootstrap", "namespace": spec.namespace},
            string_data={
                "root-user": pulumi.Output.concat(root[0], "\n"),
                "root-password": pulumi.Output.concat(root[1], "\n"),
                "accesskey": pulumi.Output.concat(user[0], "\n"),
                "secretkey": pulumi.Output.concat(user[1], "\n"),
            },
            opts=child,
        )
        runner_secret = k8s.core.v1.Secret(
            f"{name}-credentials",
            metadata={"name": f"{name}-credentials", "namespace": spec.runner_namespace},
            string_data={"accesskey": user[0], "secretkey": user[1]},
            opts=child,
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
        self._stateful_set = self._server(name, spec, server_secret, digest(*root, salt=salt.hex))
        bootstrap = self._bootstrap(name, spec, bootstrap_secret)
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
            }
        )

    @property
    def stateful_set(self) -> k8s.apps.v1.StatefulSet:
        """The server's StatefulSet (native only)."""
        return self._stateful_set

    def _server(
        self,
        name: str,
        spec: MinioCacheSpec,
        secret: k8s.core.v1.Secret,
        checksum: pulumi.Input[str],
    ) -> k8s.apps.v1.StatefulSet:
        environment = {
            "MINIO_CONFIG_ENV_FILE": "/secrets/config.env",
            "MINIO_BROWSER": "on" if spec.enable_console else "off",
            # The server asks the vendor for updates otherwise.
            "MINIO_UPDATE": "off",
        }
        container = {
            "name": "minio",
            "image": _image(spec),
            "imagePullPolicy": "IfNotPresent",
            "args": [
                "server",
                "/data",
                f"--address=:{net.S3_PORT}",
                f"--console-address=:{CONSOLE_PORT}",
                "--certs-dir=/tmp/certs",
            ],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "ports": [{"name": "s3", "containerPort": net.S3_PORT}],
            "readinessProbe": {
                "httpGet": {"path": "/minio/health/ready", "port": net.S3_PORT},
                "periodSeconds": 5,
            },
            "livenessProbe": {
                "httpGet": {"path": "/minio/health/live", "port": net.S3_PORT},
                "periodSeconds": 20,
                "failureThreshold": 6,
            },
            "resources": spec.resources.kubernetes(),
            "securityContext": kube.restricted_container(),
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "tmp", "mountPath": "/tmp"},
                {"name": "secrets", "mountPath": "/secrets", "readOnly": True},
            ],
        }
        return kube.stateful_set(
            f"{name}-minio",
            spec.namespace,
            ("minio", name),
            {
                "securityContext": kube.restricted_pod(USER_ID),
                "nodeSelector": spec.node_selector,
                "containers": [container],
                "volumes": [
                    {"name": "tmp", "emptyDir": {}},
                    kube.secret_volume("secrets", secret, 0o440),
                ],
            },
            resource_name=f"{name}-server",
            annotations={"checksum/root-credentials": checksum},
            volume_size=spec.volume_size,
            storage_class_name=spec.storage_class_name,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._service]),
        )

    def _bootstrap(
        self, name: str, spec: MinioCacheSpec, secret: k8s.core.v1.Secret
    ) -> k8s.batch.v1.Job:
        script = resources.files(__package__).joinpath("_minio_bootstrap.sh").read_text()
        files = lift(
            lambda bucket: {
                "bootstrap.sh": script,
                "lifecycle.json": json.dumps(_lifecycle(spec.expiration_days)),
                "policy.json": json.dumps(_policy(bucket)),
            },
            spec.bucket,
        )
        config_map = k8s.core.v1.ConfigMap(
            f"{name}-bootstrap",
            metadata={"name": f"{name}-bootstrap", "namespace": spec.namespace},
            data=files,
            opts=pulumi.ResourceOptions(parent=self),
        )
        checksum = pulumi.Output.all(files, self.credentials_checksum).apply(
            lambda known: sha256(json.dumps(known, sort_keys=True))
        )
        container = {
            "name": "bootstrap",
            "image": _image(spec),
            "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "/config/bootstrap.sh"],
            "env": [
                {"name": "STORE_URL", "value": pulumi.Output.concat("http://", self.endpoint)},
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
        child = pulumi.ResourceOptions(parent=self)
        net.policy(
            f"{name}-minio",
            spec.namespace,
            ingress=[{"from": [*clients, bootstrap], "ports": net.ports(net.S3_PORT)}],
            egress=[],
            pods=kube.selector("minio", name),
            opts=child,
        )
        server = {"podSelector": {"matchLabels": kube.selector("minio", name)}}
        net.policy(
            f"{name}-bootstrap",
            spec.namespace,
            ingress=[],
            egress=[net.dns(), {"to": [server], "ports": net.ports(net.S3_PORT)}],
            pods=kube.selector("minio-bootstrap", name),
            opts=child,
        )


def _credentials(
    name: str, parent: pulumi.Resource
) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """Declare random credentials: a user's name of 20 and a password of 40 characters."""
    child = pulumi.ResourceOptions(parent=parent)
    user = random.RandomPassword(f"{name}-name", length=20, special=False, opts=child)
    password = random.RandomPassword(f"{name}-password", length=40, special=False, opts=child)
    return user.result, password.result


def _image(spec: MinioCacheSpec) -> str:
    return spec.image or _IMAGES[spec.engine]


def _lifecycle(days: int) -> dict[str, Any]:
    return {"Rules": [{"ID": "expire", "Status": "Enabled", "Expiration": {"Days": days}}]}


def _policy(bucket: str) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": [f"{arn}/*"],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": [arn],
            },
            # A user may otherwise make service accounts of its own.
            {"Effect": "Deny", "Action": ["admin:*"]},
        ],
    }
