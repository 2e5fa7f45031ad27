"""Objects that several components declare in the same way."""

from collections.abc import Mapping
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as k8s

from ..meta import PACKAGE


def labels(component: str, instance: str) -> dict[str, str]:
    """Return the labels that Kubernetes recommends for an object of a component."""
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/part-of": PACKAGE,
    }


def selector(component: str, instance: str) -> dict[str, str]:
    """Return the labels that select an object's pods. They can never change."""
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": instance,
    }


def restricted_container() -> dict[str, Any]:
    """Return a container's security context for the Pod Security level `restricted`."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def restricted_pod(user: int) -> dict[str, Any]:
    """Return a pod's security context for the level `restricted`, with a user ID."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


PodSecurity = Literal["privileged", "baseline", "restricted"]


def namespace_labels(level: PodSecurity) -> dict[str, str]:
    """Return the labels with which a namespace enforces a Pod Security level."""
    return {
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/part-of": PACKAGE,
        "pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/warn": level,
    }


def refuse_existing_namespace(resource_name: str, fix: str) -> pulumi.ResourceHookBinding:
    """Return a hook that makes a preview refuse to create a namespace that already exists.

    The provider `kubernetes` applies objects on the server. Without the hook, it would take over
    the namespace without a message, and `pulumi destroy` would delete everything in the namespace.

    Args:
        resource_name: Name of the namespace's resource in Pulumi.
        fix: Another remedy for the message, beside another name or deleting the namespace.
    """

    def check(args: pulumi.ResourceHookArgs) -> None:
        metadata = (args.new_outputs or {}).get("metadata") or {}
        # The provider previews by a dry run, which returns a version only if the object exists.
        if pulumi.runtime.is_dry_run() and metadata.get("resourceVersion"):
            raise pulumi.RunError(
                f"the namespace '{metadata['name']}' exists already and is not part of this stack; "
                f"choose another name, delete it, or {fix}"
            )

    options = pulumi.ResourceHookOptions(on_dry_run=True)
    hook = pulumi.ResourceHook(f"{resource_name}-is-new", check, options)
    return pulumi.ResourceHookBinding(after_create=[hook])


def secret_volume(name: str, secret: k8s.core.v1.Secret, mode: int) -> dict[str, Any]:
    """Return a pod's volume with the keys of a Secret as files."""
    return {"name": name, "secret": {"secretName": secret.metadata["name"], "defaultMode": mode}}


def config_volume(
    name: str, config_map: k8s.core.v1.ConfigMap, paths: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a pod's volume with the keys of a ConfigMap as files.

    Args:
        name: Name of the volume.
        config_map: The ConfigMap.
        paths: Paths of the files by key. Default: each key is a file of that name.
    """
    items = [{"key": key, "path": path} for key, path in (paths or {}).items()]
    source = {"name": config_map.metadata["name"], **({"items": items} if items else {})}
    return {"name": name, "configMap": source}


def service(
    name: str,
    namespace: pulumi.Input[str],
    component: tuple[str, str],
    ports: dict[str, int],
    *,
    resource_name: str,
    opts: pulumi.ResourceOptions,
    pod_index: int | None = None,
) -> k8s.core.v1.Service:
    """Declare a Service for the pods of a component, or for the pod with an index.

    `ports` maps names to numbers. A pod's index is its number in the StatefulSet. Kubernetes has
    set it as a label since 1.28.
    """
    index = {} if pod_index is None else {"apps.kubernetes.io/pod-index": str(pod_index)}
    return k8s.core.v1.Service(
        resource_name,
        metadata={
            "name": name,
            "namespace": namespace,
            "labels": labels(*component),
            # Do not wait for endpoints: the StatefulSet, which is created later, provides them.
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        spec={
            "selector": {**selector(*component), **index},
            "ports": [
                {"name": port, "port": number, "target_port": number}
                for port, number in ports.items()
            ],
        },
        opts=opts,
    )


def stateful_set(
    name: str,
    namespace: pulumi.Input[str],
    component: tuple[str, str],
    pod: dict[str, Any],
    *,
    resource_name: str,
    annotations: dict[str, pulumi.Input[str]],
    volume_size: str,
    storage_class_name: pulumi.Input[str] | None,
    opts: pulumi.ResourceOptions,
    service_name: str | None = None,
    replicas: int = 1,
    parallel: bool = False,
) -> k8s.apps.v1.StatefulSet:
    """Declare a StatefulSet whose pods each have a volume `data`.

    The volumes outlive the StatefulSet, and can grow.

    Args:
        name: Name of the StatefulSet, and of its Service unless `service_name` is set.
        namespace: Namespace of the StatefulSet and of its Service.
        component: Name and instance of the component: see `labels`.
        pod: The pod's spec, in Kubernetes' own spelling.
        resource_name: Name of the resource in Pulumi.
        annotations: Annotations of the pods. A change restarts the pods.
        volume_size: Size of each volume, as a quantity. A larger size resizes the volume in place,
            if its StorageClass allows that. Kubernetes refuses a smaller size.
        storage_class_name: StorageClass of the volumes; None for the cluster's default.
        opts: Options of the resource.
        service_name: Name of the StatefulSet's Service.
        replicas: Number of pods. A lower number removes pods and keeps their volumes.
        parallel: Whether the pods start without waiting for each other. An existing StatefulSet
            keeps its mode: Kubernetes does not let it change.
    """
    # A plain mapping, because type-checking nested literals of the SDK's types takes 20 GB.
    spec: Any = {
        "serviceName": service_name or name,
        "replicas": replicas,
        **({"podManagementPolicy": "Parallel"} if parallel else {}),
        "selector": {"matchLabels": selector(*component)},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "template": {
            "metadata": {"labels": labels(*component), "annotations": annotations},
            "spec": {"automountServiceAccountToken": False, "enableServiceLinks": False, **pod},
        },
        "volumeClaimTemplates": [
            {
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": storage_class_name,
                    "resources": {"requests": {"storage": volume_size}},
                },
            }
        ],
    }
    workload = k8s.apps.v1.StatefulSet(
        resource_name,
        metadata={"name": name, "namespace": namespace, "labels": labels(*component)},
        spec=spec,
        # Kubernetes refuses changes of claim templates, so the claims themselves are resized below.
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                ignore_changes=[
                    "spec.volumeClaimTemplates",
                    *(["spec.podManagementPolicy"] if parallel else []),
                ]
            ),
        ),
    )
    claim: Any = {"resources": {"requests": {"storage": volume_size}}}
    if storage_class_name is not None:
        # The API server then refuses another class. Otherwise the change would have no effect.
        claim["storageClassName"] = storage_class_name
    for number in range(replicas):
        k8s.core.v1.PersistentVolumeClaimPatch(
            f"{resource_name}-volume{f'-{number}' if number else ''}",
            metadata={
                "name": f"data-{name}-{number}",
                "namespace": namespace,
                "annotations": {
                    # The StatefulSet's controller set the size, so the patch must force the change.
                    "pulumi.com/patchForce": "true",
                    # For a class with WaitForFirstConsumer, the provider would wait until the claim
                    # is pending. This claim is bound, because the pod runs.
                    "pulumi.com/skipAwait": "true",
                },
            },
            spec=claim,
            opts=pulumi.ResourceOptions(
                parent=opts.parent, depends_on=[workload], retain_on_delete=True
            ),
        )
    return workload
