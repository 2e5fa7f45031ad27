"""The user's part of daemon.json and buildkitd.toml: the keys that it may contain."""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel

from ..secrets import has_secret
from ..validation.base import rule
from ..validation.messages import problems
from ..validation.tables import fixed, managed, model

_TYPES: dict[str, Any] = {
    "any": Any,
    "boolean": bool,
    "integer": int,
    "string": str,
}
_KEYS: dict[str, Any] = json.loads(
    resources.files(__package__).joinpath("config_keys.json").read_text()
)
_POD = "the package sets it for the daemon's pod"
_OTHER_POD = "the daemon runs in a pod, which has nothing else at this place"


def _dockerd_rule(table: str, key: str, shape: Any) -> Any:
    # With any other driver, `docker logs` has nothing, or what containers write has no limit.
    return Literal["json-file", "local"] if key == "log-driver" else None


@dataclass(frozen=True)
class _Format:
    """The configuration of a kind of daemon."""

    name: str
    load: Callable[[str], Any]
    model: type[BaseModel]
    managed: Mapping[str, str]
    """Keys that the package sets itself, each with the argument to use instead."""
    fixed: Mapping[str, str]
    """Keys that have no argument, each with the reason."""


_DOCKERD = _Format(
    "JSON",
    json.loads,
    model("daemon.json", _KEYS["dockerd"], _TYPES, _dockerd_rule),
    {
        "builder.gc": "build_cache_percent and build_cache_keep_hours",
        "bip": "bridge_address",
        "default-address-pools": "address_pools",
        "default-network-opts": "mtu",
        "mtu": "mtu",
        "insecure-registries": "insecure_registries",
        "registry-mirrors": "registry_mirrors",
        "log-opts.max-size": "container_log_size",
        "log-opts.max-file": "container_log_files",
        "metrics-addr": "metrics_namespaces",
        "min-api-version": "minimum_api_version",
        **dict.fromkeys(("proxies", "http-proxy", "https-proxy", "no-proxy"), "proxy"),
    },
    {
        **dict.fromkeys(
            (
                "hosts",
                "tls",
                "tlsverify",
                "tlscacert",
                "tlscert",
                "tlskey",
                "data-root",
                "rootless",
            ),
            _POD,
        ),
        **dict.fromkeys(
            ("bridge", "containerd", "exec-root", "group", "pidfile", "userland-proxy-path"),
            _OTHER_POD,
        ),
    },
)
_BUILDKITD = _Format(
    "TOML",
    tomllib.loads,
    model("buildkitd.toml", _KEYS["buildkitd"], _TYPES),
    {
        f"worker.oci.{key}": "build_cache_percent and build_cache_keep_hours"
        for key in (
            *("gc", "gckeepstorage", "gcpolicy", "maxUsedSpace", "minFreeSpace", "reservedSpace"),
        )
    },
    {
        **dict.fromkeys(
            (
                *("root", "grpc", "worker.containerd", "worker.oci.enabled"),
                *("worker.oci.rootless", "worker.oci.noProcessSandbox"),
            ),
            _POD,
        ),
        **dict.fromkeys(("otel", "provenanceEnvDir", "worker.oci.binary"), _OTHER_POD),
    },
)


def _paths(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        yield prefix + key, value
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")
        for number, item in enumerate(value if isinstance(value, list) else ()):
            yield f"{prefix}{key}[{number}]", item
            if isinstance(item, Mapping):
                yield from _paths(item, f"{prefix}{key}[{number}].")


def _without(table: Mapping[str, Any], paths: set[str], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(value, paths, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in table.items()
        if prefix + key not in paths
    }


def _check(kind: _Format, text: str) -> list[str]:
    """Return every problem of a text, a line each."""
    try:
        table = kind.load(text)
    except (ValueError, RecursionError) as error:
        return [f"must be {kind.name}: {error}; correct the syntax"]
    if not isinstance(table, dict):
        return [f"must be a {kind.name} object, with the keys of the daemon's configuration"]
    lines: dict[str, str] = {}
    for path, value in _paths(table):
        if path in kind.managed:
            lines[path] = managed(path, kind.managed[path])
        elif path in kind.fixed:
            lines[path] = fixed(path, kind.fixed[path])
        elif value is None:
            lines[path] = f"{path}: must not be null; remove it"
        elif isinstance(value, str) and has_secret(value):
            lines[path] = (
                f"{path}: must not contain a token or a password, because the daemon's "
                "configuration is plain text in the cluster; remove it"
            )
    return [*lines.values(), *problems(kind.model, _without(table, set(lines)))]


DaemonJson = Annotated[str, rule(lambda text: _check(_DOCKERD, text))]
BuildkitdToml = Annotated[str, rule(lambda text: _check(_BUILDKITD, text))]


def parse(text: str | None, load: Callable[[str], Any]) -> dict[str, Any]:
    """Return the keys of a text that is valid."""
    table: dict[str, Any] = load(text) if text else {}
    return table
