"""Stand-in for the provider `aws`: what `S3Cache` uses of S3 and IAM, on a test server.

It serves no `PodIdentityAssociation`: the test server (moto) has none.
"""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

from lab.providers.base import UNKNOWN, Call, Change, Failure, Properties, Provider, Resource
from lab.providers.base import changed_paths as paths_between

ENDPOINT = "LAB_AWS_ENDPOINT"
"""The variable of the environment with the address of the test server."""

_GONE = {
    "404",
    "NoSuchBucket",
    "NoSuchEntity",
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
}


def client(service: str, region: str | None = None) -> Any:
    """Return a client of the test server.

    Raises:
        Failure: no test server on this machine is named; the real AWS is never called.
    """
    endpoint = os.environ.get(ENDPOINT, "")
    if urlsplit(endpoint).hostname not in {"127.0.0.1", "localhost"}:
        raise Failure(f"the stand-in for 'aws' needs a test server: {ENDPOINT}=http://127.0.0.1:…")
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region or "us-east-1",
        # Never the credentials that happen to be on the machine.
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
    )


def _reported(call: Callable[[], Any]) -> Any:
    """Make a call; a refusal by the server is a failure for the user."""
    try:
        return call()
    except ClientError as error:
        raise Failure(str(error)) from None


def _or_none(call: Callable[[], Any]) -> Any:
    """Make a call; return None when what it is about is gone."""
    try:
        return call()
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            return None
        raise Failure(str(error)) from None


_API_NAMES = {"id": "ID", "sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}
_PROPERTY_NAMES = {api: name for name, api in _API_NAMES.items()}


def _to_api(value: Any) -> Any:
    """Spell properties as the API does."""
    if isinstance(value, dict):
        return {
            _API_NAMES.get(key, key[:1].upper() + key[1:]): _to_api(item)
            for key, item in value.items()
        }
    return [_to_api(item) for item in value] if isinstance(value, list) else value


def _to_properties(value: Any) -> Any:
    """Spell what the API returned as properties."""
    if isinstance(value, dict):
        return {
            _PROPERTY_NAMES.get(key, key[:1].lower() + key[1:]): _to_properties(item)
            for key, item in value.items()
        }
    return [_to_properties(item) for item in value] if isinstance(value, list) else value


def _tags(inputs: Properties) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in (inputs.get("tags") or {}).items()]


def _name(call: Call, olds: Properties, news: Properties, key: str) -> Properties:
    """Give a resource without a name one of its own, which it keeps."""
    if key in news:
        return news
    return {**news, key: olds.get(key) or f"{call.name}-{secrets.token_hex(4)[:7]}"}


class _Aws(Resource):
    """A change of one of `replacing` replaces the resource, any other updates it."""

    replacing: frozenset[str]

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Sort the changes as AWS does."""
        return Change.of(
            paths_between(inputs, news), lambda path: path.split(".")[0] in self.replacing
        )


class Bucket(_Aws):
    """`Bucket`."""

    replacing = frozenset({"bucket", "region"})

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Name it; S3 has lower case alone."""
        named = _name(call, olds, news, "bucket")
        return named if "bucket" in news else {**named, "bucket": named["bucket"].lower()}

    def _outputs(self, inputs: Properties) -> Properties:
        region = inputs.get("region") or "us-east-1"
        partition = boto3.Session().get_partition_for_region(region)
        arn = f"arn:{partition}:s3:::{inputs['bucket']}"
        return {**inputs, "region": region, "arn": arn}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make the bucket."""
        if call.preview:
            return "", {**inputs, "arn": UNKNOWN}
        region, name = inputs.get("region"), inputs["bucket"]
        place = (
            {}
            if region in (None, "us-east-1")
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        _reported(lambda: client("s3", region).create_bucket(Bucket=name, **place))
        self._tag(inputs)
        return name, self._outputs(inputs)

    def _tag(self, inputs: Properties) -> None:
        s3, name, tags = client("s3", inputs.get("region")), inputs["bucket"], _tags(inputs)
        if tags:
            _reported(lambda: s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags}))
        else:
            _reported(lambda: s3.delete_bucket_tagging(Bucket=name))

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Look whether the bucket is there."""
        s3 = client("s3", outputs.get("region"))
        return (inputs, outputs) if _or_none(lambda: s3.head_bucket(Bucket=identity)) else None

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Change the tags; whether to empty it is known to the state alone."""
        if not call.preview:
            self._tag(news)
        return self._outputs(news)

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Delete the bucket, with all versions of its objects where that is allowed."""
        s3 = client("s3", outputs.get("region"))
        if outputs.get("forceDestroy"):
            _or_none(lambda: _empty(s3, identity))
        _or_none(lambda: s3.delete_bucket(Bucket=identity))


