"""The enforcer's process: follows the API, and replaces the rules when they change."""

import json
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from kubernetes import client, config

from lab import cluster, enforcer
from lab.console import LabError
from lab.enforcer import rules
from lab.paths import KUBECONFIG

_WATCH_SECONDS = 300
Objects = dict[str, rules.Object]
Change = Callable[[dict[str, Objects]], None]


def _listers() -> dict[str, Callable[..., Any]]:
    load: Any = config.load_kube_config
    load(str(KUBECONFIG))
    core = client.CoreV1Api()
    return {
        "pods": core.list_pod_for_all_namespaces,
        "namespaces": core.list_namespace,
        "networkpolicies": client.NetworkingV1Api().list_network_policy_for_all_namespaces,
    }


def _follow(kind: str, lister: Callable[..., Any], changes: "queue.Queue[Change]") -> None:
    """Send every change of a kind, beginning with all that is there."""
    while True:
        try:
            listing = json.loads(lister(_preload_content=False).data)
            changes.put(_replaced(kind, listing["items"]))
            # The watch ends by itself; a new listing then mends whatever was missed.
            with lister(
                watch=True,
                resource_version=listing["metadata"]["resourceVersion"],
                timeout_seconds=_WATCH_SECONDS,
                _preload_content=False,
                _request_timeout=(5, _WATCH_SECONDS + 30),
            ) as events:
                for line in events:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise LabError(event["object"]["message"])
                    changes.put(_changed(kind, event["type"], event["object"]))
        except Exception as error:
            # Whatever it is: without this thread, no new pod would ever reach anything.
            print(f"{kind}: {error!r}; listing again", flush=True)
            time.sleep(1)


def _replaced(kind: str, items: list[rules.Object]) -> Change:
    def change(objects: dict[str, Objects]) -> None:
        objects[kind] = {item["metadata"]["uid"]: item for item in items}

    return change


def _changed(kind: str, what: str, item: rules.Object) -> Change:
    def change(objects: dict[str, Objects]) -> None:
        uid = item["metadata"]["uid"]
        if what == "DELETED":
            objects[kind].pop(uid, None)
        else:
            objects[kind][uid] = item

    return change


def _next(changes: "queue.Queue[Change]", objects: dict[str, Objects]) -> None:
    """Wait for a change, and take all that have come with it."""
    changes.get()(objects)
    while not changes.empty():
        changes.get()(objects)


def _record(objects: dict[str, Objects]) -> None:
    versions = {
        kind: {uid: int(item["metadata"]["resourceVersion"]) for uid, item in items.items()}
        for kind, items in objects.items()
    }
    partial = enforcer.APPLIED.with_suffix(".new")
    partial.write_text(json.dumps(versions))
    os.replace(partial, enforcer.APPLIED)


def main() -> None:
    """Enforce until stopped; the rules stay when it stops, so that nothing opens by accident."""
    changes: queue.Queue[Change] = queue.Queue()
    for kind, lister in _listers().items():
        threading.Thread(target=_follow, args=(kind, lister, changes), daemon=True).start()
    objects: dict[str, Objects] = {}
    before = ""
    while True:
        _next(changes, objects)
        if set(objects) != set(enforcer.KINDS):
            continue
        found = rules.Cluster(*(list(objects[kind].values()) for kind in enforcer.KINDS))
        text = rules.render(found, cluster.POD_CIDR)
        if text != before:
            start = time.monotonic()
            try:
                enforcer.nft("-f", "-", stdin=text)
            except LabError as error:
                print(f"{error}; trying again", flush=True)
                time.sleep(1)
                changes.put(lambda _: None)
                continue
            took = 1000 * (time.monotonic() - start)
            print(f"{time.strftime('%H:%M:%S')} rules replaced in {took:.0f} ms", flush=True)
            before = text
        _record(objects)


if __name__ == "__main__":
    main()
