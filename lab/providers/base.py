"""The provider protocol, once for all stand-ins: a resource type is a small class."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What the engine sends in a preview for a value that is not known yet."""

Properties = dict[str, Any]


class Failure(Exception):
    """An operation failed; the message is for the user and carries no secret."""


@dataclass
class Change:
    """What a diff found: paths by what they ask for."""

    updates: list[str] = field(default_factory=list)
    replaces: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, paths: list[str], replaces: Callable[[str], bool]) -> "Change":
        """Sort paths into those that replace and those that update."""
        change = cls()
        for path in paths:
            (change.replaces if replaces(path) else change.updates).append(path)
        return change


@dataclass(frozen=True)
class Call:
    """What an operation concerns: a resource, in an update or in a preview."""

    urn: str
    preview: bool = False

    @property
    def name(self) -> str:
        """Return the resource's name in Pulumi."""
        return self.urn.rpartition("::")[2]


class Resource:
    """A resource type. By default any change of an input replaces the resource."""

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Return the inputs with their defaults.

        Raises:
            Failure: the inputs are not valid.
        """
        return news

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Compare the inputs of the last update with the new ones."""
        return Change(replaces=changed_paths(inputs, news))

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make the resource; return its id and outputs. In a preview, only what is known."""
        raise NotImplementedError

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Return inputs and outputs as they are now; None when the resource is gone."""
        return inputs, outputs

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Change the resource in place; return its outputs."""
        return {**outputs, **news}

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Delete the resource; no error when it is gone."""


def changed_paths(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the paths of everything that differs between two values."""
    if isinstance(old, dict) and isinstance(new, dict):
        paths = []
        for key in sorted({*old, *new}):
            plain = key.replace("_", "").isalnum()
            part = f".{key}" if plain and path else key if plain else f'["{key}"]'
            paths += changed_paths(old.get(key), new.get(key), path + part)
        return paths
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [item for n, (a, b) in pairs for item in changed_paths(a, b, f"{path}[{n}]")]
    return [] if old == new else [path]


def _plain(value: Any) -> Any:
    """Return a value with whole numbers as integers: the wire has floats alone."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read(struct: struct_pb2.Struct) -> Properties:
    properties: Properties = _plain(json_format.MessageToDict(struct))
    return properties


def _write(properties: Properties) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    json_format.ParseDict(properties, struct)
    return struct


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """A provider of some resource types.

    Secrets reach it in clear and leave as the engine marks them: those of the inputs, and those
    that the SDK names.
    """

    def __init__(self, name: str, resources: dict[str, Resource]) -> None:
        self.name, self.resources = name, resources
        self.config: Properties = {}

    def _resource(self, urn: str, context: grpc.ServicerContext) -> Resource:
        kind = urn.split("::")[2].rpartition("$")[2]
        resource = self.resources.get(kind)
        if resource is None:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the stand-in for the provider '{self.name}' does not serve {kind}",
            )
            raise AssertionError
        return resource

    def _fail(self, context: grpc.ServicerContext, error: Exception) -> None:
        message = str(error)
        if not isinstance(error, Failure):
            traceback.print_exc()
        context.abort(grpc.StatusCode.UNKNOWN, message)

    @contextmanager
    def _reported(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Report a failure inside to the engine."""
        try:
            yield
        except Exception as error:
            self._fail(context, error)

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: D102
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: D102
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: D102
        # The types are those of the installed SDK, whose version the engine compares.
        return plugin_pb2.PluginInfo(version=metadata.version(f"pulumi-{self.name}"))

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.GetSchemaResponse(
            schema=f'{{"name": "{self.name}", "version": "0.0.0"}}'
        )

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: D102
        self.config = _read(request.args)
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: D102
        resource = self._resource(request.urn, context)
        try:
            inputs = resource.check(Call(request.urn), _read(request.olds), _read(request.news))
        except Failure as failure:
            return provider_pb2.CheckResponse(
                inputs=request.news, failures=[provider_pb2.CheckFailure(reason=str(failure))]
            )
        return provider_pb2.CheckResponse(inputs=_write(inputs))

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: D102
        resource = self._resource(request.urn, context)
        with self._reported(context):
            change = resource.diff(
                Call(request.urn),
                _read(request.old_inputs),
                _read(request.olds),
                _read(request.news),
            )
        kinds = provider_pb2.PropertyDiff
        detailed = {path: kinds(kind=kinds.UPDATE, inputDiff=True) for path in change.updates}
        detailed |= {
            path: kinds(kind=kinds.UPDATE_REPLACE, inputDiff=True) for path in change.replaces
        }
        response = provider_pb2.DiffResponse
        return response(
            changes=response.DIFF_SOME if detailed else response.DIFF_NONE,
            replaces=change.replaces,
            diffs=[*change.updates, *change.replaces],
            detailedDiff=detailed,
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: D102
        resource = self._resource(request.urn, context)
        with self._reported(context):
            identity, outputs = resource.create(
                Call(request.urn, request.preview), _read(request.properties)
            )
        return provider_pb2.CreateResponse(id=identity, properties=_write(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: D102
        resource = self._resource(request.urn, context)
        with self._reported(context):
            found = resource.read(
                Call(request.urn), request.id, _read(request.inputs), _read(request.properties)
            )
        if found is None:
            return provider_pb2.ReadResponse()
        inputs, outputs = found
        return provider_pb2.ReadResponse(
            id=request.id, inputs=_write(inputs), properties=_write(outputs)
        )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: D102
        resource = self._resource(request.urn, context)
        with self._reported(context):
            outputs = resource.update(
                Call(request.urn, request.preview),
                request.id,
                _read(request.olds),
                _read(request.news),
            )
        return provider_pb2.UpdateResponse(properties=_write(outputs))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: D102
        resource = self._resource(request.urn, context)
        with self._reported(context):
            resource.delete(Call(request.urn), request.id, _read(request.properties))
        return empty_pb2.Empty()
