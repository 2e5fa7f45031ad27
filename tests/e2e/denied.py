"""What the runner's user of a store must not do, whichever server is behind it."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

CALLS = pytest.mark.parametrize(
    "call",
    [
        lambda s: s.create_bucket(Bucket="mine"),
        lambda s: s.list_objects_v2(Bucket="other"),
        lambda s: s.put_object(Bucket="other", Key="x", Body=b"x"),
        lambda s: s.delete_bucket(Bucket="runner"),
        lambda s: s.put_bucket_policy(Bucket="runner", Policy="{}"),
    ],
    ids=["make", "list other", "write other", "delete", "set policy"],
)


def assert_denied(call: Callable[[Any], Any], client: Any) -> None:
    """Make a call that the store has to refuse for want of rights."""
    with pytest.raises(ClientError) as caught:
        call(client)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
