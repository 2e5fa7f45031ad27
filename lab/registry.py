"""The lab's image registry: where docker builds pull their base image from."""

import json
import tarfile
import urllib.request
from http.client import HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError

from lab import cluster, images, oci, process
from lab.console import step

NAMESPACE = "lab"
_PORT = 5000
_LABELS = {"app": "registry"}
_CONFIG = f"""version: 0.1
storage:
  filesystem:
    rootdirectory: /data
http:
  addr: :{_PORT}
"""


def _objects() -> list[dict[str, Any]]:
    container = {
        "name": "registry",
        "image": images.reference("docker"),
        "command": ["docker-registry", "serve", "/config/config.yml"],
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": "/config"},
        ],
        "readinessProbe": {"httpGet": {"path": "/v2/", "port": _PORT}, "periodSeconds": 1},
    }
    pod = {
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "registry"}},
            {"name": "config", "configMap": {"name": "registry"}},
        ],
    }
    meta = {"name": "registry", "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta,
            "data": {"config.yml": _CONFIG},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": meta,
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "5Gi"}},
            },
        },
        cluster.deployment("registry", NAMESPACE, _LABELS, pod),
        cluster.service("registry", NAMESPACE, _LABELS, [{"port": _PORT}]),
    ]


def _request(method: str, url: str, data: Any = None, **headers: str) -> HTTPResponse:
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    response: HTTPResponse = cluster.OPENER.open(request, timeout=120)
    return response


def _has(url: str) -> bool:
    try:
        _request("HEAD", url)
    except HTTPError as error:
        if error.code == 404:
            return False
        raise
    return True


def _answers(base: str) -> bool:
    try:
        return _has(f"{base}/v2/")
    except URLError:
        return False


def _push(base: str, archive: tarfile.TarFile, name: str, tag: str) -> None:
    def blob(digest: str) -> Any:
        return archive.extractfile(oci.blob_path(digest))

    index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
    digest = index["manifests"][0]["digest"]
    manifest = blob(digest).read()
    described = json.loads(manifest)
    for part in (described["config"], *described["layers"]):
        if _has(f"{base}/v2/{name}/blobs/{part['digest']}"):
            continue
        place = _request("POST", f"{base}/v2/{name}/blobs/uploads/").headers["Location"]
        place = place if place.startswith("http") else base + place
        _request(
            "PUT",
            f"{place}{'&' if '?' in place else '?'}digest={part['digest']}",
            blob(part["digest"]),
            **{
                "Content-Type": "application/octet-stream",
                "Content-Length": str(part["size"]),
            },
        )
    media = {"Content-Type": described["mediaType"]}
    _request("PUT", f"{base}/v2/{name}/manifests/{tag}", manifest, **media)


def up() -> None:
    """Start the registry and push the base image, unless it is there."""
    with step("starting the image registry"):
        cluster.apply(*_objects())
        cluster.rollout(NAMESPACE, "deployment/registry")
        address = cluster.kubectl(
            *("-n", NAMESPACE, "get", "service", "registry"), "-o", "jsonpath={.spec.clusterIP}"
        )
        base = f"http://{address}:{_PORT}"
        process.wait_for("the registry's Service", lambda: _answers(base), 30)
        image = images.find("base")
        if not _has(f"{base}/v2/base/manifests/{image.tag}"):
            with tarfile.open(image.archive) as archive:
                _push(base, archive, "base", image.tag)
