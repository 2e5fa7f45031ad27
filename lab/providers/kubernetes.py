"""Stand-in for the provider `kubernetes`: plain objects, against a real API server."""

import base64
import copy
import json
import re
import secrets
import threading
from collections.abc import Callable
from typing import Any

from kubernetes import client, config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError

from lab.paths import STATE
from lab.providers import awaiting
from lab.providers.base import (
    Call,
    Change,
    Failure,
    InitFailure,
    Properties,
    Provider,
    Resource,
    changed_paths,
    has_unknown,
)
from lab.providers.helm import Release

FIELD_MANAGER = "pulumi-kubernetes-standin"
DEFAULT_TIMEOUT = 600.0

# Patterns of the paths that Kubernetes does not let change, as in the real provider.
_IMMUTABLE: dict[str, list[str]] = {
    "StatefulSet": [
        r"spec\.(?!replicas|template|updateStrategy|minReadySeconds|ordinals"
        r"|persistentVolumeClaimRetentionPolicy|revisionHistoryLimit).*"
    ],
    "Deployment": [r"spec\.selector.*"],
    "Job": [r"spec\.(selector|template|completions|completionMode|manualSelector).*"],
    "Service": [r"spec\.clusterIP"],
    "PersistentVolumeClaim": [r"spec(?!\.resources).*"],
    "Secret": [r"type", r"immutable"],
    "ConfigMap": [r"immutable"],
}
_MUTABLE_BY_CONFIG = {
    "Secret": ("enableSecretMutable", [r"data.*", r"stringData.*"]),
    "ConfigMap": ("enableConfigMapMutable", [r"data.*", r"binaryData.*"]),
}
_IDENTITY = [r"apiVersion", r"kind", r"metadata\.name", r"metadata\.namespace"]


