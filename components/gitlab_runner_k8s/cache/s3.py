"""`S3Cache`: a distributed cache on AWS, in a private bucket, and the identity to use it."""

from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from ..arguments import S3CacheArgs
from ..meta import type_token
from ..outputs import concat, digest, lift
from ..validation.messages import validate
from ..validation.rules.clouds import partition
from ..validation.rules.kubernetes import name_problems
from .settings import S3CacheSettings

ABORT_MULTIPART_DAYS = 1
TRANSFER_ACTIONS = ("s3:GetObject", "s3:PutObject")
# A session of EKS Pod Identity passes its tags on to every role that it assumes.
ASSUME_ACTIONS = ["sts:AssumeRole", "sts:TagSession"]
OBJECT_ACTIONS = (*TRANSFER_ACTIONS, "s3:DeleteObject")


def _document(statements: pulumi.Input[list[dict[str, Any]]]) -> pulumi.Output[str]:
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements})


class S3Cache(pulumi.ComponentResource):
    """A private, encrypted S3 bucket for the distributed cache, and the permission to use it.

    Raises:
        ArgsError: the arguments are not valid. The message lists every problem.
    """

    bucket: pulumi.Output[str]
    """Name of the bucket."""
    region: pulumi.Output[str]
    """Region of the bucket."""
    role_arn: pulumi.Output[str] | None
    """Role of the runner. Set for the identities `irsa` and `pod-identity`, and for `existing` with
    `existing_role_arn`."""
    object_role_arn: pulumi.Output[str] | None
    """Role that the runner assumes for each object, `RoleARN` in its config.toml. Set only with
    `enable_large_objects`."""
    credentials_secret_name: pulumi.Output[str] | None
    """Secret in the runner's namespace with `accesskey` and `secretkey`. Set only for the identity
    `access-key`."""
    credentials_checksum: pulumi.Output[str] | None
    """Salted digest of the access key. Set only for the identity `access-key`."""

    def __init__(
        self, name: str, args: S3CacheArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        # IAM names have up to 64 characters: `-object-role` and Pulumi's suffix of 8 take 20.
        names = name_problems(44, name)
        settings = validate(S3CacheSettings, args, f"S3Cache '{name}'", also=names)
        super().__init__(type_token("S3Cache"), name, {}, opts)
        self._settings = settings
        self._bucket: aws.s3.Bucket | None = None
        if settings.existing_bucket_name is not None:
            self.bucket = pulumi.Output.from_input(settings.existing_bucket_name)
            arn = lift(
                lambda values: f"arn:{partition(values[0])}:s3:::{values[1]}",
                [settings.region, settings.existing_bucket_name],
            )
            self._bucket_arn = pulumi.Output.from_input(arn)
        else:
            self._bucket = self._make_bucket(name)
            self.bucket, self._bucket_arn = self._bucket.bucket, self._bucket.arn
            self._harden(name)
        self.region = pulumi.Output.from_input(settings.region)
        self.role_arn = None
        self.object_role_arn = None
        self.credentials_secret_name = None
        self.credentials_checksum = None
        if settings.identity == "access-key":
            self._access_key(name)
        elif settings.identity == "existing":
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
        """The bucket, if the component created it (Python only)."""
        return self._bucket

    def _protected(self) -> pulumi.ResourceOptions:
        """Return the options of resources that `pulumi destroy` must not delete.

        With `allow_destroy`, the options of the component itself decide.
        """
        protect = None if self._settings.allow_destroy else True
        return pulumi.ResourceOptions(parent=self, protect=protect)

    def _make_bucket(self, name: str) -> aws.s3.Bucket:
        settings = self._settings
        return aws.s3.Bucket(
            f"{name}-bucket",
            bucket=settings.bucket_name,
            region=settings.region,
            force_destroy=settings.allow_destroy,
            tags=settings.tags,
            opts=self._protected(),
        )

    def _harden(self, name: str) -> None:
        settings, child = self._settings, pulumi.ResourceOptions(parent=self)
        # If `pulumi destroy` stops at the protected bucket, the bucket must keep these resources.
        protected = self._protected()
        bucket, region = self.bucket, settings.region
        block = aws.s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket,
            region=region,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=protected,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket,
            region=region,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=protected,
        )
        key = settings.kms_key_arn
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
                    # A bucket key needs only one call to KMS for many objects.
                    "bucket_key_enabled": key is not None,
                }
            ],
            opts=protected,
        )
        versioning = []
        if settings.enable_versioning:
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
                    "expiration": {"days": settings.expiration_days},
                    # Also without versioning: a bucket that once had it keeps old versions.
                    "noncurrent_version_expiration": {"noncurrent_days": settings.expiration_days},
                    "abort_incomplete_multipart_upload": {
                        "days_after_initiation": ABORT_MULTIPART_DAYS
                    },
                }
            ],
            opts=pulumi.ResourceOptions.merge(
                protected, pulumi.ResourceOptions(depends_on=versioning)
            ),
        )
        if settings.access_log_bucket is not None:
            aws.s3.BucketLogging(
                f"{name}-logging",
                bucket=bucket,
                region=region,
                target_bucket=settings.access_log_bucket,
                target_prefix=(
                    pulumi.Output.concat(bucket, "/")
                    if settings.access_log_prefix is None
                    else settings.access_log_prefix
                ),
                opts=child,
            )
        # S3 treats the block and the policy as one setting: in parallel, one of them fails.
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
            opts=pulumi.ResourceOptions.merge(
                protected, pulumi.ResourceOptions(depends_on=[block])
            ),
        )

    def _permissions(
        self, *more: dict[str, Any], actions: tuple[str, ...] = OBJECT_ACTIONS
    ) -> pulumi.Output[str]:
        settings = self._settings
        prefix = "" if settings.prefix is None else settings.prefix
        listing: dict[str, Any] = {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": self._bucket_arn,
        }
        if settings.prefix is not None:
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
        if settings.kms_key_arn is not None:
            statements.append(
                {
                    "Effect": "Allow",
                    "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                    "Resource": settings.kms_key_arn,
                }
            )
        return _document(statements)

    def _role(self, name: str) -> None:
        settings, child = self._settings, pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=self._trust(),
            permissions_boundary=settings.permissions_boundary_arn,
            tags=settings.tags,
            opts=child,
        )
        more = []
        if settings.enable_large_objects:
            self.object_role_arn = self._object_role(name, role)
            more.append(
                {"Effect": "Allow", "Action": ASSUME_ACTIONS, "Resource": self.object_role_arn}
            )
        aws.iam.RolePolicy(
            f"{name}-permissions", role=role.name, policy=self._permissions(*more), opts=child
        )
        if settings.identity == "pod-identity":
            assert settings.eks_cluster_name is not None  # the settings require it
            for n, account in enumerate(settings.service_account_names):
                aws.eks.PodIdentityAssociation(
                    f"{name}-association{f'-{n}' if n else ''}",
                    cluster_name=settings.eks_cluster_name,
                    namespace=settings.runner_namespace,
                    service_account=account,
                    role_arn=role.arn,
                    tags=settings.tags,
                    opts=child,
                )
        self.role_arn = role.arn

    def _object_role(self, name: str, role: aws.iam.Role) -> pulumi.Output[str]:
        """Declare the role that the runner assumes, narrowed to one object, for each transfer.

        It is a second role, because a role may assume itself only if its trust policy names it, and
        a trust policy cannot name a role that does not exist yet.
        """
        child = pulumi.ResourceOptions(parent=self)
        objects = aws.iam.Role(
            f"{name}-object-role",
            assume_role_policy=_document(
                [{"Effect": "Allow", "Principal": {"AWS": role.arn}, "Action": ASSUME_ACTIONS}]
            ),
            permissions_boundary=self._settings.permissions_boundary_arn,
            tags=self._settings.tags,
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
        if self._settings.existing_role_arn is None:
            return
        self.role_arn = pulumi.Output.from_input(self._settings.existing_role_arn)
        if self._settings.enable_large_objects:
            self.object_role_arn = self.role_arn

    def _trust(self) -> pulumi.Output[str]:
        settings = self._settings
        if settings.identity == "pod-identity":
            return _document(
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "pods.eks.amazonaws.com"},
                        "Action": ASSUME_ACTIONS,
                    }
                ]
            )

        def irsa(values: list[str]) -> list[dict[str, Any]]:
            provider, namespace, *accounts = values
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

        assert settings.oidc_provider_arn is not None  # the settings require it
        return _document(
            pulumi.Output.all(
                settings.oidc_provider_arn,
                settings.runner_namespace,
                *settings.service_account_names,
            ).apply(irsa)
        )

    def _access_key(self, name: str) -> None:
        settings, child = self._settings, pulumi.ResourceOptions(parent=self)
        user = aws.iam.User(
            f"{name}-user",
            permissions_boundary=settings.permissions_boundary_arn,
            tags=settings.tags,
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
            metadata={"name": f"{name}-credentials", "namespace": settings.runner_namespace},
            string_data={"accesskey": key.id, "secretkey": key.secret},
            opts=child,
        )
        self.credentials_secret_name = secret.metadata["name"]
        # The key's ID is random, and the digest does not contain it, so it can be the salt.
        self.credentials_checksum = digest(key.secret, salt=key.id)
