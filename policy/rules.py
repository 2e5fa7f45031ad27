"""The rules: pure functions that return the problems of a resource's type and properties."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Properties = Mapping[str, Any]

DOCKER_NAMESPACES = ("gitlab-runner-docker",)
"""Namespaces in which pods may be privileged, as in every namespace that adds "-" and a suffix."""

_TEMPLATES = {
    "apps/v1:Deployment",
    "apps/v1:StatefulSet",
    "apps/v1:DaemonSet",
    "apps/v1:ReplicaSet",
    "batch/v1:Job",
}
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_PLAIN_DOCKER = re.compile(r"tcp://[^\s\"']*:2375\b|^:?2375$")
_RELEASES = ("kubernetes:helm.sh/v3:Release", "kubernetes:helm.sh/v4:Chart")
_TOKEN = re.compile(r"\bgl(rt|ptt|pat|dt|cbt)-[0-9A-Za-z_.=-]{20,}|\bGR1348941[0-9A-Za-z_-]{15,}")
_BASELINE_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "SETFCAP"),
    *("NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}
"""Capabilities that the Pod Security Standard `baseline` lets a container add."""
_SECRET_NAMES = {"runnertoken", "runnerregistrationtoken", "accesskey", "secretkey"}


class Rule(NamedTuple):
    """A rule. `check` returns a line for each problem."""

    name: str
    description: str
    check: Callable[..., Iterator[str]]
    takes_namespaces: bool = False
    """Whether `check` also takes the namespaces in which pods may be privileged."""


def _pod(kind: str, props: Properties) -> Properties | None:
    """Return the spec of the pods that a resource creates."""
    kind = kind.removeprefix("kubernetes:")
    spec: Any = props.get("spec") or {}
    if kind == "core/v1:Pod":
        return dict(spec)
    if kind == "batch/v1:CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    elif kind not in _TEMPLATES:
        return None
    return dict((spec.get("template") or {}).get("spec") or {})


def _containers(pod: Properties) -> Iterator[Properties]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(key) or []


def _namespace(props: Properties) -> str:
    return str((props.get("metadata") or {}).get("namespace") or "default")


def _runner_config(kind: str, props: Properties) -> tuple[Properties, Properties] | None:
    """Return the Helm values of a runner's release, and its table `[runners.kubernetes]`."""
    values: Any = props.get("values") or {}
    runners = values.get("runners")
    if kind not in _RELEASES or not isinstance(runners, Mapping):
        return None
    try:
        (runner,) = tomllib.loads(str(runners.get("config") or ""))["runners"]
        table: Any = runner.get("kubernetes") or {}
    except (KeyError, ValueError):  # not known in a preview, or a template
        table = {}
    return values, table


def immutable_images(kind: str, props: Properties) -> Iterator[str]:
    """Return the images that are not pinned by digest."""
    if config := _runner_config(kind, props):
        values, table = config
        image: Any = values.get("image") or {}
        references = {"values.image.tag": image.get("tag")} if isinstance(image, Mapping) else {}
        references |= {f"config.toml: {key}": table.get(key) for key in ("image", "helper_image")}
        references |= {
            f"config.toml: services[{n}].name": service.get("name")
            for n, service in enumerate(table.get("services") or [])
        }
        for path, reference in references.items():
            if reference and not _DIGEST.search(str(reference)):
                yield f"{path}: '{reference}' can change; append its digest, '@sha256:…'"
    for container in _containers(_pod(kind, props) or {}):
        image = str(container.get("image") or "")
        if not _DIGEST.search(image):
            yield (
                f"container '{container.get('name')}': the image '{image}' can change; "
                "append its digest, '@sha256:…'"
            )


def _may_be_privileged(namespace: str, namespaces: Sequence[str]) -> bool:
    return any(namespace == name or namespace.startswith(f"{name}-") for name in namespaces)


