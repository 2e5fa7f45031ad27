"""Stand-in for the provider `random`."""

import base64
import secrets
import string

from lab.providers.base import UNKNOWN, Call, Failure, Properties, Provider, Resource

_SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
_CLASSES = {
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "numeric": string.digits,
}


class Password(Resource):
    """`RandomPassword`: the SDK marks its result as a secret."""

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Fill in the provider's defaults."""
        defaults = {"lower": True, "upper": True, "numeric": True, "special": True}
        minimums = {f"min{name.capitalize()}": 0 for name in defaults}
        return {**defaults, **minimums, **news}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Draw a password."""
        if call.preview:
            return "", {**inputs, "result": UNKNOWN, "bcryptHash": UNKNOWN}
        classes = {**_CLASSES, "special": inputs.get("overrideSpecial") or _SPECIAL}
        alphabet = "".join(letters for name, letters in classes.items() if inputs[name])
        if not alphabet:
            raise Failure("at least one of lower, upper, numeric and special must be true")
        drawn = [
            secrets.choice(letters)
            for name, letters in classes.items()
            for _ in range(inputs[f"min{name.capitalize()}"])
        ]
        drawn += [secrets.choice(alphabet) for _ in range(inputs["length"] - len(drawn))]
        secrets.SystemRandom().shuffle(drawn)
        return "none", {**inputs, "result": "".join(drawn), "bcryptHash": ""}


class Identity(Resource):
    """`RandomId`."""

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Draw bytes, and spell them in the ways that the provider offers."""
        spellings = ("hex", "b64Std", "b64Url", "dec")
        if call.preview:
            return "", {**inputs, **dict.fromkeys(spellings, UNKNOWN)}
        drawn = secrets.token_bytes(inputs["byteLength"])
        url = base64.urlsafe_b64encode(drawn).decode().rstrip("=")
        prefix = inputs.get("prefix", "")
        texts = (
            drawn.hex(),
            base64.b64encode(drawn).decode(),
            url,
            str(int.from_bytes(drawn, "big")),
        )
        return url, {
            **inputs,
            **{key: prefix + text for key, text in zip(spellings, texts, strict=True)},
        }


def provider() -> Provider:
    """Return the stand-in."""
    return Provider(
        "random",
        {
            "random:index/randomPassword:RandomPassword": Password(),
            "random:index/randomId:RandomId": Identity(),
        },
    )