class Cluster:
    """The API server, connected to at the first use: each provider's process has one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: DynamicClient | None = None

    def resource(self, api_version: str, kind: str) -> Any:
        """Return the endpoint of a kind."""
        with self._lock:
            if self._client is None:
                config.load_kube_config()  # type: ignore[no-untyped-call]
                self._client = DynamicClient(  # type: ignore[no-untyped-call]
                    client.ApiClient(), cache_file=str(STATE / "discovery.json")
                )
        return self._client.resources.get(api_version=api_version, kind=kind)


def _message(error: DynamicApiError) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


def _merge(old: Any, live: Any) -> Any:
    """Return the live values of everything that the old inputs had set."""
    if isinstance(old, dict) and isinstance(live, dict):
        return {key: _merge(value, live.get(key)) for key, value in old.items() if key in live}
    if isinstance(old, list) and isinstance(live, list) and len(old) == len(live):
        return [_merge(a, b) for a, b in zip(old, live, strict=True)]
    return live


class Object(Resource):
    """Any object of the Kubernetes API."""

    def __init__(self, cluster: Cluster, settings: Callable[[], Properties]) -> None:
        self.cluster, self.settings = cluster, settings

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Name the object where it has no name; the name stays."""
        news = copy.deepcopy(news)
        metadata = news.setdefault("metadata", {})
        if not metadata.get("name"):
            old = olds.get("metadata", {})
            if self._is_autonamed(old):
                metadata["name"] = old["name"]
            else:
                metadata["name"] = f"{call.name}-{secrets.token_hex(4)}"
            metadata["annotations"] = {
                **(metadata.get("annotations") or {}),
                "pulumi.com/autonamed": "true",
            }
        return news

    @staticmethod
    def _is_autonamed(metadata: Properties) -> bool:
        return (metadata.get("annotations") or {}).get("pulumi.com/autonamed") == "true"

    def _immutable(self, kind: str) -> list[str]:
        patterns = [*_IDENTITY, *_IMMUTABLE.get(kind, [])]
        option, paths = _MUTABLE_BY_CONFIG.get(kind, ("", []))
        if paths and str(self.settings().get(option, "")).lower() != "true":
            patterns += paths
        return patterns

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Sort the changes into updates and replacements."""
        patterns = [re.compile(pattern) for pattern in self._immutable(news["kind"])]
        change = Change.of(
            changed_paths(inputs, news),
            lambda path: any(pattern.fullmatch(path) for pattern in patterns),
        )
        old, new = inputs.get("metadata", {}), news["metadata"]
        change.delete_first = bool(change.replaces) and (
            old.get("name") == new.get("name")
            and (old.get("namespace") or "default") == (new.get("namespace") or "default")
        )
        return change

    def _endpoint(self, inputs: Properties) -> tuple[Any, str | None]:
        endpoint = self.cluster.resource(inputs["apiVersion"], inputs["kind"])
        namespace = inputs["metadata"].get("namespace") or "default"
        return endpoint, namespace if endpoint.namespaced else None

    def _apply(
        self,
        inputs: Properties,
        *,
        dry_run: bool = False,
        force: bool = True,
        field_manager: str = FIELD_MANAGER,
    ) -> Properties:
        endpoint, namespace = self._endpoint(inputs)
        body = copy.deepcopy(inputs)
        if body["kind"] == "Secret":
            texts = body.pop("stringData", {})
            encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
            body["data"] = {**body.get("data", {}), **encoded}
        options: dict[str, Any] = {"dry_run": "All"} if dry_run else {}
        result = endpoint.server_side_apply(
            body=body,
            name=body["metadata"]["name"],
            namespace=namespace,
            field_manager=field_manager,
            force_conflicts=force,
            **options,
        )
        return self._outputs(inputs, result.to_dict())

    @staticmethod
    def _outputs(inputs: Properties, live: Properties) -> Properties:
        live["metadata"].pop("managedFields", None)
        outputs = {**inputs, **live}
        return json.loads(json.dumps(outputs, default=str))  # type: ignore[no-any-return]

    def _get(self, inputs: Properties) -> Properties | None:
        endpoint, namespace = self._endpoint(inputs)
        try:
            found = endpoint.get(name=inputs["metadata"]["name"], namespace=namespace)
        except NotFoundError:
            return None
        live: Properties = found.to_dict()
        return live

    @staticmethod
    def _identity(inputs: Properties) -> str:
        metadata = inputs["metadata"]
        namespace = metadata.get("namespace")
        return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make the object, which must not exist, and wait until it is ready."""
        if call.preview:
            return "", inputs
        identity = self._identity(inputs)
        try:
            if self._get(inputs) is not None:
                raise Failure(
                    f'resource "{identity}" was not created: {inputs["kind"]} already exists; '
                    "import it, or remove it first"
                )
            outputs = self._apply(inputs)
        except DynamicApiError as error:
            raise Failure(f"creating {inputs['kind']} {identity}: {_message(error)}") from None
        return identity, self._ready(call, inputs, outputs)

    def _ready(self, call: Call, inputs: Properties, outputs: Properties) -> Properties:
        annotations = inputs["metadata"].get("annotations") or {}
        if str(annotations.get("pulumi.com/skipAwait", "")).lower() == "true":
            return outputs
        seconds = float(
            annotations.get("pulumi.com/timeoutSeconds") or call.timeout or DEFAULT_TIMEOUT
        )
        try:
            live = awaiting.ready(lambda: self._get(inputs), inputs, seconds, self.cluster.resource)
        except awaiting.NotReady as error:
            raise InitFailure(str(error), self._identity(inputs), outputs) from None
        return self._outputs(inputs, live) if live else outputs

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Return the object as it is now, and the inputs with what has drifted."""
        if not inputs:
            namespace, _, name = identity.rpartition("/")
            _, api_version, kind = call.urn.split("::")[2].rpartition("$")[2].split(":")
            metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
            inputs = {
                "apiVersion": api_version.removeprefix("core/"),
                "kind": kind,
                "metadata": metadata,
            }
            live = self._get(inputs)
            if live is None:
                return None
            labels = live["metadata"].get("labels") or {}
            labels.pop("kubernetes.io/metadata.name", None)
            inputs["metadata"] = {**metadata, **({"labels": labels} if labels else {})}
            return inputs, self._outputs(inputs, live)
        live = self._get(inputs)
        if live is None:
            return None
        merged = _merge(inputs, live)
        if "stringData" in inputs:
            data = live.get("data") or {}
            merged["stringData"] = {
                key: base64.b64decode(data[key]).decode()
                for key in inputs["stringData"]
                if key in data
            }
        return merged, self._outputs(merged, live)

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Apply the changes and wait until the object is ready."""
        if call.preview and has_unknown(news):
            return {**outputs, **news}
        try:
            applied = self._apply(news, dry_run=call.preview)
        except DynamicApiError as error:
            raise Failure(f"updating {news['kind']} {identity}: {_message(error)}") from None
        return applied if call.preview else self._ready(call, news, applied)

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Delete the object and wait until it is gone."""
        endpoint, namespace = self._endpoint(outputs)
        name = outputs["metadata"]["name"]
        try:
            endpoint.delete(
                name=name,
                namespace=namespace,
                body={"propagationPolicy": "Foreground", "kind": "DeleteOptions"},
            )
        except NotFoundError:
            return
        except DynamicApiError as error:
            raise Failure(f"deleting {outputs['kind']} {identity}: {_message(error)}") from None
        try:
            awaiting.gone(lambda: self._get(outputs), identity, call.timeout or DEFAULT_TIMEOUT)
        except awaiting.NotReady as error:
            raise Failure(str(error)) from None


class Patch(Object):
    """Some fields of an object that somebody else made."""

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Insist on the name of the object.

        Raises:
            Failure: it has none.
        """
        if not news.get("metadata", {}).get("name"):
            raise Failure("patch resources require the resource's `.metadata.name` to be set")
        return news

    def _immutable(self, kind: str) -> list[str]:
        return _IDENTITY

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Set the fields; like the real provider, without a word from the server in a preview."""
        identity = self._identity(inputs)
        if call.preview:
            return "", inputs
        if self._get(inputs) is None:
            raise Failure(f"patching {inputs['kind']} {identity}: it does not exist")
        return identity, self.update(call, identity, {}, inputs)

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Set the fields."""
        if call.preview and has_unknown(news):
            return {**outputs, **news}
        annotations = news["metadata"].get("annotations") or {}
        force = annotations.get("pulumi.com/patchForce") == "true"
        return self._applied(call, news, dry_run=call.preview, force=force)

    def _applied(
        self, call: Call, inputs: Properties, *, dry_run: bool = False, force: bool = True
    ) -> Properties:
        try:
            manager = f"{FIELD_MANAGER}-{call.name}"
            return self._apply(inputs, dry_run=dry_run, force=force, field_manager=manager)
        except DynamicApiError as error:
            kind, identity = inputs["kind"], self._identity(inputs)
            raise Failure(f"patching {kind} {identity}: {_message(error)}") from None

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Give the fields up: those that nobody else has set go back to their defaults."""
        keys = ("name", "namespace")
        metadata = {key: outputs["metadata"][key] for key in keys if key in outputs["metadata"]}
        kept = {key: outputs[key] for key in ("apiVersion", "kind")}
        if self._get({**kept, "metadata": metadata}) is not None:
            self._applied(call, {**kept, "metadata": metadata})


class _Kinds(dict[str, Resource]):
    """Every type of the API is served alike, and its patches; releases are Helm's."""

    def __init__(self, settings: Callable[[], Properties]) -> None:
        super().__init__({"kubernetes:helm.sh/v3:Release": Release()})
        cluster = Cluster()
        self._object, self._patch = Object(cluster, settings), Patch(cluster, settings)

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key) or (self._patch if key.endswith("Patch") else self._object)


def provider() -> Provider:
    """Return the stand-in."""
    made = Provider("kubernetes", {})
    made.resources = _Kinds(lambda: made.config)
    return made
