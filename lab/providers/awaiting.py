"""Waiting for Kubernetes objects to be ready, or gone, with a word on what is missing."""

import time
from collections.abc import Callable
from typing import Any

Live = dict[str, Any]
Get = Callable[[], Live | None]


class NotReady(Exception):
    """An object was not ready in time, or never will be."""


def _pods(live: Live) -> bool:
    """Tell whether a StatefulSet or Deployment has rolled out."""
    status, wanted = live.get("status") or {}, live["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < live["metadata"]["generation"]:
        return False
    if live["kind"] == "StatefulSet" and status.get("currentRevision") != status.get(
        "updateRevision"
    ):
        return False
    counts = [status.get(key, 0) for key in ("updatedReplicas", "readyReplicas", "replicas")]
    return all(count == wanted for count in counts)


def _job(live: Live) -> bool:
    """Tell whether a Job is complete.

    Raises:
        NotReady: it has failed.
    """
    for condition in (live.get("status") or {}).get("conditions") or []:
        if condition["status"] == "True" and condition["type"] == "Failed":
            raise NotReady(
                f"Job {live['metadata']['name']} failed: {condition.get('reason')}: "
                f"{condition.get('message')}"
            )
        if condition["status"] == "True" and condition["type"] == "Complete":
            return True
    return False


_RULES = {"StatefulSet": _pods, "Deployment": _pods, "Job": _job}


def _reason(live: Live, resource: Callable[[str, str], Any]) -> str:
    """Return why the first pod of an object is not ready."""
    namespace = live["metadata"].get("namespace") or "default"
    labels = live["spec"]["template"]["metadata"].get("labels") or {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = (
        resource("v1", "Pod").get(namespace=namespace, label_selector=selector).to_dict()["items"]
    )
    for pod in pods:
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or []:
            state = container.get("state") or {}
            bad = state.get("waiting") or state.get("terminated")
            if bad and bad.get("reason") != "Completed":
                return (
                    f"pod {pod['metadata']['name']}: {bad.get('reason')} {bad.get('message', '')}"
                )
        for condition in status.get("conditions") or []:
            if condition["status"] == "False" and condition.get("message"):
                return f"pod {pod['metadata']['name']}: {condition['message']}"
    return "no pod was made" if not pods else "its pods are not ready"


def ready(
    get: Get, inputs: Live, seconds: float, resource: Callable[[str, str], Any]
) -> Live | None:
    """Wait until an object is ready; return it as it is then.

    Raises:
        NotReady: it has failed, or was not ready in time.
    """
    rule = _RULES.get(inputs["kind"])
    if rule is None:
        return None
    deadline = time.monotonic() + seconds
    while True:
        live = get()
        if live is not None:
            try:
                if rule(live):
                    return live
            except NotReady as error:
                raise NotReady(f"{error}; {_reason(live, resource)}") from None
        if time.monotonic() > deadline:
            reason = _reason(live, resource) if live else "it is gone"
            name = inputs["metadata"]["name"]
            raise NotReady(f"{inputs['kind']} {name} was not ready in {seconds:.0f} s: {reason}")
        time.sleep(0.5)


def gone(get: Get, identity: str, seconds: float) -> None:
    """Wait until an object is gone.

    Raises:
        NotReady: it still was there at the end.
    """
    deadline = time.monotonic() + seconds
    while get() is not None:
        if time.monotonic() > deadline:
            raise NotReady(f"{identity} was still there {seconds:.0f} s after its deletion")
        time.sleep(0.3)