def privilege(
    kind: str, props: Properties, namespaces: Sequence[str] = DOCKER_NAMESPACES
) -> Iterator[str]:
    """Return the privileges of pods outside the namespaces of the Docker daemons."""
    pod, namespace = _pod(kind, props), _namespace(props)
    fix = f"remove it, or move the pod to a namespace of the daemon's ({', '.join(namespaces)})"
    if config := _runner_config(kind, props):
        values, table = config
        jobs = str(values["runners"].get("jobNamespace") or props.get("namespace"))
        contexts = {
            key: context for key, context in table.items() if key.endswith("_security_context")
        }
        if not _may_be_privileged(jobs, namespaces):
            for key, context in {"": table, **contexts}.items():
                if context.get("privileged"):
                    where = f"config.toml: {key + '.' if key else ''}privileged"
                    yield f"{where} makes the jobs in '{jobs}' privileged; {fix}"
    if pod is None or _may_be_privileged(namespace, namespaces):
        return
    for container in _containers(pod):
        context = container.get("securityContext") or {}
        where = f"container '{container.get('name')}' in '{namespace}'"
        if context.get("privileged"):
            yield f"{where} is privileged; {fix}"
        added = {str(name) for name in (context.get("capabilities") or {}).get("add") or []}
        for capability in sorted(added - _BASELINE_CAPABILITIES):
            yield f"{where} adds the capability {capability}; {fix}"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"the pod in '{namespace}' has {key}; {fix}"
    for volume in pod.get("volumes") or []:
        if path := (volume.get("hostPath") or {}).get("path"):
            yield f"the pod in '{namespace}' mounts '{path}' of its node; {fix}"


def public_buckets(kind: str, props: Properties) -> Iterator[str]:
    """Return the settings with which everybody could read a bucket."""
    if kind == "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock":
        for key in (
            "blockPublicAcls",
            "blockPublicPolicy",
            "ignorePublicAcls",
            "restrictPublicBuckets",
        ):
            if props.get(key) is not True:
                yield f"{key} is off; set it to true"
    acl = str(props.get("acl") or "")
    if kind.startswith("aws:s3/") and (acl.startswith("public") or acl == "authenticated-read"):
        yield f"the acl '{acl}' is public; remove it"
    if kind == "aws:s3/bucketPolicy:BucketPolicy":
        for statement in _statements(props.get("policy")):
            principal = statement.get("Principal")
            everybody = principal == "*" or (
                isinstance(principal, Mapping) and "*" in _listed(principal.get("AWS"))
            )
            if statement.get("Effect") == "Allow" and (everybody or "NotPrincipal" in statement):
                yield "the policy allows everybody ('*' or NotPrincipal); list the principals"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _statements(policy: Any) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(policy) if isinstance(policy, str) else policy or {}
    except ValueError:  # not known in a preview
        return []
    return [item for item in _listed(document.get("Statement") or []) if item]


def buckets_without_a_block(resources: list[tuple[str, str, Properties]]) -> Iterator[str]:
    """Return the buckets of the stack that have no public-access block.

    Args:
        resources: Type, name and properties of each resource of the stack.
    """
    blocked = {
        props.get("bucket") for kind, _, props in resources if kind.endswith("PublicAccessBlock")
    }
    for kind, name, props in resources:
        is_bucket = kind in {"aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"}
        names = {props.get("bucket"), props.get("id")} - {None}
        # In a preview, a bucket's name may be unknown. Then any block in the stack is enough.
        if is_bucket and not (names & blocked if names else blocked):
            yield f"the bucket '{name}' has no BucketPublicAccessBlock; declare one for it"


