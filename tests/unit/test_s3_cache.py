"""What `S3Cache` registers, option by option."""

import json
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import S3Cache, S3Identity

from tests.harness import Recorder, deploy

REGION = "eu-central-1"
PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"
ROLE = "arn:aws:iam::123456789012:role/there-already"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
KEY = f"arn:aws:kms:{REGION}:123456789012:key/1"
IRSA: dict[str, Any] = {"region": REGION, "oidc_provider_arn": PROVIDER}
POD: dict[str, Any] = {"region": REGION, "identity": "pod-identity", "eks_cluster_name": "ci"}
BY_KEY: dict[str, Any] = {"region": REGION, "identity": "access-key"}
SETTINGS = (
    "bucketPublicAccessBlock:BucketPublicAccessBlock",
    "bucketOwnershipControls:BucketOwnershipControls",
    "bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "bucketPolicy:BucketPolicy",
)


def cache(args: dict[str, Any]) -> Recorder:
    return deploy(lambda: S3Cache("ci", args))  # type: ignore[arg-type]


def outputs(recorder: Recorder) -> dict[str, Any]:
    (found,) = [known for urn, known in recorder.outputs.items() if ":S3Cache::" in urn]
    return found


def statements(recorder: Recorder, kind: str, name: str = "ci-permissions") -> dict[str, Any]:
    """Return the statements of a policy by their first action."""
    document = json.loads(recorder.one(f":{kind}", name).plain["policy"])
    return {
        (action if isinstance(action, str) else action[0]): statement
        for statement in document["Statement"]
        for action in [statement["Action"]]
    }


def without_aws(recorder: Recorder) -> bool:
    return not [made for made in recorder.registrations if made.type.startswith("aws:")]


