"""Pieces that several components declare in the same way."""

from typing import Any, Literal

import pulumi
import pulumi_kubernetes as k8s

from ._meta import PACKAGE


def labels(component: str, instance: str) -> dict[str, str]:
    """Return the labels that Kubernetes recommends for an object of a component."""
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/part-of": PACKAGE,
    }


def selector(component: str, instance: str) -> dict[str, str]:
    """Return the part of `labels` that selects an object's pods; it can never change."""
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
    """Return a pod's security context for the level `restricted`, run as one user id."""
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
    """Return the labels by which a namespace enforces a Pod Security level."""
    return {
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/part-of": PACKAGE,
        "pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/warn": level,
    }


def refuse_existing_namespace(resource_name: str, fix: str) -> pulumi.ResourceHookBinding:
    """Return the hook by which a preview refuses to create a namespace that exists already.

    The provider `kubernetes` applies objects on the server, so it would take the namespace over
    without a word, and `pulumi destroy` would delete it with everything in it.

    Args:
        resource_name: Name of the namespace's resource in Pulumi.
        fix: What else the user can do with a namespace that exists.
    """

    def check(args: pulumi.ResourceHookArgs) -> None:
        metadata = (args.new_outputs or {}).get("metadata") or {}
        # The provider's preview is a dry run: its answer has a version if the object exists.
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


def config_volume(name: str, config_map: k8s.core.v1.ConfigMap) -> dict[str, Any]:
    """Return a pod's volume with the keys of a ConfigMap as files."""
    return {"name": name, "configMap": {"name": config_map.metadata["name"]}}


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
    """Declare a Service for the pods of a component, or one of them; `ports` are by name.

    A pod's index, its number in the StatefulSet, is a label since Kubernetes 1.28.
    """
    index = {} if pod_index is None else {"apps.kubernetes.io/pod-index": str(pod_index)}
    return k8s.core.v1.Service(
        resource_name,
        metadata={
            "name": name,
            "namespace": namespace,
            "labels": labels(*component),
            # The StatefulSet, which comes after it, provides the endpoints.
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
    """Declare pods, each with a volume `data` that outlives the StatefulSet, and can grow.

    Args:
        name: Name of the StatefulSet, and of its Service where `service_name` names no other.
        namespace: Namespace of both.
        component: What the pod is, and of which instance: see `labels`.
        pod: The pod's spec, in Kubernetes' own spelling.
        resource_name: Name of the resource in Pulumi.
        annotations: Annotations of the pod; a change of any rolls it.
        volume_size: Size of the volume, as a quantity. A larger one resizes the volume in place,
            if its StorageClass allows that; Kubernetes refuses a smaller one.
        storage_class_name: StorageClass of the volume; None for the cluster's default.
        opts: Options of the resource.
        service_name: Name of its Service.
        replicas: How many pods; the volumes of those that a lower number ends stay.
        parallel: Whether no pod waits for another to start. A StatefulSet that is there stays as
            it is: Kubernetes lets that be changed by a new one alone.
    """
    # As a plain mapping: type-checking nested literals of the SDK's types takes 20 GB.
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
    made = k8s.apps.v1.StatefulSet(
        resource_name,
        metadata={"name": name, "namespace": namespace, "labels": labels(*component)},
        spec=spec,
        # Kubernetes lets no template of a claim change: the claim itself is resized below.
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
        # So that the API server refuses another class, rather than nothing happening.
        claim["storageClassName"] = storage_class_name
    for number in range(replicas):
        k8s.core.v1.PersistentVolumeClaimPatch(
            f"{resource_name}-volume{f'-{number}' if number else ''}",
            metadata={
                "name": f"data-{name}-{number}",
                "namespace": namespace,
                "annotations": {
                    # The StatefulSet's controller set the size that is changed here.
                    "pulumi.com/patchForce": "true",
                    # The provider would wait for a claim of a class with WaitForFirstConsumer to be
                    # pending; this one is bound, since the pod runs.
                    "pulumi.com/skipAwait": "true",
                },
            },
            spec=claim,
            opts=pulumi.ResourceOptions(
                parent=opts.parent, depends_on=[made], retain_on_delete=True
            ),
        )
    return made