def plain_docker(kind: str, props: Properties) -> Iterator[str]:
    """Return the Docker daemons that listen, or are used, without TLS."""
    fix = "use port 2376 with TLS on both sides"
    if kind == "kubernetes:core/v1:Service":
        for port in (props.get("spec") or {}).get("ports") or []:
            if 2375 in (port.get("port"), port.get("targetPort")):
                yield f"the Service offers docker without TLS on port 2375; {fix}"
    for container in _containers(_pod(kind, props) or {}):
        name = container.get("name")
        arguments = [*(container.get("command") or []), *(container.get("args") or [])]
        if any(port.get("containerPort") == 2375 for port in container.get("ports") or []):
            yield f"container '{name}' listens on port 2375; {fix}"
        listens = re.search(r"(--host|-H)[= ]?tcp:", " ".join(map(str, arguments)))
        if listens and not any("--tlsverify" in str(item) for item in arguments):
            yield f"container '{name}' starts dockerd on TCP without --tlsverify; {fix}"
        for variable in container.get("env") or []:
            value = str(variable.get("value") or "")
            if variable.get("name") == "DOCKER_TLS_CERTDIR" and "value" in variable and not value:
                yield f"container '{name}' turns TLS off with an empty DOCKER_TLS_CERTDIR; {fix}"
            if _PLAIN_DOCKER.search(value):
                yield f"container '{name}': {variable.get('name')} is '{value}'; {fix}"
    if kind in _RELEASES:
        for path, text in _texts(props.get("values") or {}):
            if _PLAIN_DOCKER.search(text) or re.search(r"DOCKER_TLS_CERTDIR=[\"'\s]*$", text, re.M):
                yield f"values.{path} points jobs at docker without TLS; {fix}"


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _texts(item, f"{path}[{n}]")
    elif isinstance(value, str):
        yield path, value


def wildcards(kind: str, props: Properties) -> Iterator[str]:
    """Return the roles that allow everything."""
    rules: list[Any] = []
    if re.fullmatch(r"kubernetes:rbac\.authorization\.k8s\.io/v1:(Cluster)?RoleBinding", kind):
        role = (props.get("roleRef") or {}).get("name")
        if role in {"cluster-admin", "admin", "edit"}:
            yield f"it grants '{role}'; bind a role that lists what is needed"
    if re.fullmatch(r"kubernetes:rbac\.authorization\.k8s\.io/v1:(Cluster)?Role", kind):
        rules = props.get("rules") or []
    values: Any = props.get("values") or {}
    if kind in _RELEASES and isinstance(values.get("runners"), Mapping):
        rbac = values.get("rbac") or {}
        rules = rbac.get("rules") or []
        if rbac.get("create") and not rules:
            yield (
                "values.rbac.rules is empty, which the chart reads as every verb on every core "
                "resource; list what the executor needs"
            )
    for n, rule in enumerate(rules):
        for key in ("apiGroups", "resources", "verbs"):
            if "*" in (rule.get(key) or []):
                yield f"rules[{n}].{key} has '*'; list what is needed"


def limits(kind: str, props: Properties) -> Iterator[str]:
    """Return the containers without limits."""
    for container in _containers(_pod(kind, props) or {}):
        bounds = (container.get("resources") or {}).get("limits") or {}
        missing = " and ".join(name for name in ("cpu", "memory") if not bounds.get(name))
        if missing:
            yield f"container '{container.get('name')}' has no limit of {missing}; set it"


def secrets_in_values(kind: str, props: Properties) -> Iterator[str]:
    """Return the secrets in a chart's values. Helm stores old and new values in the cluster."""
    if kind not in _RELEASES:
        return
    for path, text in _texts(props.get("values") or {}):
        key = re.split(r"[.\[]", path)[-1].lower()
        if text and (key in _SECRET_NAMES or _TOKEN.search(text)):
            yield f"values.{path} holds a secret; put it in a Secret, and set the Secret's name"


RULES = [
    Rule("immutable-images", "Images are pinned by digest.", immutable_images),
    Rule("no-privilege", "Only a docker daemon's pods are privileged.", privilege, True),
    Rule("no-public-bucket", "No S3 bucket is public.", public_buckets),
    Rule("no-plain-docker", "Docker is reached with mutual TLS alone.", plain_docker),
    Rule("no-rbac-wildcards", "Roles list what they allow.", wildcards),
    Rule("limits", "Containers have limits of CPU and memory.", limits),
    Rule("no-secret-in-values", "No secret is in a chart's values.", secrets_in_values),
]
