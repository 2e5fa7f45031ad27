"""The real engine, with providers that only keep what they get: what users of the components rely
on.
"""

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_random as random
import pulumi_tls as tls
import pytest
from pulumi import automation as auto

from lab import engine
from tests.engine.conftest import PROJECT, changes

pytestmark = pytest.mark.engine


def password(length: int) -> Callable[[], None]:
    def program() -> None:
        made = random.RandomPassword("one", length=length, special=False)
        pulumi.export("password", made.result)

    return program


def test_a_password_stays_and_its_length_replaces_it(deploy: Any) -> None:
    first = deploy(password(20)).up()
    assert changes(first) == {"create": 2}
    assert len(first.outputs["password"].value) == 20
    again = deploy(password(20)).up()
    assert changes(again) == {"same": 2}
    assert again.outputs["password"].value == first.outputs["password"].value
    longer = deploy(password(30)).up()
    assert changes(longer) == {"replace": 1, "same": 1}
    assert len(longer.outputs["password"].value) == 30


def test_secrets_are_encrypted_in_the_state(deploy: Any) -> None:
    stack = deploy(password(24))
    secret = stack.up().outputs["password"]
    assert secret.secret
    state = engine.state_text("test", PROJECT)
    assert secret.value not in state
    assert "ciphertext" in state


def certificate(early_renewal_hours: int) -> Callable[[], None]:
    def program() -> None:
        key = tls.PrivateKey("ca", algorithm="ECDSA", ecdsa_curve="P256")
        made = tls.SelfSignedCert(
            "ca",
            private_key_pem=key.private_key_pem,
            subject={"common_name": "test"},
            allowed_uses=["cert_signing"],
            is_ca_certificate=True,
            validity_period_hours=100,
            early_renewal_hours=early_renewal_hours,
        )
        pulumi.export("certificate", made.cert_pem)

    return program


def test_a_certificate_is_replaced_when_its_renewal_is_due(deploy: Any) -> None:
    first = deploy(certificate(10)).up()
    assert changes(deploy(certificate(10)).up()) == {"same": 3}
    due = deploy(certificate(101)).up()
    assert changes(due) == {"replace": 1, "same": 2}
    assert due.outputs["certificate"].value != first.outputs["certificate"].value


def test_a_type_that_is_not_served_is_named(deploy: Any) -> None:
    def program() -> None:
        random.RandomShuffle("one", inputs=["a", "b"])

    with pytest.raises(auto.errors.CommandError) as caught:
        deploy(program).up()
    assert "does not serve random:index/randomShuffle:RandomShuffle" in str(caught.value)