def _empty(s3: Any, bucket: str) -> None:
    """Delete every object, with all its versions."""
    if "Status" in s3.get_bucket_versioning(Bucket=bucket):
        # Where versioning is suspended moto cannot delete a version.
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [
            {"Key": item["Key"], "VersionId": item["VersionId"]}
            for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        ]
        if found:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": found})


@dataclass(frozen=True)
class Setting(_Aws):
    """A setting of a bucket: the names of the calls, and how they spell the properties."""

    put: str
    get: str
    remove: str | None
    to_api: Callable[[Properties], dict[str, Any]]
    from_api: Callable[[dict[str, Any]], Properties]
    replacing = frozenset({"bucket", "region"})

    def _store(self, inputs: Properties) -> None:
        s3 = client("s3", inputs.get("region"))
        arguments = self.to_api({key: value for key, value in inputs.items() if key != "region"})
        _reported(lambda: getattr(s3, self.put)(**arguments))

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make the setting."""
        if call.preview:
            return "", inputs
        self._store(inputs)
        return inputs["bucket"], inputs

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Return the setting as it is in the bucket."""
        s3 = client("s3", outputs.get("region"))
        answer = _or_none(lambda: getattr(s3, self.get)(Bucket=identity))
        live = answer and self.from_api(answer)
        if not live:
            return None
        known: Properties = {key: outputs[key] for key in ("bucket", "region") if key in outputs}
        return {**known, **live}, {**known, **live}

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Write the setting again."""
        if not call.preview:
            self._store(news)
        return news

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Take the setting away."""
        s3 = client("s3", outputs.get("region"))
        if self.remove:
            _or_none(lambda: getattr(s3, str(self.remove))(Bucket=identity))
        elif self.put == "put_bucket_versioning":
            suspended = {"Status": "Suspended"}
            _or_none(
                lambda: s3.put_bucket_versioning(Bucket=identity, VersioningConfiguration=suspended)
            )
        else:
            _or_none(lambda: s3.put_bucket_logging(Bucket=identity, BucketLoggingStatus={}))


def _without_bucket(inputs: Properties) -> Properties:
    return {key: value for key, value in inputs.items() if key != "bucket"}


def _json(text: str) -> str:
    """Return a policy in one spelling: the real provider compares what it says."""
    return json.dumps(json.loads(text))


