"""Takes secrets out of text. The engine has masked its own before: they read `[secret]`."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "[masked]"
MINIMUM = len(MASK)
"""The shortest value that is masked, in characters: GitLab's own bound, and no text grows."""

# GitLab's prefixes of tokens, with those that people paste by mistake beside them.
_TOKENS = re.compile(
    r"\b(?:gl(?:pat|rt|rtr|dt|cbt|ptt|ft|imt|agent|soat|ffct|wt)-[\w.-]{8,}|GR1348941[\w-]{8,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|pul-[0-9a-f]{40})"
)
_KEYS = re.compile(
    r"-----BEGIN[A-Z\s]*PRIVATE\s+KEY(?:\s+BLOCK)?-----.*?(?:-----END[A-Z\s]*-----|\Z)", re.DOTALL
)
_NAMES = re.compile(r"TOKEN|PASSWORD|PASSPHRASE|SECRET|CREDENTIAL|PRIVATE|_KEY$|_PAT$", re.I)


def named_like_secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the values of the variables whose name says that they are secret."""
    return [
        value
        for name, value in environment.items()
        if _NAMES.search(name) and len(value) >= MINIMUM
    ]


def _spellings(value: str) -> Iterable[str]:
    """Return a value as it is, its lines, and how it reads in JSON, base64 and a URL."""
    yield value
    yield value.strip()
    yield from (line.strip() for line in value.splitlines())
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield base64.b64encode(value.encode()).decode()
    yield quote(value, safe="")


def _pattern(value: str) -> str:
    """Return what finds a value, also where its line breaks are shown as blanks."""
    words = value.split()
    if len(" ".join(words)) < MINIMUM:
        return re.escape(value)
    return r"\s+".join(map(re.escape, words))


class Masker:
    """Replaces every given value, and what looks like a token, by `[masked]`."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Take the secrets.

        Args:
            values: The secrets, each of at least `MINIMUM` characters; shorter ones are refused
                by the command line, since they would take ordinary words with them.
        """
        found = {text for value in values for text in _spellings(value) if len(text) >= MINIMUM}
        # The longest first: one may be a part of another.
        ordered = sorted(found, key=lambda text: (-len(text), text))
        self._values = re.compile("|".join(map(_pattern, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return text without secrets; it never gets longer.

        Give it one text from outside at a time: a private key ends where its text does.
        """
        if self._values:
            text = self._values.sub(MASK, text)
        return _KEYS.sub(MASK, _TOKENS.sub(MASK, text))
