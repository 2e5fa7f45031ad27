"""What the runner's manager sees in its own pod: its configuration, its store, its identity."""

import base64
import os
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from lab.console import LabError
from lab.jobs.remote import execute
from lab.paths import KUBECONFIG

_CONFIG = "/home/gitlab-runner/.gitlab-runner/config.toml"
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_READ = f"for file in {_CONFIG} /proc/1/environ {_TOKEN}; do base64 $file | tr -d '\\n'; echo; done"


@dataclass(frozen=True)
class Manager:
    """A deployed manager. What it knows is secret, so none of it is shown.

    `runner` is the one `[[runners]]` of its config.toml, as registered.
    """

    namespace: str
    pod: str
    runner: Mapping[str, Any] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    token: str = field(repr=False)

    @property
    def job_namespace(self) -> str:
        """Where the manager makes the jobs' pods."""
        namespace: str = self.runner["kubernetes"]["namespace"]
        return namespace

    def api(self) -> Any:
        """Return a `CoreV1Api` with the manager's own token: what its Role leaves out is refused.

        Impersonation would not do: the client's websockets, by which exec works, do not pass the
        header on, and would act as the administrator.
        """
        admin = _configuration()
        own = client.Configuration()
        own.host, own.ssl_ca_cert = admin.host, admin.ssl_ca_cert
        own.api_key = {"authorization": self.token}
        own.api_key_prefix = {"authorization": "Bearer"}
        return client.CoreV1Api(client.ApiClient(own))


def _configuration() -> client.Configuration:
    configured = client.Configuration()
    path = KUBECONFIG if KUBECONFIG.exists() else Path(os.environ.get("KUBECONFIG", ""))
    load: Any = config.load_kube_config
    load(str(path), client_configuration=configured)
    return configured


def administrator() -> Any:
    """Return a `CoreV1Api` of the cluster's administrator.

    Not typed as such: by its types every field of an answer may be None.
    """
    return client.CoreV1Api(client.ApiClient(_configuration()))


def find(namespace: str, release: str, seconds: float = 30) -> Manager:
    """Return the manager of a release, as it is configured inside of its pod.

    The chart calls a pod ready as soon as its process runs, so registration is waited for.

    Raises:
        LabError: no pod of the release is ready, or it is not registered in that time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _find(namespace, release)
        except LabError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _find(namespace: str, release: str) -> Manager:
    core = administrator()
    ready = [
        pod
        for pod in core.list_namespaced_pod(namespace, label_selector=f"release={release}").items
        if pod.metadata.deletion_timestamp is None
        and any(
            condition.type == "Ready" and condition.status == "True"
            for condition in pod.status.conditions or []
        )
    ]
    if not ready:
        raise LabError(f"no runner of release {release} is ready in namespace {namespace}")
    name: str = max(ready, key=lambda pod: pod.metadata.creation_timestamp).metadata.name
    answer: list[str] = []
    try:
        code = execute(core, namespace, name, None, ["/bin/sh", "-c", _READ], answer.append, 30)
    except ApiException as error:
        raise LabError(f"the runner's pod {name} cannot be read: {error.reason}") from None
    parts = [base64.b64decode(line) for line in "".join(answer).splitlines()]
    if code != 0 or len(parts) != 3:
        raise LabError(f"the runner's pod {name} has no configuration or no token to read")
    runners = tomllib.loads(parts[0].decode()).get("runners", [])
    if len(runners) != 1 or not runners[0].get("token"):
        raise LabError(f"the runner in pod {name} is not registered: see its log")
    environment = dict(text.split("=", 1) for text in parts[1].decode().split("\0") if "=" in text)
    return Manager(namespace, name, runners[0], environment, parts[2].decode().strip())