_SETTINGS = {
    "PublicAccessBlock": Setting(
        "put_public_access_block",
        "get_public_access_block",
        "delete_public_access_block",
        lambda own: {
            "Bucket": own["bucket"],
            "PublicAccessBlockConfiguration": _to_api(_without_bucket(own)),
        },
        lambda answer: _to_properties(answer["PublicAccessBlockConfiguration"]),
    ),
    "OwnershipControls": Setting(
        "put_bucket_ownership_controls",
        "get_bucket_ownership_controls",
        "delete_bucket_ownership_controls",
        lambda own: {
            "Bucket": own["bucket"],
            "OwnershipControls": {"Rules": [_to_api(own["rule"])]},
        },
        lambda answer: {"rule": _to_properties(answer["OwnershipControls"]["Rules"][0])},
    ),
    "ServerSideEncryptionConfiguration": Setting(
        "put_bucket_encryption",
        "get_bucket_encryption",
        "delete_bucket_encryption",
        lambda own: {
            "Bucket": own["bucket"],
            "ServerSideEncryptionConfiguration": {"Rules": _to_api(own["rules"])},
        },
        lambda answer: {
            "rules": _to_properties(answer["ServerSideEncryptionConfiguration"]["Rules"])
        },
    ),
    "LifecycleConfiguration": Setting(
        "put_bucket_lifecycle_configuration",
        "get_bucket_lifecycle_configuration",
        "delete_bucket_lifecycle",
        lambda own: {
            "Bucket": own["bucket"],
            "LifecycleConfiguration": {"Rules": _to_api(own["rules"])},
        },
        lambda answer: {"rules": _to_properties(answer["Rules"])},
    ),
    "Versioning": Setting(
        "put_bucket_versioning",
        "get_bucket_versioning",
        None,
        lambda own: {
            "Bucket": own["bucket"],
            "VersioningConfiguration": _to_api(own["versioningConfiguration"]),
        },
        lambda answer: (
            {"versioningConfiguration": {"status": answer["Status"]}} if "Status" in answer else {}
        ),
    ),
    "Logging": Setting(
        "put_bucket_logging",
        "get_bucket_logging",
        None,
        lambda own: {
            "Bucket": own["bucket"],
            "BucketLoggingStatus": {"LoggingEnabled": _to_api(_without_bucket(own))},
        },
        lambda answer: _to_properties(answer.get("LoggingEnabled") or {}),
    ),
    "Policy": Setting(
        "put_bucket_policy",
        "get_bucket_policy",
        "delete_bucket_policy",
        lambda own: {"Bucket": own["bucket"], "Policy": own["policy"]},
        lambda answer: {"policy": _json(answer["Policy"])},
    ),
}


