"""The mirror's address and configuration, and the configuration of daemons that use it."""

import json
from typing import Any

import pulumi

from ..outputs import concat
from .settings import MirrorSettings, RegistryMirrorSettings

PORT = 5000
METRICS_PORT = 5001
DATA_PATH = "/var/lib/registry"
DRAIN_SECONDS = 60


def host(name: str, settings: RegistryMirrorSettings) -> pulumi.Input[str]:
    """Return `host:port` of the mirror."""
    return concat(name, ".", settings.namespace, ".svc.", settings.cluster_domain, f":{PORT}")


def url(name: str, settings: RegistryMirrorSettings) -> pulumi.Input[str]:
    """Return the mirror's address: plain HTTP inside the cluster."""
    return concat("http://", host(name, settings))


def config_yml(settings: MirrorSettings, remote_url: str) -> str:
    """Return the registry's configuration as JSON, which is also YAML.

    The registry's scheduler removes a layer from the volume once `ttl` is over. That needs
    `delete`, although a pull-through cache refuses every deletion over its API. The command
    `registry garbage-collect` is not used: it must not run during a write, and every first pull
    writes. The scheduler leaves manifests of a few kB each. `uploadpurging` removes the files of
    interrupted pulls.
    """
    http: dict[str, Any] = {
        "addr": f":{PORT}",
        # Without it, a pod that stops interrupts running pulls and loses the last expiry times.
        "draintimeout": f"{DRAIN_SECONDS}s",
        "headers": {"X-Content-Type-Options": ["nosniff"]},
    }
    if settings.metrics_namespaces:
        http["debug"] = {
            "addr": f":{METRICS_PORT}",
            "prometheus": {"enabled": True, "path": "/metrics"},
        }
    config = {
        "version": "0.1",
        "log": {"level": settings.log_level, "accesslog": {"disabled": True}},
        # No cache of descriptors: it would keep layers of other repositories after their expiry.
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
        "proxy": {"remoteurl": remote_url, "ttl": f"{settings.ttl_hours}h"},
    }
    return json.dumps(config, indent=2) + "\n"


def job_daemon_json(url: str) -> str:
    """Return the configuration of a Docker daemon that uses the mirror, only for Docker Hub."""
    return json.dumps({"registry-mirrors": [url]}, indent=2) + "\n"
