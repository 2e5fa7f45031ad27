"""Rules for names of AWS, Google Cloud and Azure: buckets, accounts, ARNs and regions."""

import re
from typing import TYPE_CHECKING, Annotated

import pulumi
from pydantic import AfterValidator, Field

from ..base import leaf, matches, rule
from .basic import variable

_RESERVED_BUCKET = (
    r"xn--.*|sthree-.*|amzn-s3-demo-.*|.*-s3alias|.*--ol-s3|.*\.mrap|.*--x-s3|.*--table-s3|.*-an"
)


def bucket(value: str) -> str | None:
    """Return the problem of an S3 bucket's name, or None."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value) or ".." in value:
        return "must be 3 to 63 characters of [a-z0-9-], starting and ending with a letter or digit"
    if re.fullmatch(r"[0-9.]+", value) and value.count(".") == 3:
        return "must not look like an IP address; choose another name"
    if "." in value:
        return "must not have dots, because S3's TLS certificates do not match such names; use '-'"
    if re.fullmatch(_RESERVED_BUCKET, value):
        return "must not have a prefix or suffix that S3 reserves; choose another name"
    return None


def _prefix(value: str) -> str | None:
    if not re.fullmatch(r"([A-Za-z0-9_.-]+/)+", value) or re.search(r"(^|/)\.\.?/", value):
        # Policies must not contain characters that S3 or IAM would read as a pattern.
        return "must be folder names of [A-Za-z0-9_.-], each followed by '/', such as 'ci/'"
    return None


def _object_path(value: str) -> str | None:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", value):
        return "must be folder names of [A-Za-z0-9_.-] with '/' between them, such as 'ci/prod'"
    if {".", ".."} & set(value.split("/")):
        return "must not lead out of its folder; remove '.' and '..'"
    return None


_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}


def partition(region: str) -> str:
    """Return the AWS partition of a region, which is the second part of the ARNs there."""
    for prefix, name in _PARTITIONS.items():
        if region.startswith(prefix):
            return name
    return "aws"


def _arn(resource: str, example: str) -> AfterValidator:
    # Policies must not contain characters that IAM would read as a pattern.
    partitions = "|".join(["aws", *_PARTITIONS.values()])
    return matches(
        rf"arn:({partitions}):{resource}",
        f"must be an ARN such as '{example}', without '*' or '?'",
    )


TagName = Annotated[
    str,
    matches(
        r"(?![Aa][Ww][Ss]:)[A-Za-z0-9 _.:/=+@-]{1,128}",
        "must be a tag's name: at most 128 characters of [A-Za-z0-9 _.:/=+@-], not beginning with "
        "'aws:'",
    ),
]


if TYPE_CHECKING:
    BucketName = pulumi.Input[str]
    Region = pulumi.Input[str]
    RoleArn = pulumi.Input[str]
    KmsKeyArn = pulumi.Input[str]
    PolicyArn = pulumi.Input[str]
    ObjectPrefix = pulumi.Input[str]
    ObjectPath = pulumi.Input[str]
    OidcProviderArn = pulumi.Input[str]
    GcsBucketName = pulumi.Input[str]
    GcsAccount = pulumi.Input[str]
    AzureAccountName = pulumi.Input[str]
    AzureContainerName = pulumi.Input[str]
    AzureClientId = pulumi.Input[str]
    TagValue = pulumi.Input[str]
else:  # pydantic cannot read pulumi.Input itself
    BucketName = leaf(rule(bucket))
    Region = leaf(
        matches(
            r"(af|ap|ca|cn|eu|il|me|mx|sa|us|us-gov|us-iso[bf]?|eu-isoe|eusc-[a-z]{2})"
            r"-(north|south|east|west|central|(north|south)(east|west))-[1-9][0-9]?",
            "must be an AWS region, such as 'eu-central-1'",
        )
    )
    RoleArn = leaf(_arn(r"iam::\d{12}:role/[\w+=,.@/-]+", "arn:aws:iam::123456789012:role/name"))
    KmsKeyArn = leaf(
        _arn(
            r"kms:[a-z0-9-]+:\d{12}:(key/[A-Za-z0-9-]+|alias/[\w/-]+)",
            "arn:aws:kms:eu-central-1:123456789012:key/…",
        )
    )
    PolicyArn = leaf(
        _arn(r"iam::(\d{12}|aws):policy/[\w+=,.@/-]+", "arn:aws:iam::123456789012:policy/name")
    )
    ObjectPrefix = leaf(rule(_prefix))
    ObjectPath = leaf(rule(_object_path))
    OidcProviderArn = leaf(
        _arn(
            r"iam::\d{12}:oidc-provider/[\w.:/-]+",
            "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/…",
        )
    )
    GcsBucketName = leaf(
        matches(
            r"(?!goog)[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",
            "must be the name of a GCS bucket: 3 to 222 characters of [a-z0-9._-], not beginning "
            "with 'goog'",
        )
    )
    GcsAccount = leaf(
        matches(
            r"[a-z0-9.-]+@[a-z0-9.-]+",
            "must be a service account, such as 'runner@project.iam.gserviceaccount.com'",
        )
    )
    AzureAccountName = leaf(
        matches(r"[a-z0-9]{3,24}", "must be a storage account: 3 to 24 characters of [a-z0-9]")
    )
    AzureContainerName = leaf(
        matches(
            r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
            "must be a container: 3 to 63 characters of [a-z0-9-], no two '-' in a row",
        )
    )
    AzureClientId = leaf(
        matches(
            r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
            "must be a client id, such as '00000000-0000-0000-0000-000000000000'",
        )
    )
    TagValue = leaf(Field(max_length=256), rule(variable))
