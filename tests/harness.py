"""Runs a program against mocks and records every raw registration, as the engine would get it."""

import json
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import resource
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.proto import resource_pb2, source_pb2

from tests import lint

SECRET = "4dabf18193072939515e22adb298388d"


class _NoMocks(Mocks):
    """What the SDK asks for beside the mock engine, which answers everything itself."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise AssertionError(f"the recorder answers: {args.name}")

    def call(self, args: MockCallArgs) -> Any:
        raise AssertionError(f"the components call no functions: {args.token}")


def _computed(kind: str, name: str) -> dict[str, Any]:
    """Return the outputs that a provider computes."""
    known = {
        "random:index/randomPassword:RandomPassword": {"result": f"secret-{name}"},
        "random:index/randomId:RandomId": {"hex": f"hex-{name}"},
        "tls:index/privateKey:PrivateKey": {"privateKeyPem": f"key-{name}"},
        "tls:index/certRequest:CertRequest": {"certRequestPem": f"csr-{name}"},
        "tls:index/selfSignedCert:SelfSignedCert": {"certPem": f"cert-{name}"},
        "tls:index/locallySignedCert:LocallySignedCert": {
            "certPem": f"cert-{name}",
            "validityEndTime": "2027-02-26T10:00:00Z",
        },
        "aws:s3/bucket:Bucket": {"bucket": name, "arn": f"arn:aws:s3:::{name}"},
        "aws:iam/role:Role": {"arn": f"arn:aws:iam::123456789012:role/{name}"},
        "aws:iam/accessKey:AccessKey": {"secret": f"secret-{name}"},
    }.get(kind, {})
    return {**({"name": name} if kind.startswith("aws:iam") else {}), **known}


@dataclass(frozen=True)
class Registration:
    """One resource as it was registered."""

    type: str
    name: str
    parent: str
    inputs: dict[str, Any]
    request: Any

    @property
    def plain(self) -> dict[str, Any]:
        """Return the inputs with the secrets' envelopes taken off."""
        opened: dict[str, Any] = _open(self.inputs)
        return opened

    @property
    def values(self) -> dict[str, Any]:
        """Return the Helm values of a release."""
        values: dict[str, Any] = self.plain["values"]
        return values

    @property
    def runner(self) -> dict[str, Any]:
        """Return the `[[runners]]` in a release's config.toml."""
        runner: dict[str, Any]
        (runner,) = tomllib.loads(lint.by_helm(self.values["runners"]["config"]))["runners"]
        return runner

    @property
    def pod(self) -> dict[str, Any]:
        """Return the specification of a workload's pods."""
        pod: dict[str, Any] = self.plain["spec"]["template"]["spec"]
        return pod


def _open(value: Any) -> Any:
    if isinstance(value, dict):
        if SECRET in value:
            return _open(value["value"])
        return {key: _open(item) for key, item in value.items()}
    return [_open(item) for item in value] if isinstance(value, list) else value


def without_secrets(value: Any) -> Any:
    """Return a value with every secret taken out: what anybody may read."""
    if isinstance(value, dict):
        if SECRET in value:
            return "[secret]"
        return {key: without_secrets(item) for key, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


class Recorder(MockMonitor):
    """A mock engine that keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(_NoMocks())
        self.registrations: list[Registration] = []
        self.outputs: dict[str, dict[str, Any]] = {}

    def RegisterResource(self, request: Any) -> Any:
        inputs = json_format.MessageToDict(request.object)
        self.registrations.append(
            Registration(request.type, request.name, request.parent, inputs, request)
        )
        urn = self.make_urn(request.parent, request.type, request.name)
        state = struct_pb2.Struct()
        state.update(_computed(request.type, request.name))
        state.MergeFrom(request.object)
        if request.type.startswith("kubernetes:") and "metadata" in inputs:
            metadata = state.fields["metadata"].struct_value
            if "name" not in metadata:
                metadata.update({"name": f"{request.name}-auto"})
        return resource_pb2.RegisterResourceResponse(urn=urn, id=f"{request.name}-id", object=state)

    def RegisterResourceOutputs(self, request: Any) -> Any:
        assert request.urn not in self.outputs, f"{request.urn} registers its outputs twice"
        self.outputs[request.urn] = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]

    def of_type(self, suffix: str) -> list[Registration]:
        """Return the resources whose type ends so."""
        return [made for made in self.registrations if made.type.endswith(suffix)]

    def one(self, suffix: str, name: str | None = None) -> Registration:
        """Return the one resource whose type ends so, of that name if one is given."""
        found = [made for made in self.of_type(suffix) if name in (None, made.name)]
        assert len(found) == 1, f"{suffix} {name}: {[made.name for made in found]}"
        return found[0]

    def readable(self) -> str:
        """Return all that was registered, without what is marked as a secret."""
        return json.dumps([without_secrets(made.inputs) for made in self.registrations])


@contextmanager
def faster() -> Iterator[None]:
    """Keep the SDK from noting what nobody reads here, which takes a quarter of a test's time."""
    with (
        mock.patch.object(resource, "_get_stack_trace", source_pb2.StackTrace),
        # Not a mock, which would record every call.
        mock.patch.object(pulumi.log, "debug", lambda *_, **__: None),  # noqa: PT008
    ):
        yield


def deploy(program: Callable[[], object], *, preview: bool = False) -> Recorder:
    """Run a program to its end; errors in it, and in `apply`, are raised."""
    recorder = Recorder()
    pulumi.runtime.set_mocks(
        _NoMocks(), project="gitlab-runner-k8s", stack="test", preview=preview, monitor=recorder
    )

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def run() -> None:
        program()

    with faster():
        run()
    for release in recorder.of_type(":helm.sh/v3:Release"):
        # It is unknown in the preview of a stack that is not there yet.
        if isinstance(values := release.plain.get("values"), dict):
            lint.record(values)
    return recorder


def token(kind: str = "glrt") -> str:
    """Return a made-up token that is found nowhere else."""
    return f"{kind}-{uuid.uuid4().hex}"
