"""A distributed cache on AWS: a private bucket for `cache:` of jobs, and the identity to use it."""

from enum import Enum
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from ._inputs import concat, digest, lift
from ._meta import token
from ._specs import S3CacheSpec
from ._validation import name_problems, partition, validate

ABORT_MULTIPART_DAYS = 1
TRANSFER_ACTIONS = ("s3:GetObject", "s3:PutObject")
# A session of EKS Pod Identity carries tags on to every role that it assumes.
ASSUME_ACTIONS = ["sts:AssumeRole", "sts:TagSession"]
OBJECT_ACTIONS = (*TRANSFER_ACTIONS, "s3:DeleteObject")


class S3Identity(str, Enum):
    """How the runner proves to AWS that it may use the bucket."""

    IRSA = "irsa"
    """A role for the runner's ServiceAccount, by the cluster's OIDC provider."""
    POD_IDENTITY = "pod-identity"
    """A role for the runner's ServiceAccount, by the EKS Pod Identity agent."""
    ACCESS_KEY = "access-key"
    """A user with an access key, in a Secret: for clusters outside of AWS."""
    EXISTING = "existing"
    """An identity that the runner has already; no role and no user is made."""


class S3OptionsArgs(TypedDict):
    """What can be chosen about the bucket."""

    region: pulumi.Input[str]
    """Region of the bucket. It may differ from that of the AWS provider. Another region is another
    bucket: refused, unless `allow_destroy` is set."""
    bucket_name: NotRequired[pulumi.Input[str]]
    """Name of the bucket. Another name is another bucket: refused, unless `allow_destroy` is set.
    Default: the component's name and random letters."""
    existing_bucket_name: NotRequired[pulumi.Input[str]]
    """Bucket that is there already: it is used as it is, and only the identity is made. Default:
    a bucket is made. A bucket encrypted with a KMS key needs the identity `existing`."""
    prefix: NotRequired[pulumi.Input[str]]
    """Folder in the bucket, such as `ci/`, outside of which the runner can do nothing; its
    cache's path must lie in it. S3 then answers 403 in place of 404 where an object is missing.
    Default: the whole bucket."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key that encrypts the objects. Default: SSE-S3, with keys of S3's own."""
    expiration_days: NotRequired[int]
    """Days after which an object that was not written again is deleted, and as many more until
    an old version is. Default: 14."""
    enable_versioning: NotRequired[bool]
    """Keep the old versions of objects, until they expire too. Default: not kept."""
    access_log_bucket: NotRequired[pulumi.Input[str]]
    """Bucket for the logs of all access, in the same account and region; its own policy must let
    `logging.s3.amazonaws.com` write to it. Default: no logs."""
    access_log_prefix: NotRequired[pulumi.Input[str]]
    """Folder of the logs, such as `cache/`. Default: the bucket's name."""
    identity: NotRequired[S3Identity]
    """How the runner proves that it may use the bucket. Default: irsa."""
    oidc_provider_arn: NotRequired[pulumi.Input[str]]
    """ARN of the cluster's OIDC provider; required for irsa."""
    eks_cluster_name: NotRequired[pulumi.Input[str]]
    """Name of the EKS cluster; required for pod-identity."""
    existing_role_arn: NotRequired[pulumi.Input[str]]
    """Role of the identity `existing`. For large objects it must let the runner assume it.
    Default: none is known."""
    permissions_boundary_arn: NotRequired[pulumi.Input[str]]
    """Policy that bounds the role or user that is made. Default: none."""
    enable_large_objects: NotRequired[bool]
    """Let the runner assume a second role for each object, for objects over 5 GB.
    Default: presigned URLs, up to 5 GB an object."""
    allow_destroy: NotRequired[bool]
    """Let an update or `pulumi destroy` delete the bucket with all that is in it. Set it in an
    update of its own before the one that removes the bucket.
    Default: the bucket and what keeps it private are protected."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of everything that can have them. Default: the provider's."""