class Principal(_Aws):
    """`Role` or `User`."""

    replacing = frozenset({"name"})

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.verb = kind.lower()

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Name it."""
        return _name(call, olds, news, "name")

    def _call(self, verb: str, name: str, **arguments: Any) -> Any:
        return getattr(client("iam"), verb)(**{f"{self.kind}Name": name}, **arguments)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make it."""
        if call.preview:
            return "", {**inputs, "arn": UNKNOWN, "uniqueId": UNKNOWN}
        arguments: dict[str, Any] = {"Tags": _tags(inputs)}
        if "assumeRolePolicy" in inputs:
            arguments["AssumeRolePolicyDocument"] = inputs["assumeRolePolicy"]
        if "permissionsBoundary" in inputs:
            arguments["PermissionsBoundary"] = inputs["permissionsBoundary"]
        name = inputs["name"]
        made = _reported(lambda: self._call(f"create_{self.verb}", name, **arguments))[self.kind]
        return name, {**inputs, "arn": made["Arn"], "uniqueId": made[f"{self.kind}Id"]}

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Return it as it is."""
        answer = _or_none(lambda: self._call(f"get_{self.verb}", identity))
        if answer is None:
            return None
        live: Properties = {}
        if self.kind == "Role":
            # The client has parsed the document already.
            live["assumeRolePolicy"] = json.dumps(answer["Role"]["AssumeRolePolicyDocument"])
        return {**inputs, **live}, {**outputs, **live}

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Change trust, boundary and tags."""
        kept = {key: outputs[key] for key in ("arn", "uniqueId")}
        if call.preview:
            return {**news, **kept}
        if self.kind == "Role":
            trust = news["assumeRolePolicy"]
            _reported(
                lambda: self._call("update_assume_role_policy", identity, PolicyDocument=trust)
            )
        boundary = news.get("permissionsBoundary")
        if boundary:
            _reported(
                lambda: self._call(
                    f"put_{self.verb}_permissions_boundary", identity, PermissionsBoundary=boundary
                )
            )
        elif outputs.get("permissionsBoundary"):
            _reported(lambda: self._call(f"delete_{self.verb}_permissions_boundary", identity))
        gone = sorted({*(outputs.get("tags") or {})} - {*(news.get("tags") or {})})
        _reported(lambda: self._call(f"untag_{self.verb}", identity, TagKeys=gone))
        _reported(lambda: self._call(f"tag_{self.verb}", identity, Tags=_tags(news)))
        return {**news, **kept}

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Delete it."""
        _or_none(lambda: self._call(f"delete_{self.verb}", identity))


class InlinePolicy(_Aws):
    """`RolePolicy` or `UserPolicy`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.verb = kind.lower()
        self.replacing = frozenset({"name", self.verb})

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Name it."""
        return _name(call, olds, news, "name")

    def _call(self, verb: str, own: Properties, **arguments: Any) -> Any:
        who = {f"{self.kind}Name": own[self.verb], "PolicyName": own["name"]}
        return getattr(client("iam"), f"{verb}_{self.verb}_policy")(**who, **arguments)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Attach it."""
        if call.preview:
            return "", inputs
        _reported(lambda: self._call("put", inputs, PolicyDocument=inputs["policy"]))
        return f"{inputs[self.verb]}:{inputs['name']}", inputs

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Return it as it is."""
        answer = _or_none(lambda: self._call("get", outputs))
        if answer is None:
            return None
        live = {"policy": json.dumps(answer["PolicyDocument"])}
        return {**inputs, **live}, {**outputs, **live}

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Write it again."""
        if not call.preview:
            _reported(lambda: self._call("put", news, PolicyDocument=news["policy"]))
        return news

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Take it away."""
        _or_none(lambda: self._call("delete", outputs))


class AccessKey(_Aws):
    """`AccessKey`: the SDK marks its secret."""

    replacing = frozenset({"user"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make a key."""
        if call.preview:
            return "", {**inputs, "secret": UNKNOWN}
        made = _reported(lambda: client("iam").create_access_key(UserName=inputs["user"]))
        key = made["AccessKey"]
        return key["AccessKeyId"], {**inputs, "secret": key["SecretAccessKey"]}

    def read(
        self, call: Call, identity: str, inputs: Properties, outputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Look whether the key is there; nobody can read its secret again."""
        answer = _or_none(lambda: client("iam").list_access_keys(UserName=outputs["user"]))
        keys = [key["AccessKeyId"] for key in (answer or {}).get("AccessKeyMetadata", [])]
        return (inputs, outputs) if identity in keys else None

    def update(
        self, call: Call, identity: str, outputs: Properties, news: Properties
    ) -> Properties:
        """Change whether it is active."""
        if not call.preview:
            status = news.get("status", "Active")
            _reported(
                lambda: client("iam").update_access_key(
                    UserName=news["user"], AccessKeyId=identity, Status=status
                )
            )
        return {**outputs, **news}

    def delete(self, call: Call, identity: str, outputs: Properties) -> None:
        """Delete the key."""
        _or_none(
            lambda: client("iam").delete_access_key(UserName=outputs["user"], AccessKeyId=identity)
        )


def provider() -> Provider:
    """Return the stand-in."""
    settings: dict[str, Resource] = {
        f"aws:s3/bucket{name}:Bucket{name}": setting for name, setting in _SETTINGS.items()
    }
    return Provider(
        "aws",
        {
            "aws:s3/bucket:Bucket": Bucket(),
            **settings,
            "aws:iam/role:Role": Principal("Role"),
            "aws:iam/rolePolicy:RolePolicy": InlinePolicy("Role"),
            "aws:iam/user:User": Principal("User"),
            "aws:iam/userPolicy:UserPolicy": InlinePolicy("User"),
            "aws:iam/accessKey:AccessKey": AccessKey(),
        },
    )
