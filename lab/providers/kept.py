"""The providers `kubernetes` and `aws` where neither is reached: resources are in the state alone.

It is for what the engine does with resources: parents, options, aliases, order, and what a change
replaces. That is what the plugin `kubernetes` says, which needs no cluster for it, and the stand-in
for `aws`.
"""

import copy
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from lab import engine
from lab.paths import STATE, replace
from lab.process import BOUND
from lab.providers import aws
from lab.providers.__main__ import serve
from lab.providers.base import Call, Change, Properties, Provider, Resource, changed_paths
from lab.toolchain import tool

_SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
_NOWHERE = """apiVersion: v1
kind: Config
current-context: nowhere
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
users: [{name: nobody, user: {}}]
"""


class KeptObject(Resource):
    """Any object: it has a name, which stays, and is what its inputs say.

    Args:
        computed: What a provider adds to it, by its id. Default: nothing.
        like: The same type of a provider, which says what a change replaces. Default: nothing is
            replaced.
    """

    def __init__(
        self,
        computed: Callable[[str], Properties] = lambda _: {},
        like: Resource | None = None,
    ) -> None:
        self.computed, self.like = computed, like

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Name the Helm release where it has no name."""
        name = olds.get("name") or f"{call.name}-{secrets.token_hex(4)}"
        return {"name": name, **copy.deepcopy(news)} if "chart" in news else news

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Replace it, or update it otherwise."""
        if self.like is not None:
            return self.like.diff(call, inputs, outputs, news)
        return Change(updates=changed_paths(inputs, news))

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Keep it."""
        name = inputs.get("metadata", {}).get("name") or inputs.get("name") or call.name
        return str(name), {**self.computed(str(name)), **inputs}


class KeptAmazon(Provider):
    """Serves every type alike; what a change replaces is what the stand-in says."""

    def __init__(self) -> None:
        super().__init__("aws", {})
        self.like = aws.provider()

    def _resource(self, urn: str, context: Any) -> Resource:
        kind = urn.split("::")[2].rpartition("$")[2]
        return KeptObject(_amazon, self.like.resources.get(kind))


def _amazon(name: str) -> Properties:
    arn = f"arn:aws:iam::123456789012:role/{name}"
    return {"arn": arn, "name": name, "bucket": name, "secret": f"secret-of-{name}"}


class KeptKubernetes(Provider):
    """Asks the plugin what is valid and what a change replaces, and keeps the objects itself.

    Args:
        plugin: The plugin, which reaches no cluster.
    """

    def __init__(self, plugin: provider_pb2_grpc.ResourceProviderStub) -> None:
        super().__init__("kubernetes", {})
        self.plugin = plugin

    def _resource(self, urn: str, context: Any) -> Resource:
        return KeptObject()

    def _asked(self, call: Callable[[Any], Any], request: Any, context: Any) -> Any:
        try:
            return call(request)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: D102
        return self._asked(self.plugin.Configure, request, context)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: D102
        # For a release the plugin would look for the chart.
        if "helm.sh/v3:Release" in request.urn:
            return super().Check(request, context)
        return self._asked(self.plugin.Check, request, context)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: D102
        # It compares with the inputs that it keeps in the outputs: those of a release as a secret.
        inputs = request.olds.fields["__inputs"].struct_value
        if "helm.sh/v3:Release" in request.urn:
            inputs.update(_SECRET)
            inputs = inputs.fields["value"].struct_value
        inputs.CopyFrom(request.old_inputs)
        return self._asked(self.plugin.Diff, request, context)


@contextmanager
def _plugin() -> Iterator[provider_pb2_grpc.ResourceProviderStub]:
    """Run the plugin `kubernetes` without a cluster."""
    nowhere = STATE / "nowhere.kubeconfig"
    replace(nowhere, _NOWHERE)
    process = subprocess.Popen(
        [*BOUND, tool("pulumi-resource-kubernetes")],
        env={**os.environ, "KUBECONFIG": str(nowhere)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            yield provider_pb2_grpc.ResourceProviderStub(channel)
    finally:
        process.kill()
        process.wait()


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Serve them; yield the environment by which the engine finds them, and the other plugins."""
    with _plugin() as plugin:
        served = {"kubernetes": serve(KeptKubernetes(plugin)), "aws": serve(KeptAmazon())}
        addresses = ",".join(f"{name}:{port}" for name, (_, port) in served.items())
        try:
            yield {**engine.environment(), "PULUMI_DEBUG_PROVIDERS": addresses}
        finally:
            for server, _ in served.values():
                server.stop(grace=2)
