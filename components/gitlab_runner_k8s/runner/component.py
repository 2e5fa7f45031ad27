"""`GitLabRunner`: a runner with the Kubernetes executor, from the official Helm chart."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from ..arguments import GitLabRunnerArgs
from ..kubernetes import workloads
from ..meta import type_token
from ..outputs import digest, sha256
from ..validation.messages import validate
from ..validation.rules.kubernetes import name_problems
from . import config_toml, network_policies
from .extra_config import has_autoscaler
from .helm_values import PRIORITY_CLASS_RULE, helm_values
from .settings import ExternalSecretSettings, GitLabRunnerSettings


class GitLabRunner(pulumi.ComponentResource):
    """A GitLab runner with the Kubernetes executor, installed by the official Helm chart.

    Raises:
        ArgsError: the arguments are not valid. The message lists every problem.
    """

    namespace: pulumi.Output[str]
    """Namespace of the runner itself."""
    job_namespace: pulumi.Output[str]
    """Namespace of the jobs' pods."""
    release_name: pulumi.Output[str]
    """Name of the Helm release and of the runner's Deployment."""
    config_checksum: pulumi.Output[str]
    """SHA-256 of the rendered config.toml, which contains no secrets."""

    def __init__(
        self,
        name: str,
        args: GitLabRunnerArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        is_release = not isinstance(args, Mapping) or args.get("release_name") is None
        names = name_problems(40 if is_release else 63, name)
        settings = validate(GitLabRunnerSettings, args, f"GitLabRunner '{name}'", also=names)
        super().__init__(type_token("GitLabRunner"), name, {}, opts)
        release_name = settings.release_name or name
        child = pulumi.ResourceOptions(parent=self)

        secret, secret_name, checksum = self._token(name, settings)
        config = config_toml.render(settings, release_name)
        dependencies = [secret] if secret else []
        if settings.enable_network_policies:
            dependencies += network_policies.declare(name, settings, child)
        if has_autoscaler(settings.extra_config):
            dependencies += self._priority_classes(name, release_name, settings)
        self._release = k8s.helm.v3.Release(
            f"{name}-release",
            name=release_name,
            namespace=settings.namespace,
            chart=settings.chart.chart,
            version=settings.chart.version,
            # A path or an OCI reference needs no repository.
            repository_opts=(
                {"repo": settings.chart.repository}
                if settings.chart.repository and "/" not in settings.chart.chart
                else None
            ),
            values=helm_values(
                settings,
                release_name,
                config_toml=config,
                token_secret_name=secret_name,
                secrets_checksum=checksum,
            ),
            max_history=5,
            atomic=True,
            cleanup_on_fail=True,
            # The first pull of the image takes minutes. The provider's own limit is 300 seconds.
            timeout=900,
            opts=pulumi.ResourceOptions(parent=self, depends_on=dependencies),
        )
        self.namespace = pulumi.Output.from_input(settings.namespace)
        self.job_namespace = pulumi.Output.from_input(settings.job_namespace)
        # Resources that depend on this output wait until the release is installed.
        self.release_name = self._release.id.apply(lambda _: release_name)
        self.config_checksum = pulumi.Output.from_input(config).apply(sha256)
        self.register_outputs(
            {
                "namespace": self.namespace,
                "job_namespace": self.job_namespace,
                "release_name": self.release_name,
                "config_checksum": self.config_checksum,
            }
        )

    @property
    def release(self) -> k8s.helm.v3.Release:
        """The Helm release (Python only)."""
        return self._release

    def _token(
        self, name: str, settings: GitLabRunnerSettings
    ) -> tuple[pulumi.Resource | None, pulumi.Input[str], pulumi.Input[str] | None]:
        """Declare the token's Secret. Return it, its name, and a checksum of the secrets."""
        extra = settings.cache.credentials_checksum if settings.cache else None
        if settings.token_secret_name is not None:
            return None, settings.token_secret_name, extra
        metadata: Any = {
            "name": f"{name}-token",
            "namespace": settings.namespace,
            "labels": workloads.labels("gitlab-runner", name),
        }
        child = pulumi.ResourceOptions(parent=self)
        if settings.token_external_secret is not None:
            reference = k8s.apiextensions.CustomResource(
                f"{name}-token",
                api_version="external-secrets.io/v1",
                kind="ExternalSecret",
                metadata=metadata,
                spec=_external_secret(f"{name}-token", settings.token_external_secret),
                opts=child,
            )
            return reference, f"{name}-token", extra
        assert settings.runner_token is not None  # the settings require one of the three
        salt = random.RandomId(f"{name}-checksum-salt", byte_length=16, opts=child)
        secret = k8s.core.v1.Secret(
            f"{name}-token",
            metadata=metadata,
            # The chart mounts both keys. Without the second key, the pod never starts.
            string_data={"runner-token": settings.runner_token, "runner-registration-token": ""},
            opts=child,
        )
        secrets = [settings.runner_token, *([extra] if extra else [])]
        return secret, f"{name}-token", digest(*secrets, salt=salt.hex)

    def _priority_classes(
        self, name: str, release_name: str, settings: GitLabRunnerSettings
    ) -> list[pulumi.Resource]:
        """Let the runner create the PriorityClass of its pause pods, which has no namespace."""
        child = pulumi.ResourceOptions(parent=self)
        rules: Any = [PRIORITY_CLASS_RULE]
        role = k8s.rbac.v1.ClusterRole(
            f"{name}-priority-classes",
            metadata={"labels": workloads.labels("gitlab-runner", name)},
            rules=rules,
            opts=child,
        )
        account: Any = {
            "kind": "ServiceAccount",
            "name": release_name,
            "namespace": settings.namespace,
        }
        binding = k8s.rbac.v1.ClusterRoleBinding(
            f"{name}-priority-classes",
            metadata={"labels": workloads.labels("gitlab-runner", name)},
            role_ref={
                "api_group": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": role.metadata["name"],
            },
            subjects=[account],
            opts=child,
        )
        return [role, binding]


def _external_secret(name: str, source: ExternalSecretSettings) -> dict[str, Any]:
    remote: dict[str, Any] = {"key": source.remote_key}
    if source.remote_property is not None:
        remote["property"] = source.remote_property
    return {
        "refreshInterval": f"{source.refresh_interval_seconds}s",
        "secretStoreRef": {"name": source.store_name, "kind": source.store_kind},
        "target": {
            "name": name,
            "creationPolicy": "Owner",
            "template": {
                "engineVersion": "v2",
                # The chart mounts both keys. Without the second key, the pod never starts.
                "data": {"runner-token": "{{ .token }}", "runner-registration-token": ""},
            },
        },
        "data": [{"secretKey": "token", "remoteRef": remote}],
    }
