"""`S3Cache` by the real engine, on a test server for AWS (moto)."""

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import boto3
import pulumi
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from gitlab_runner_k8s import S3Cache, S3CacheArgs
from pulumi import automation as auto

from lab import certificates, engine
from lab.paths import BIN
from lab.providers import aws
from lab.providers.__main__ import serve
from lab.providers.base import Call, Change, Failure, Properties, Provider, Resource, changed_paths
from tests.engine.conftest import changes
from tests.policies import decide
from tests.required import missing, needs_engine

pytestmark = pytest.mark.engine

PROJECT = "s3-cache-test"
REGION = "eu-central-1"
BUCKET = "ci-cache-objects"
LOGS = "ci-cache-logs"
ISSUER = "oidc.example.com/id/1"
KEY: Any = {"region": REGION, "identity": "access-key", "bucket_name": BUCKET}
IRSA: Any = {
    "region": REGION,
    "bucket_name": BUCKET,
    "oidc_provider_arn": f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}",
}


class KeptSecret(Resource):
    """Stand-in for a Secret of Kubernetes: it is kept in the state alone."""

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Update it."""
        return Change(updates=changed_paths(inputs, news))

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Keep it."""
        return inputs["metadata"]["name"], inputs


@pytest.fixture(scope="module")
def environment(server: str) -> Iterator[dict[str, str]]:
    """Serve the providers, with the Kubernetes one replaced: no cluster is needed here."""
    needs_engine()
    kept = Provider("kubernetes", {"kubernetes:core/v1:Secret": KeptSecret()})
    grpc_server, port = serve(kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(aws.ENDPOINT, server)
        yield {**engine.environment(), "PULUMI_DEBUG_PROVIDERS": f"kubernetes:{port}"}
    grpc_server.stop(grace=2)


Deploy = Callable[[Any], Any]


@pytest.fixture
def deploy(environment: dict[str, str], server: str, tmp_path: Path) -> Iterator[Deploy]:
    """Return a function that gives an S3Cache to the stack; at the end all is forgotten."""
    (tmp_path / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
    request(f"{server}/moto-api/reset", b"")
    stacks: list[auto.Stack] = []

    def select(args: Any) -> auto.Stack:
        def program() -> None:
            cache = S3Cache("ci-cache", cast(S3CacheArgs, args))
            for name in ("bucket", "role_arn", "object_role_arn", "credentials_checksum"):
                if getattr(cache, name) is not None:
                    pulumi.export(name, getattr(cache, name))

        stack = engine.select_stack("s3", program, tmp_path, PROJECT, environment)
        stacks.append(stack)
        return stack

    yield select
    if stacks:
        stacks[-1].workspace.remove_stack("s3", force=True)


def request(
    url: str,
    data: bytes | None = None,
    method: str | None = None,
    context: ssl.SSLContext | None = None,
) -> bytes:
    headers = {"Content-Type": "application/octet-stream"}
    sent = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(sent, timeout=30, context=context) as response:
        content: bytes = response.read()
    return content


@pytest.fixture
def admin(server: str) -> Callable[[str], Any]:
    """Return clients with all rights."""
    return lambda service: client(server, service, ("admin", "admin"))


def client(server: str, service: str, key: tuple[str, str], authority: Path | None = None) -> Any:
    return boto3.client(
        service,
        endpoint_url=server,
        verify=str(authority) if authority else None,
        region_name=REGION,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


@contextmanager
def enforced(server: str) -> Iterator[None]:
    """Let moto check every signature in a header, and every right: by default it checks none."""
    request(f"{server}/moto-api/reset-auth", b"0")
    try:
        yield
    finally:
        request(f"{server}/moto-api/reset-auth", b"inf")


def denied(call: Callable[[], object]) -> bool:
    try:
        call()
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)
    return False


def policy(s3: Any, bucket: str = BUCKET) -> Any:
    return json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])


@contextmanager
def without_policy(s3: Any) -> Iterator[None]:
    """Take the bucket's policy away.

    moto ignores the condition `aws:SecureTransport`, and so denies every request for an object,
    over TLS too.
    """
    kept = s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
    s3.delete_bucket_policy(Bucket=BUCKET)
    try:
        yield
    finally:
        s3.put_bucket_policy(Bucket=BUCKET, Policy=kept)


def put(s3: Any, key: str, body: bytes) -> None:
    with without_policy(s3):
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def get(s3: Any, key: str) -> bytes:
    with without_policy(s3):
        body: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return body