def test_by_default_the_bucket_is_private_and_expires() -> None:
    recorder = cache(IRSA)
    block = recorder.one(":BucketPublicAccessBlock").plain
    for key in (
        "blockPublicAcls",
        "blockPublicPolicy",
        "ignorePublicAcls",
        "restrictPublicBuckets",
    ):
        assert block[key] is True
    assert recorder.one(":BucketOwnershipControls").plain["rule"] == {
        "objectOwnership": "BucketOwnerEnforced"
    }
    (encryption,) = recorder.one(":BucketServerSideEncryptionConfiguration").plain["rules"]
    assert encryption == {
        "applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"},
        "bucketKeyEnabled": False,
    }
    (rule,) = recorder.one(":BucketLifecycleConfiguration").plain["rules"]
    assert rule["expiration"] == {"days": 14}
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 14}
    assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 1}
    (statement,) = json.loads(recorder.one(":BucketPolicy").plain["policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Resource"] == ["arn:aws:s3:::ci-bucket", "arn:aws:s3:::ci-bucket/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    for kind in (":BucketVersioning", ":BucketLogging", ":PodIdentityAssociation", ":User"):
        assert recorder.of_type(kind) == []


@pytest.mark.parametrize("allowed", [False, True])
def test_the_bucket_and_what_keeps_it_private_are_protected(allowed: bool) -> None:
    args = {**IRSA, "allow_destroy": allowed, "enable_versioning": True, "access_log_bucket": "log"}
    recorder = cache(args)
    for kind in ("s3/bucket:Bucket", *SETTINGS):
        assert recorder.one(kind).request.protect is not allowed
    # These two can be turned off again.
    for kind in (":BucketVersioning", ":BucketLogging"):
        assert recorder.one(kind).request.protect is False


def test_all_of_the_bucket_is_in_its_region() -> None:
    recorder = cache({**IRSA, "enable_versioning": True, "access_log_bucket": "logs"})
    of_s3 = [made for made in recorder.registrations if made.type.startswith("aws:s3/")]
    assert len(of_s3) == 8
    assert {made.plain["region"] for made in of_s3} == {REGION}


def test_a_key_encrypts_and_the_runner_may_use_it() -> None:
    recorder = cache({**IRSA, "kms_key_arn": KEY})
    (rule,) = recorder.one(":BucketServerSideEncryptionConfiguration").plain["rules"]
    assert rule == {
        "applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY},
        "bucketKeyEnabled": True,
    }
    assert statements(recorder, "RolePolicy")["kms:Decrypt"] == {
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": KEY,
    }
    assert "kms:Decrypt" not in statements(cache(IRSA), "RolePolicy")


def test_versions_are_kept_where_asked_for() -> None:
    recorder = cache({**IRSA, "enable_versioning": True, "expiration_days": 7})
    versioning = recorder.one(":BucketVersioning")
    assert versioning.plain["versioningConfiguration"] == {"status": "Enabled"}
    lifecycle = recorder.one(":BucketLifecycleConfiguration")
    assert lifecycle.plain["rules"][0]["noncurrentVersionExpiration"] == {"noncurrentDays": 7}
    assert any(urn.endswith("::ci-versioning") for urn in lifecycle.request.dependencies)


@pytest.mark.parametrize(
    ("change", "prefix"), [({}, "ci-bucket/"), ({"access_log_prefix": "of/ci/"}, "of/ci/")]
)
def test_access_is_logged_where_asked_for(change: dict[str, Any], prefix: str) -> None:
    recorder = cache({**IRSA, "access_log_bucket": "logs", **change})
    logging = recorder.one(":BucketLogging").plain
    assert (logging["targetBucket"], logging["targetPrefix"]) == ("logs", prefix)


@pytest.mark.parametrize(("args", "kind"), [(IRSA, "RolePolicy"), (BY_KEY, "UserPolicy")])
def test_a_prefix_bounds_every_right(args: dict[str, Any], kind: str) -> None:
    bounded = statements(cache({**args, "prefix": "ci/"}), kind)
    assert bounded["s3:GetObject"]["Resource"] == "arn:aws:s3:::ci-bucket/ci/*"
    assert bounded["s3:ListBucket"]["Condition"] == {"StringLike": {"s3:prefix": "ci/*"}}
    whole = statements(cache(args), kind)
    assert whole["s3:GetObject"]["Resource"] == "arn:aws:s3:::ci-bucket/*"
    assert "Condition" not in whole["s3:ListBucket"]
    for granted in (bounded, whole):
        assert granted["s3:GetObject"]["Action"] == [
            "s3:GetObject",
            "s3:PutObject",
            "s3:DeleteObject",
        ]
        assert set(granted) == {"s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"}


@pytest.mark.parametrize("args", [IRSA, POD, BY_KEY])
def test_an_existing_bucket_gets_an_identity_and_nothing_else(args: dict[str, Any]) -> None:
    recorder = cache({**args, "existing_bucket_name": "there-already"})
    assert [made for made in recorder.registrations if made.type.startswith("aws:s3")] == []
    kind = "UserPolicy" if args is BY_KEY else "RolePolicy"
    assert statements(recorder, kind)["s3:GetObject"]["Resource"] == "arn:aws:s3:::there-already/*"
    assert outputs(recorder)["bucket"] == "there-already"


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_the_arn_of_an_existing_bucket_is_of_its_partition(
    region: str, partition: str, known: bool
) -> None:
    def program() -> None:
        given = region if known else pulumi.Output.from_input(region)
        args: Any = {**BY_KEY, "region": given, "existing_bucket_name": "there-already"}
        S3Cache("ci", args)

    granted = statements(deploy(program), "UserPolicy")
    assert granted["s3:ListBucket"]["Resource"] == f"arn:{partition}:s3:::there-already"


def test_an_existing_identity_is_left_alone() -> None:
    recorder = cache({"region": REGION, "identity": S3Identity.EXISTING.value})
    assert [made for made in recorder.registrations if made.type.startswith("aws:iam")] == []
    assert {"role_arn", "object_role_arn"} & set(outputs(recorder)) == set()

    known = {"region": REGION, "identity": "existing", "existing_role_arn": ROLE}
    assert outputs(cache(known))["role_arn"] == ROLE
    assert "object_role_arn" not in outputs(cache(known))
    large = cache({**known, "enable_large_objects": True})
    assert outputs(large)["object_role_arn"] == ROLE
    assert without_aws(cache({**known, "existing_bucket_name": "there-already"}))


@pytest.mark.parametrize(("args", "kind"), [(IRSA, "Role"), (POD, "Role"), (BY_KEY, "User")])
def test_a_boundary_bounds_whatever_is_made(args: dict[str, Any], kind: str) -> None:
    large = {} if args is BY_KEY else {"enable_large_objects": True}
    recorder = cache({**args, **large, "permissions_boundary_arn": BOUNDARY})
    made = recorder.of_type(f":{kind}")
    assert len(made) == 1 + len(large)
    assert {one.plain["permissionsBoundary"] for one in made} == {BOUNDARY}


@pytest.mark.parametrize("args", [IRSA, POD])
def test_large_objects_get_a_role_that_the_runners_role_may_assume(args: dict[str, Any]) -> None:
    recorder = cache({**args, "prefix": "ci/", "enable_large_objects": True})
    runner, objects = (
        f"arn:aws:iam::123456789012:role/{name}" for name in ("ci-role", "ci-object-role")
    )
    found = outputs(recorder)
    assert (found["role_arn"], found["object_role_arn"]) == (runner, objects)
    (trust,) = json.loads(recorder.one(":Role", "ci-object-role").plain["assumeRolePolicy"])[
        "Statement"
    ]
    assert trust["Principal"] == {"AWS": runner}
    # The sessions of EKS Pod Identity carry tags along.
    assert trust["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert statements(recorder, "RolePolicy")["sts:AssumeRole"]["Resource"] == objects
    transfer = statements(recorder, "RolePolicy", "ci-object-permissions")
    assert transfer["s3:GetObject"]["Action"] == ["s3:GetObject", "s3:PutObject"]
    assert transfer["s3:GetObject"]["Resource"] == "arn:aws:s3:::ci-bucket/ci/*"
    assert "sts:AssumeRole" not in transfer

    plain = cache(args)
    assert "object_role_arn" not in outputs(plain)
    assert "sts:AssumeRole" not in statements(plain, "RolePolicy")


def test_pod_identity_is_for_the_runners_service_account() -> None:
    recorder = cache({**POD, "runner_namespace": "runners", "service_account_names": ["mine"]})
    association = recorder.one(":PodIdentityAssociation").plain
    assert association["clusterName"] == "ci"
    assert association["namespace"] == "runners"
    assert association["serviceAccount"] == "mine"
    assert association["roleArn"] == "arn:aws:iam::123456789012:role/ci-role"
    (trust,) = json.loads(recorder.one(":Role").plain["assumeRolePolicy"])["Statement"]
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}


def test_tags_are_on_everything_that_can_have_them() -> None:
    recorder = cache({**POD, "enable_large_objects": True, "tags": {"team": "ci"}})
    tagged = {made.name for made in recorder.registrations if made.plain.get("tags")}
    assert tagged == {"ci-bucket", "ci-role", "ci-object-role", "ci-association"}
