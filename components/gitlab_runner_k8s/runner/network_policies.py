"""NetworkPolicies of the runner itself and of its jobs."""

from collections.abc import Mapping

import pulumi

from ..kubernetes import network_policy as net
from ..outputs import lift
from .settings import GitLabRunnerSettings

METRICS_PORT = 9252

EKS_POD_IDENTITY = ["169.254.170.23/32", "fd00:ec2::23/128"]
"""Addresses of the EKS Pod Identity agent, on port 80. It gives a pod only the pod's own role."""

GKE_METADATA = {"169.254.169.254/32": [80], "169.254.169.252/32": [987, 988]}
"""Addresses and ports of GKE's metadata server, with Dataplane V2 and without it."""


def declare(
    name: str, settings: GitLabRunnerSettings, opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Declare the policies of the runner's namespace and of the job namespace."""
    return [
        net.policy(
            f"{name}-manager",
            settings.namespace,
            ingress=(
                net.namespace_rule(settings.metrics_namespaces, METRICS_PORT)
                if settings.enable_metrics
                else []
            ),
            egress=lift(
                lambda addresses: manager_egress(addresses, settings), _addresses(settings)
            ),
            opts=opts,
        ),
        net.policy(
            f"{name}-jobs",
            settings.job_namespace,
            ingress=[],
            egress=lift(lambda addresses: job_egress(addresses, settings), _addresses(settings)),
            opts=opts,
        ),
    ]


def _addresses(settings: GitLabRunnerSettings) -> dict[str, pulumi.Input[str]]:
    """Return the addresses that jobs reach, by name, without those that are not set."""
    cache, mirror = settings.cache, settings.registry_mirror
    addresses = {
        "gitlab": settings.gitlab_url,
        "store": cache.server_address if cache else None,
        "docker": settings.docker.host if settings.docker else None,
        "buildkit": settings.buildkit.host if settings.buildkit else None,
        "mirror": mirror.url if mirror else None,
    }
    return {name: address for name, address in addresses.items() if address is not None}


def _identity(settings: GitLabRunnerSettings) -> list[net.Rule]:
    """Return the egress rules to the service that gives the runner its identity's credentials."""
    if settings.cache is None or settings.cache.credentials_secret_name is not None:
        return []
    if settings.cache.type == "s3":
        return [
            {
                "to": [{"ipBlock": {"cidr": cidr}} for cidr in EKS_POD_IDENTITY],
                "ports": net.ports(80),
            }
        ]
    if settings.cache.type == "gcs":
        return [
            {"to": [{"ipBlock": {"cidr": cidr}}], "ports": net.ports(*numbers)}
            for cidr, numbers in GKE_METADATA.items()
        ]
    return []


def manager_egress(addresses: Mapping[str, str], settings: GitLabRunnerSettings) -> list[net.Rule]:
    """Return the egress rules of the runner itself: DNS, the API server, GitLab and the store.

    NetworkPolicies cannot match host names, so the rules for the API server and GitLab match ports.
    """
    outside = {*settings.api_server_ports, net.service_port(addresses["gitlab"])[1]}
    if settings.gitlab_port:
        outside.add(settings.gitlab_port)
    store = addresses.get("store")
    return [
        net.dns(settings.dns_cidrs),
        net.anywhere(*sorted(outside)),
        *(net.to_service(store) if store else []),
        *_identity(settings),
    ]


def job_egress(addresses: Mapping[str, str], settings: GitLabRunnerSettings) -> list[net.Rule]:
    """Return the egress rules of jobs: DNS, the internet, and the platform's own services."""
    services = [net.to_service(address) for address in addresses.values()]
    if settings.gitlab_port:
        services.append(net.to_service(addresses["gitlab"], settings.gitlab_port))
    return [
        net.dns(settings.dns_cidrs),
        net.internet(settings.egress_cidrs),
        *(rule for rules in services for rule in rules),
    ]