def log_bucket(s3: Any) -> None:
    """Make a bucket for logs, as its owner would."""
    s3.create_bucket(Bucket=LOGS, CreateBucketConfiguration={"LocationConstraint": REGION})
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{LOGS}/*",
    }
    s3.put_bucket_policy(
        Bucket=LOGS, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )


def access_key(stack: auto.Stack) -> tuple[str, str]:
    """Return the key that the stack made, as the runner reads it in its Secret."""
    resources = json.loads(
        stack.workspace.pulumi_command.run(
            ["stack", "export", "--show-secrets", "--stack", "s3"],
            stack.workspace.work_dir,
            stack.workspace.env_vars,
        ).stdout
    )["deployment"]["resources"]
    (secret,) = [made for made in resources if made["type"] == "kubernetes:core/v1:Secret"]
    data = json.loads(secret["inputs"]["stringData"]["plaintext"])
    return data["accesskey"], data["secretkey"]


def test_the_bucket_is_as_declared_and_stays_so(deploy: Deploy, admin: Any) -> None:
    s3 = admin("s3")
    log_bucket(s3)
    args = {
        **KEY,
        "enable_versioning": True,
        "access_log_bucket": LOGS,
        "kms_key_arn": f"arn:aws:kms:{REGION}:123456789012:key/1",
        "tags": {"team": "ci"},
    }
    first = deploy(args).up()
    assert set(changes(first)) == {"create"}
    assert first.outputs["bucket"].value == BUCKET

    block = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert block == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
    (owner,) = s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"]["Rules"]
    assert owner == {"ObjectOwnership": "BucketOwnerEnforced"}
    encryption = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]
    assert encryption["Rules"] == [
        {
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": "aws:kms",
                "KMSMasterKeyID": args["kms_key_arn"],
            },
            "BucketKeyEnabled": True,
        }
    ]
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["Expiration"] == {"Days": 14}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 14}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    logging = s3.get_bucket_logging(Bucket=BUCKET)["LoggingEnabled"]
    assert (logging["TargetBucket"], logging["TargetPrefix"]) == (LOGS, f"{BUCKET}/")
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == [{"Key": "team", "Value": "ci"}]
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == REGION

    count = changes(first)["create"]
    assert changes(deploy(args).up()) == {"same": count}
    assert changes(deploy(args).refresh()) == {"same": count}
    changed = deploy({**args, "expiration_days": 30}).up()
    assert changes(changed) == {"update": 1, "same": count - 1}
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert rule["Expiration"] == {"Days": 30}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}


def test_a_setting_changed_by_hand_is_seen_and_undone(deploy: Deploy, admin: Any) -> None:
    s3 = admin("s3")
    deploy(KEY).up()
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "expire",
                    "Status": "Disabled",
                    "Filter": {"Prefix": ""},
                    "Expiration": {"Days": 1},
                }
            ]
        },
    )
    drift = changes(deploy(KEY).refresh())
    assert (drift["delete"], drift["update"]) == (1, 1)
    repaired = changes(deploy(KEY).up())
    assert (repaired["create"], repaired["update"]) == (1, 1)
    assert s3.get_public_access_block(Bucket=BUCKET)
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert rule["Status"] == "Enabled"


def test_a_protected_bucket_is_neither_replaced_nor_destroyed(deploy: Deploy, admin: Any) -> None:
    s3 = admin("s3")
    count = changes(deploy(KEY).up())["create"]
    put(s3, "ci/project/1/cache", b"warm")
    others: list[Any] = [
        {**KEY, "bucket_name": "another-name"},
        {**KEY, "region": "eu-west-1"},
        {"region": REGION, "identity": "access-key", "existing_bucket_name": BUCKET},
    ]
    for args in others:
        with pytest.raises(auto.errors.CommandError, match="protect"):
            deploy(args).preview()
    with pytest.raises(auto.errors.CommandError, match="protect"):
        deploy(KEY).destroy(preview_only=True)
    assert changes(deploy(KEY).refresh()) == {"same": count}
    # Without the preview the engine deletes what it may before it stops: nothing of the bucket.
    with pytest.raises(auto.errors.CommandError, match="protect"):
        deploy(KEY).destroy()
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [BUCKET]
    assert get(s3, "ci/project/1/cache") == b"warm"
    assert s3.get_public_access_block(Bucket=BUCKET)
    assert s3.get_bucket_ownership_controls(Bucket=BUCKET)
    assert s3.get_bucket_encryption(Bucket=BUCKET)
    assert s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)
    assert policy(s3)
    # The identity is made again.
    assert set(changes(deploy(KEY).up())) == {"create", "same"}
    assert changes(deploy(KEY).up()) == {"same": count}


def test_a_bucket_with_all_versions_is_destroyed_when_allowed(deploy: Deploy, admin: Any) -> None:
    s3, args = admin("s3"), {**KEY, "enable_versioning": True}
    deploy(args).up()
    for content in (b"one", b"two"):
        put(s3, "cache", content)
    with without_policy(s3):
        s3.delete_object(Bucket=BUCKET, Key="cache")
    stack = deploy({**args, "allow_destroy": True})
    assert changes(stack.up())["update"] == 1
    stack.destroy()
    assert s3.list_buckets()["Buckets"] == []
    assert admin("iam").list_users()["Users"] == []


def test_a_bucket_that_is_not_empty_is_kept_without_force(deploy: Deploy, admin: Any) -> None:
    # Protection taken off by hand, `pulumi state unprotect`: S3 itself still refuses.
    s3, stack = admin("s3"), deploy(KEY)
    stack.up()
    put(s3, "cache", b"warm")
    stack.workspace.pulumi_command.run(
        ["state", "unprotect", "--all", "--yes", "--stack", "s3"],
        stack.workspace.work_dir,
        stack.workspace.env_vars,
    )
    with pytest.raises(auto.errors.CommandError, match="BucketNotEmpty"):
        stack.destroy()
    assert s3.get_object(Bucket=BUCKET, Key="cache")["Body"].read() == b"warm"


def test_the_runners_key_can_do_what_the_cache_needs_and_no_more(
    deploy: Deploy, admin: Any, server: str
) -> None:
    stack = deploy({**KEY, "prefix": "ci/"})
    stack.up()
    admin("s3").create_bucket(
        Bucket="of-others", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    put(admin("s3"), "other/project/1/cache", b"not for ci")
    key = access_key(stack)
    s3, cached = client(server, "s3", key), {"Bucket": BUCKET, "Key": "ci/project/1/cache"}
    with without_policy(admin("s3")), enforced(server):
        s3.put_object(**cached, Body=b"warm")
        assert s3.get_object(**cached)["Body"].read() == b"warm"
        assert s3.head_object(**cached)["ContentLength"] == 4
        assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == REGION

        outside = {"Bucket": BUCKET, "Key": "other/project/1/cache"}
        assert denied(lambda: s3.get_object(**outside))
        assert denied(lambda: s3.put_object(**outside, Body=b"poison"))
        assert denied(lambda: s3.delete_object(**outside))
        assert denied(lambda: s3.put_object(Bucket="of-others", Key="ci/cache", Body=b"poison"))
        assert denied(lambda: s3.list_objects_v2(Bucket="of-others"))
        assert denied(s3.list_buckets)
        assert denied(lambda: s3.delete_bucket(Bucket=BUCKET))
        assert denied(lambda: s3.delete_bucket_policy(Bucket=BUCKET))
        assert denied(lambda: s3.delete_public_access_block(Bucket=BUCKET))
        assert denied(lambda: s3.put_object_acl(**cached, ACL="public-read"))
        assert denied(lambda: client(server, "iam", key).list_users())
        assert denied(lambda: client(server, "s3", (key[0], "wrong")).get_object(**cached))

        s3.delete_object(**cached)
    assert "Contents" not in admin("s3").list_objects_v2(Bucket=BUCKET, Prefix="ci/")


def test_presigned_urls_carry_the_cache(deploy: Deploy, admin: Any, server: str) -> None:
    # moto does not check the signature of a presigned URL: the tests on MinIO do.
    stack = deploy(KEY)
    stack.up()
    s3, cached = client(server, "s3", access_key(stack)), {"Bucket": BUCKET, "Key": "ci/1/cache"}
    with without_policy(admin("s3")):
        request(s3.generate_presigned_url("put_object", cached), b"warm", "PUT")
        assert request(s3.generate_presigned_url("get_object", cached)) == b"warm"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def tls_context(authority: Path | None) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=authority) if authority else None


class Store:
    """A MinIO with the stack's user and policies: it evaluates them, and checks signatures."""

    def __init__(self, folder: Path, tls: bool) -> None:
        self.folder, self.port = folder, free_port()
        self.authority: Path | None = None
        folder.mkdir()
        if tls:
            ca = certificates.authority(folder)
            pair = certificates.issue(ca, folder / "certs/store", "store", hosts=("127.0.0.1",))
            for file, name in zip(pair, ("public.crt", "private.key"), strict=True):
                file.rename(file.with_name(name))
            self.authority = ca.path
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.context = tls_context(self.authority)
        self.environment = {
            **os.environ,
            "MINIO_ROOT_USER": "admin",
            "MINIO_ROOT_PASSWORD": "admin-password",
            "MINIO_BROWSER": "off",
            "MINIO_CI_CD": "on",
            "MC_HOST_store": f"{scheme}://admin:admin-password@127.0.0.1:{self.port}",
        }
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [
                    str(BIN / "minio"),
                    "server",
                    *("--certs-dir", str(folder / "certs")),
                    *("--address", f"127.0.0.1:{self.port}", str(folder / "data")),
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                request(f"{self.url}/minio/health/ready", context=self.context)
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.2)
            else:
                return

    def mc(self, *arguments: str) -> None:
        command = [str(BIN / "mc"), "--config-dir", str(self.folder / "mc"), "--insecure"]
        subprocess.run(
            [*command, *arguments],
            env=self.environment,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def client(self, key: tuple[str, str]) -> Any:
        return client(self.url, "s3", key, self.authority)

    def admit(self, key: tuple[str, str], documents: list[Any]) -> None:
        """Make the user with its key and what the documents say of it."""
        path = self.folder / "policy.json"
        path.write_text(
            json.dumps(
                {
                    "Version": "2012-10-17",
                    # What MinIO evaluates for a user are the policies of the user alone.
                    "Statement": [
                        {name: value for name, value in statement.items() if name != "Principal"}
                        for document in documents
                        for statement in document["Statement"]
                    ],
                }
            )
        )
        self.mc("mb", f"store/{BUCKET}")
        self.mc("admin", "user", "add", "store", *key)
        self.mc("admin", "policy", "create", "store", "ci", str(path))
        self.mc("admin", "policy", "attach", "store", "ci", "--user", key[0])


@pytest.fixture(params=["https", "http"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if not (BIN / "minio").exists():
        missing("MinIO is not built (make up)")
    made = Store(tmp_path / "minio", tls=request.param == "https")
    try:
        made.wait()
        yield made
    finally:
        made.stop()


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except urllib.error.HTTPError as error:
        return error.code == 403
    return False


def test_a_store_that_enforces_them_lets_the_cache_pass_over_tls_alone(
    deploy: Deploy, admin: Any, store: Store
) -> None:
    stack = deploy({**KEY, "prefix": "ci/"})
    stack.up()
    iam, key = admin("iam"), access_key(stack)
    (user,) = [found["UserName"] for found in iam.list_users()["Users"]]
    (name,) = iam.list_user_policies(UserName=user)["PolicyNames"]
    rights = iam.get_user_policy(UserName=user, PolicyName=name)["PolicyDocument"]
    store.admit(key, [rights, policy(admin("s3"))])
    s3, cached = store.client(key), {"Bucket": BUCKET, "Key": "ci/project/1/cache"}

    def presigned(action: str, **change: str) -> str:
        url: str = s3.generate_presigned_url(action, {**cached, **change})
        return url

    def put(url: str) -> bytes:
        return request(url, b"warm", "PUT", store.context)

    if store.context is None:
        assert refused(lambda: put(presigned("put_object")))
        assert denied(lambda: s3.put_object(**cached, Body=b"warm"))
        assert denied(lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="ci/"))
        return

    put(presigned("put_object"))
    assert request(presigned("get_object"), context=store.context) == b"warm"
    assert refused(lambda: put(presigned("put_object", Key="other/project/1/cache")))
    # A job that has the URL of one object has no other.
    other = presigned("put_object").replace("/ci/project/1/", "/ci/project/2/")
    assert refused(lambda: put(other))
    assert refused(lambda: put(presigned("get_object")))

    assert s3.get_object(**cached)["Body"].read() == b"warm"
    (listed,) = s3.list_objects_v2(Bucket=BUCKET, Prefix="ci/")["Contents"]
    assert listed["Key"] == cached["Key"]
    assert denied(lambda: s3.list_objects_v2(Bucket=BUCKET))
    assert denied(lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="other/"))
    assert denied(lambda: s3.put_object(Bucket=BUCKET, Key="other", Body=b"poison"))
    assert denied(lambda: s3.delete_bucket_policy(Bucket=BUCKET))
    assert denied(lambda: s3.create_bucket(Bucket="another-one"))


def test_plain_http_is_denied_by_the_buckets_policy(deploy: Deploy, admin: Any) -> None:
    # By evaluation of the document: moto does not know the condition.
    deploy(KEY).up()
    document = policy(admin("s3"))
    runner = "arn:aws:iam::123456789012:user/ci"
    for resource in (f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/ci/1/cache"):
        for action in ("s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:PutBucketPolicy"):
            plain, tls = ({"aws:SecureTransport": text} for text in ("false", "true"))
            assert decide(document, action, resource, principal=runner, context=plain) == "Deny"
            # It gives no right to anybody, either.
            assert decide(document, action, resource, principal=runner, context=tls) is None


def test_the_secret_key_is_no_plain_text_in_the_state(deploy: Deploy) -> None:
    stack = deploy(KEY)
    outputs = stack.up().outputs
    secret = access_key(stack)[1]
    assert secret
    assert secret not in engine.state_text("s3", PROJECT)
    assert not outputs["credentials_checksum"].secret
    assert secret not in outputs["credentials_checksum"].value


def inline(iam: Any, role_arn: str) -> Any:
    name = role_arn.rpartition("/")[2]
    (attached,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return iam.get_role_policy(RoleName=name, PolicyName=attached)["PolicyDocument"]


def test_a_large_object_is_transferred_by_a_role_that_the_runner_may_assume(
    deploy: Deploy, admin: Any, server: str
) -> None:
    stack = deploy({**IRSA, "enable_large_objects": True})
    outputs = stack.up().outputs
    role, objects = outputs["role_arn"].value, outputs["object_role_arn"].value
    iam, sts = admin("iam"), admin("sts")
    name = objects.rpartition("/")[2]
    trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    session = f"arn:aws:sts::123456789012:assumed-role/{role.rpartition('/')[2]}/runner"
    stranger = "arn:aws:sts::123456789012:assumed-role/stranger/runner"
    # By evaluation: moto compares a session with a role's name, and lets none in.
    assert decide(trust, "sts:AssumeRole", principal=session) == "Allow"
    assert decide(trust, "sts:AssumeRole", principal=stranger) is None
    assert decide(inline(iam, role), "sts:AssumeRole", objects) == "Allow"
    assert decide(inline(iam, role), "sts:AssumeRole", role) is None

    # What the runner asks for: this role, narrowed to one object by a policy of the session.
    cached = f"arn:aws:s3:::{BUCKET}/ci/1/cache"
    narrowed = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": cached}],
    }
    answer = sts.assume_role(
        RoleArn=objects, RoleSessionName="one", Policy=json.dumps(narrowed), DurationSeconds=3600
    )
    assert answer["AssumedRoleUser"]["Arn"].endswith(f":assumed-role/{name}/one")

    def both(action: str, resource: str) -> bool:
        documents = (inline(iam, objects), narrowed)
        return all(decide(document, action, resource) == "Allow" for document in documents)

    assert both("s3:PutObject", cached)
    assert not both("s3:PutObject", f"arn:aws:s3:::{BUCKET}/ci/2/cache")
    assert not both("s3:DeleteObject", cached)

    again = deploy({**IRSA, "enable_large_objects": True}).up()
    assert set(changes(again)) == {"same"}
    without = deploy(IRSA).up()
    assert changes(without)["delete"] == 2
    assert "object_role_arn" not in without.outputs


def test_only_the_runners_service_account_gets_the_role(deploy: Deploy, admin: Any) -> None:
    role = deploy(IRSA).up().outputs["role_arn"].value
    trust = admin("iam").get_role(RoleName=role.rpartition("/")[2])["Role"]
    document = trust["AssumeRolePolicyDocument"]

    def admitted(account: str, audience: str = "sts.amazonaws.com") -> str | None:
        return decide(
            document,
            "sts:AssumeRoleWithWebIdentity",
            principal=IRSA["oidc_provider_arn"],
            context={f"{ISSUER}:sub": account, f"{ISSUER}:aud": audience},
        )

    assert admitted("system:serviceaccount:gitlab-runner:gitlab-runner") == "Allow"
    assert admitted("system:serviceaccount:gitlab-runner-jobs:default") is None
    assert admitted("system:serviceaccount:gitlab-runner:gitlab-runner", "other") is None


def test_an_existing_bucket_is_used_and_left_as_it_is(
    deploy: Deploy, admin: Any, server: str
) -> None:
    s3 = admin("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    args = {"region": REGION, "identity": "access-key", "existing_bucket_name": BUCKET}
    stack = deploy(args)
    assert stack.up().outputs["bucket"].value == BUCKET
    cached = {"Bucket": BUCKET, "Key": "ci/1/cache"}
    key = access_key(stack)
    with enforced(server):
        client(server, "s3", key).put_object(**cached, Body=b"warm")
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        policy(s3)
    stack.destroy()
    assert s3.get_object(**cached)["Body"].read() == b"warm"


def test_the_stand_in_never_calls_the_real_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint in ("", "https://s3.eu-central-1.amazonaws.com"):
        monkeypatch.setenv(aws.ENDPOINT, endpoint)
        with pytest.raises(Failure, match="needs a test server"):
            aws.client("s3")
