"""The distributed cache as the manager offers it to a job: presigned URLs.

They are made from the manager's configuration alone: nobody asks the store. The job gets no
credentials, only URLs of single objects, good until its timeout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

_AWS = ("s3.amazonaws.com", ".amazonaws.com")


@dataclass(frozen=True)
class Urls:
    """Where a job asks for, gets and puts one archive; with the header that it must put with."""

    head: str = field(repr=False)
    get: str = field(repr=False)
    put: str = field(repr=False)
    put_header: str


def short_token(token: str) -> str:
    """Return the part of a runner's token that names it without giving it away."""
    return token.removeprefix("glrt-")[:9]


def object_key(runner: Mapping[str, Any], project_id: int, key: str) -> str:
    """Return the object's key, as the runner composes it."""
    cache = runner.get("cache") or {}
    shared = cache.get("Shared", False)
    parts = [
        cache.get("Path", "").strip("/"),
        "" if shared else f"runner/{short_token(runner['token'])}",
        f"project/{project_id}",
        key,
    ]
    return "/".join(part for part in parts if part)


def _credentials(
    store: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[str, str, str | None] | None:
    """Return what the manager signs with, None where it has nothing."""
    complete = all(store.get(key) for key in ("ServerAddress", "AccessKey", "SecretKey"))
    kind = store.get("AuthenticationType") or ("access-key" if complete else "iam")
    if kind == "access-key":
        key, secret, token = (store.get(k) for k in ("AccessKey", "SecretKey", "SessionToken"))
    else:
        # Of upstream's chain of identities the stand-in knows the environment.
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        key, secret, token = (environment.get(name) for name in names)
    return (key, secret, token or None) if key and secret else None


def store_client(
    runner: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[Any, str] | None:
    """Return an S3 client that signs as the manager does, and the bucket's name.

    None where the runner has no S3 store, or nothing to sign with: upstream's jobs then say "No
    URL provided" and go on.
    """
    cache = runner.get("cache") or {}
    store = cache.get("s3") or {}
    credentials = _credentials(store, environment)
    # Upstream compares the type as it is written: "S3" is none that it knows.
    if cache.get("Type") != "s3" or not store.get("BucketName") or credentials is None:
        return None
    address = store.get("ServerAddress") or ""
    aws = not address or address.endswith(_AWS)
    scheme = "http" if store.get("Insecure") else "https"
    path_style = store.get("PathStyle", not aws)
    client = boto3.client(
        "s3",
        aws_access_key_id=credentials[0],
        aws_secret_access_key=credentials[1],
        aws_session_token=credentials[2],
        region_name=store.get("BucketLocation") or "us-east-1",
        endpoint_url=None if aws else f"{scheme}://{address}",
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if path_style else "virtual"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    return client, store["BucketName"]


def urls(
    runner: Mapping[str, Any],
    environment: Mapping[str, str],
    project_id: int,
    key: str,
    seconds: int,
) -> Urls | None:
    """Presign the URLs of one cache key, good for some seconds; None without a store."""
    found = store_client(runner, environment)
    if found is None or not key:
        return None
    client, bucket = found
    place = {"Bucket": bucket, "Key": object_key(runner, project_id, key)}

    def sign(operation: str, **more: Any) -> str:
        url: str = client.generate_presigned_url(
            operation, Params={**place, **more}, ExpiresIn=seconds
        )
        return url

    return Urls(
        sign("head_object"),
        sign("get_object"),
        sign("put_object", Metadata={"cachekey": key}),
        f"x-amz-meta-cachekey: {key}",
    )
