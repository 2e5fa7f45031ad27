"""A distributed cache on AWS: a private bucket for `cache:` of jobs, and the identity to use it."""

from enum import Enum
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from ._inputs import digest
from ._meta import token
from ._specs import S3CacheSpec
from ._validation import validate

ABORT_MULTIPART_DAYS = 1


class S3Identity(str, Enum):
    """How the runner proves to AWS that it may use the bucket."""

    IRSA = "irsa"
    """A role for the runner's ServiceAccount, by the cluster's OIDC provider."""
    POD_IDENTITY = "pod-identity"
    """A role for the runner's ServiceAccount, by the EKS Pod Identity agent."""
    ACCESS_KEY = "access-key"
    """A user with an access key, in a Secret: for clusters outside of AWS."""


class S3OptionsArgs(TypedDict):
    """What can be chosen about the bucket."""

    region: pulumi.Input[str]
    """Region of the bucket, that of the AWS provider."""
    bucket_name: NotRequired[pulumi.Input[str]]
    """Name of the bucket. Default: the component's name and random letters."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key that encrypts the objects. Default: SSE-S3, with keys of S3's own."""
    expiration_days: NotRequired[int]
    """Days after which an object that was not written again is deleted. Default: 14."""
    identity: NotRequired[S3Identity]
    """How the runner proves that it may use the bucket. Default: irsa."""
    oidc_provider_arn: NotRequired[pulumi.Input[str]]
    """ARN of the cluster's OIDC provider; required for irsa."""
    eks_cluster_name: NotRequired[pulumi.Input[str]]
    """Name of the EKS cluster; required for pod-identity."""
    enable_large_objects: NotRequired[bool]
    """Let the runner assume its role for each object, for objects over 5 GB.
    Default: presigned URLs, up to 5 GB an object."""
    allow_destroy: NotRequired[bool]
    """Let an update or `pulumi destroy` delete the bucket with all that is in it.
    Default: the bucket is protected."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of everything that can have them. Default: the provider's."""