class S3CacheArgs(S3OptionsArgs):
    """Arguments of `S3Cache`."""

    runner_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of the runner. Default: gitlab-runner."""
    service_account_names: NotRequired[list[pulumi.Input[str]]]
    """ServiceAccounts of the runners. Default: gitlab-runner alone."""


def _document(statements: pulumi.Input[list[dict[str, Any]]]) -> pulumi.Output[str]:
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements})


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
    """Role of the runner, for irsa and pod-identity, and for existing where it is known."""
    object_role_arn: pulumi.Output[str] | None
    """Role that the runner assumes for each object, `RoleARN` in its config.toml, for large
    objects."""
    credentials_secret_name: pulumi.Output[str] | None
    """Secret in the runner's namespace with `accesskey` and `secretkey`, for access-key."""
    credentials_checksum: pulumi.Output[str] | None
    """Salted digest of the access key, for access-key."""

    def __init__(
        self, name: str, args: S3CacheArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        # IAM's names have 64 characters: of these `-object-role` and Pulumi's 8 are not the user's.
        names = name_problems(44, name)
        spec = validate(S3CacheSpec, args, f"S3Cache '{name}'", also=names)
        super().__init__(token("S3Cache"), name, {}, opts)
        self._spec = spec
        self._bucket: aws.s3.Bucket | None = None
        if spec.existing_bucket_name is not None:
            self.bucket = pulumi.Output.from_input(spec.existing_bucket_name)
            arn = lift(
                lambda known: f"arn:{partition(known[0])}:s3:::{known[1]}",
                [spec.region, spec.existing_bucket_name],
            )
            self._bucket_arn = pulumi.Output.from_input(arn)
        else:
            self._bucket = self._make_bucket(name)
            self.bucket, self._bucket_arn = self._bucket.bucket, self._bucket.arn
            self._harden(name)
        self.region = pulumi.Output.from_input(spec.region)
        self.role_arn = None
        self.object_role_arn = None
        self.credentials_secret_name = None
        self.credentials_checksum = None
        if spec.identity == "access-key":
            self._access_key(name)
        elif spec.identity == "existing":
            self._existing_role()
        else:
            self._role(name)
        outputs = {
            "bucket": self.bucket,
            "region": self.region,
            "role_arn": self.role_arn,
            "object_role_arn": self.object_role_arn,
            "credentials_secret_name": self.credentials_secret_name,
            "credentials_checksum": self.credentials_checksum,
        }
        self.register_outputs({key: value for key, value in outputs.items() if value is not None})

    @property
    def bucket_resource(self) -> aws.s3.Bucket | None:
        """The bucket itself, where it was made here (native only)."""
        return self._bucket

    def _kept(self) -> pulumi.ResourceOptions:
        """Return the options of what a destroy must not take: then, protection is the caller's."""
        protect = None if self._spec.allow_destroy else True
        return pulumi.ResourceOptions(parent=self, protect=protect)

    def _make_bucket(self, name: str) -> aws.s3.Bucket:
        spec = self._spec
        return aws.s3.Bucket(
            f"{name}-bucket",
            bucket=spec.bucket_name,
            region=spec.region,
            force_destroy=spec.allow_destroy,
            tags=spec.tags,
            opts=self._kept(),
        )

    def _harden(self, name: str) -> None:
        spec, child = self._spec, pulumi.ResourceOptions(parent=self)
        # A destroy that stops at the protected bucket must not leave it without these.
        kept = self._kept()
        bucket, region = self.bucket, spec.region
        block = aws.s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket,
            region=region,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=kept,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket,
            region=region,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=kept,
        )
        key = spec.kms_key_arn
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket,
            region=region,
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
            opts=kept,
        )
        versioning = []
        if spec.enable_versioning:
            versioning.append(
                aws.s3.BucketVersioning(
                    f"{name}-versioning",
                    bucket=bucket,
                    region=region,
                    versioning_configuration={"status": "Enabled"},
                    opts=child,
                )
            )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket,
            region=region,
            rules=[
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": spec.expiration_days},
                    # Also where versioning is off now: a bucket that once had it keeps versions.
                    "noncurrent_version_expiration": {"noncurrent_days": spec.expiration_days},
                    "abort_incomplete_multipart_upload": {
                        "days_after_initiation": ABORT_MULTIPART_DAYS
                    },
                }
            ],
            opts=pulumi.ResourceOptions.merge(kept, pulumi.ResourceOptions(depends_on=versioning)),
        )
        if spec.access_log_bucket is not None:
            aws.s3.BucketLogging(
                f"{name}-logging",
                bucket=bucket,
                region=region,
                target_bucket=spec.access_log_bucket,
                target_prefix=(
                    pulumi.Output.concat(bucket, "/")
                    if spec.access_log_prefix is None
                    else spec.access_log_prefix
                ),
                opts=child,
            )
        # The block and the policy are one setting to S3: in parallel, one of them fails.
        aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket,
            region=region,
            policy=_document(
                [
                    {
                        "Sid": "DenyPlainHttp",
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "s3:*",
                        "Resource": [
                            self._bucket_arn,
                            pulumi.Output.concat(self._bucket_arn, "/*"),
                        ],
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    }
                ]
            ),
            opts=pulumi.ResourceOptions.merge(kept, pulumi.ResourceOptions(depends_on=[block])),
        )

    def _permissions(
        self, *more: dict[str, Any], actions: tuple[str, ...] = OBJECT_ACTIONS
    ) -> pulumi.Output[str]:
        spec = self._spec
        prefix = "" if spec.prefix is None else spec.prefix
        listing: dict[str, Any] = {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": self._bucket_arn,
        }
        if spec.prefix is not None:
            listing["Condition"] = {"StringLike": {"s3:prefix": concat(prefix, "*")}}
        statements: list[dict[str, Any]] = [
            {
                "Effect": "Allow",
                "Action": list(actions),
                "Resource": pulumi.Output.concat(self._bucket_arn, "/", prefix, "*"),
            },
            listing,
            {"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": self._bucket_arn},
            *more,
        ]
        if spec.kms_key_arn is not None:
            statements.append(
                {
                    "Effect": "Allow",
                    "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                    "Resource": spec.kms_key_arn,
                }
            )
        return _document(statements)

    def _role(self, name: str) -> None:
        spec, child = self._spec, pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=self._trust(),
            permissions_boundary=spec.permissions_boundary_arn,
            tags=spec.tags,
            opts=child,
        )
        more = []
        if spec.enable_large_objects:
            self.object_role_arn = self._object_role(name, role)
            more.append(
                {"Effect": "Allow", "Action": ASSUME_ACTIONS, "Resource": self.object_role_arn}
            )
        aws.iam.RolePolicy(
            f"{name}-permissions", role=role.name, policy=self._permissions(*more), opts=child
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

    def _object_role(self, name: str, role: aws.iam.Role) -> pulumi.Output[str]:
        """Declare the role that the runner assumes, narrowed to one object, for each transfer.

        A role of its own: no role may assume itself unless its trust names it, and a trust
        cannot name a role that is not there yet.
        """
        child = pulumi.ResourceOptions(parent=self)
        objects = aws.iam.Role(
            f"{name}-object-role",
            assume_role_policy=_document(
                [{"Effect": "Allow", "Principal": {"AWS": role.arn}, "Action": ASSUME_ACTIONS}]
            ),
            permissions_boundary=self._spec.permissions_boundary_arn,
            tags=self._spec.tags,
            opts=child,
        )
        aws.iam.RolePolicy(
            f"{name}-object-permissions",
            role=objects.name,
            policy=self._permissions(actions=TRANSFER_ACTIONS),
            opts=child,
        )
        return objects.arn

    def _existing_role(self) -> None:
        if self._spec.existing_role_arn is None:
            return
        self.role_arn = pulumi.Output.from_input(self._spec.existing_role_arn)
        if self._spec.enable_large_objects:
            self.object_role_arn = self.role_arn

    def _trust(self) -> pulumi.Output[str]:
        spec = self._spec
        if spec.identity == "pod-identity":
            return _document(
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "pods.eks.amazonaws.com"},
                        "Action": ASSUME_ACTIONS,
                    }
                ]
            )

        def irsa(known: list[str]) -> list[dict[str, Any]]:
            provider, namespace, *accounts = known
            issuer = provider.partition(":oidc-provider/")[2]
            return [
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
            ]

        assert spec.oidc_provider_arn is not None  # the spec holds that it is set
        return _document(
            pulumi.Output.all(
                spec.oidc_provider_arn, spec.runner_namespace, *spec.service_account_names
            ).apply(irsa)
        )

    def _access_key(self, name: str) -> None:
        spec, child = self._spec, pulumi.ResourceOptions(parent=self)
        user = aws.iam.User(
            f"{name}-user",
            permissions_boundary=spec.permissions_boundary_arn,
            tags=spec.tags,
            opts=child,
        )
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