class S3CacheArgs(S3OptionsArgs):
    """Arguments of `S3Cache`."""

    runner_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of the runner. Default: gitlab-runner."""
    service_account_names: NotRequired[list[pulumi.Input[str]]]
    """ServiceAccounts of the runners. Default: gitlab-runner alone."""


class S3Cache(pulumi.ComponentResource):
    """A private, encrypted S3 bucket for the distributed cache, and the right to use it.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    bucket: pulumi.Output[str]
    """Name of the bucket."""
    region: pulumi.Output[str]
    """Region of the bucket."""
    role_arn: pulumi.Output[str] | None
    """Role of the runner, for irsa and pod-identity."""
    credentials_secret_name: pulumi.Output[str] | None
    """Secret in the runner's namespace with `accesskey` and `secretkey`, for access-key."""
    credentials_checksum: pulumi.Output[str] | None
    """Salted digest of the access key, for access-key."""

    def __init__(
        self, name: str, args: S3CacheArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = validate(S3CacheSpec, args, f"S3Cache '{name}'")
        super().__init__(token("S3Cache"), name, {}, opts)
        self._spec = spec
        self._bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=spec.bucket_name,
            force_destroy=spec.allow_destroy,
            tags=spec.tags,
            opts=pulumi.ResourceOptions(parent=self, protect=not spec.allow_destroy),
        )
        self._harden(name)
        self.bucket = self._bucket.bucket
        self.region = pulumi.Output.from_input(spec.region)
        self.role_arn = None
        self.credentials_secret_name = None
        self.credentials_checksum = None
        if spec.identity == "access-key":
            self._access_key(name)
        else:
            self._role(name)
        outputs = {
            "bucket": self.bucket,
            "region": self.region,
            "role_arn": self.role_arn,
            "credentials_secret_name": self.credentials_secret_name,
            "credentials_checksum": self.credentials_checksum,
        }
        self.register_outputs({key: value for key, value in outputs.items() if value is not None})

    @property
    def bucket_resource(self) -> aws.s3.Bucket:
        """The bucket itself (native only)."""
        return self._bucket

    def _harden(self, name: str) -> None:
        child = pulumi.ResourceOptions(parent=self)
        bucket = self._bucket.bucket
        block = aws.s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=child,
        )
        key = self._spec.kms_key_arn
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket,
            rules=[
                {
                    "apply_server_side_encryption_by_default": (
                        {"sse_algorithm": "aws:kms", "kms_master_key_id": key}
                        if key
                        else {"sse_algorithm": "AES256"}
                    ),
                    # One call to KMS for many objects.
                    "bucket_key_enabled": key is not None,
                }
            ],
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket,
            rules=[
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": self._spec.expiration_days},
                    "abort_incomplete_multipart_upload": {
                        "days_after_initiation": ABORT_MULTIPART_DAYS
                    },
                }
            ],
            opts=child,
        )
        # The block and the policy are one setting to S3: in parallel, one of them fails.
        aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket,
            policy=pulumi.Output.json_dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "DenyPlainHttp",
                            "Effect": "Deny",
                            "Principal": "*",
                            "Action": "s3:*",
                            "Resource": [
                                self._bucket.arn,
                                pulumi.Output.concat(self._bucket.arn, "/*"),
                            ],
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                        }
                    ],
                }
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[block]),
        )

    def _permissions(self) -> pulumi.Output[str]:
        objects = pulumi.Output.concat(self._bucket.arn, "/*")
        statements: list[dict[str, Any]] = [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": objects,
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": self._bucket.arn,
            },
        ]
        if self._spec.kms_key_arn:
            statements.append(
                {
                    "Effect": "Allow",
                    "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                    "Resource": self._spec.kms_key_arn,
                }
            )
        return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements})

    def _role(self, name: str) -> None:
        spec, child = self._spec, pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-role", assume_role_policy=self._trust(), tags=spec.tags, opts=child
        )
        aws.iam.RolePolicy(
            f"{name}-permissions", role=role.name, policy=self._permissions(), opts=child
        )
        if spec.identity == "pod-identity":
            assert spec.eks_cluster_name is not None  # the spec holds that it is set
            for n, account in enumerate(spec.service_account_names):
                aws.eks.PodIdentityAssociation(
                    f"{name}-association{f'-{n}' if n else ''}",
                    cluster_name=spec.eks_cluster_name,
                    namespace=spec.runner_namespace,
                    service_account=account,
                    role_arn=role.arn,
                    tags=spec.tags,
                    opts=child,
                )
        self.role_arn = role.arn

    def _trust(self) -> pulumi.Output[str]:
        spec = self._spec
        statements: list[dict[str, Any]]
        if spec.identity == "pod-identity":
            statements = [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "pods.eks.amazonaws.com"},
                    "Action": ["sts:AssumeRole", "sts:TagSession"],
                }
            ]
            return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements})

        def irsa(known: list[str]) -> dict[str, Any]:
            provider, namespace, *accounts = known
            issuer = provider.partition(":oidc-provider/")[2]
            return {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Federated": provider},
                        "Action": "sts:AssumeRoleWithWebIdentity",
                        "Condition": {
                            "StringEquals": {
                                f"{issuer}:sub": [
                                    f"system:serviceaccount:{namespace}:{account}"
                                    for account in accounts
                                ],
                                f"{issuer}:aud": "sts.amazonaws.com",
                            }
                        },
                    }
                ],
            }

        assert spec.oidc_provider_arn is not None  # the spec holds that it is set
        return pulumi.Output.json_dumps(
            pulumi.Output.all(
                spec.oidc_provider_arn, spec.runner_namespace, *spec.service_account_names
            ).apply(irsa)
        )

    def _access_key(self, name: str) -> None:
        spec, child = self._spec, pulumi.ResourceOptions(parent=self)
        user = aws.iam.User(f"{name}-user", tags=spec.tags, opts=child)
        permissions = aws.iam.UserPolicy(
            f"{name}-permissions", user=user.name, policy=self._permissions(), opts=child
        )
        key = aws.iam.AccessKey(
            f"{name}-key",
            user=user.name,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permissions]),
        )
        secret = k8s.core.v1.Secret(
            f"{name}-credentials",
            metadata={"name": f"{name}-credentials", "namespace": spec.runner_namespace},
            string_data={"accesskey": key.id, "secretkey": key.secret},
            opts=child,
        )
        self.credentials_secret_name = secret.metadata["name"]
        # The key's id is random and not used up by the digest: it does as the salt.
        self.credentials_checksum = digest(key.secret, salt=key.id)
