"""Mask secrets in text. The engine itself replaces the secrets that it knows by `[secret]`."""

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "[masked]"
MINIMUM = len(MASK)
"""Length of the shortest value that is masked. It is GitLab's own minimum, and no text grows."""

# Tokens of GitLab, and of other services that people paste by mistake, by their prefixes.
_TOKENS = re.compile(
    r"\b(?:gl(?:pat|rt|rtr|dt|cbt|ptt|ft|imt|agent|soat|ffct|wt)-[\w.-]{8,}|GR1348941[\w-]{8,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|pul-[0-9a-f]{40})"
)
_KEYS = re.compile(
    r"-----BEGIN[A-Z\s]*PRIVATE\s+KEY(?:\s+BLOCK)?-----.*?(?:-----END[A-Z\s]*-----|\Z)", re.DOTALL
)
_NAMES = re.compile(
    r"TOKEN|PASSWORD|PASSPHRASE|SECRET|CREDENTIAL|PRIVATE|KUBECONFIG|_KEY$|_PAT$", re.I
)
# In a file: the value behind a secret's name, in YAML, JSON, .ini and .netrc. The next patterns
# match words that look like a token or a key.
_NAMED = re.compile(
    r"(?:token|passw(?:or)?d|passphrase|secret|credential|private|auth|key)[\w.-]*[\"']?"
    r"(?:[^\S\n]*[:=][^\S\n]*|[^\S\n]+)"
    r"(?:\"((?:[^\"\\\n]|\\.)+)\"|'([^'\n]+)'|([^\s\"',]+)([^\n]*))",
    re.I,
)
_OPAQUE = re.compile(r"[\w+/.~-]{20,}={0,2}")
_HEX = re.compile(r"[0-9a-f]{32,}", re.I)
_LONGEST_FILE = 100_000


def named_like_secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the values of the variables whose names suggest secrets."""
    return [
        value
        for name, value in environment.items()
        if _NAMES.search(name) and len(value) >= MINIMUM
    ]


def in_file(path: str) -> list[str]:
    """Return the texts in the file of a variable that may be secrets.

    These are the lines, the values behind names like `password`, and words that look like a token
    or a key. Each is also decoded from base64 and JSON. The function reads only the first 100,000
    bytes, and returns nothing if there is no such file.
    """
    try:
        if not os.path.isfile(path):
            return []
        with open(path, "rb") as file:
            text = file.read(_LONGEST_FILE).decode(errors="replace")
    except (OSError, ValueError):
        return []
    texts = [line.strip() for line in text.splitlines()]
    for double, single, word, rest in _NAMED.findall(text):
        texts += [double, single, word, (word + rest).strip()]
    texts += [run for run in _OPAQUE.findall(text) if _looks_secret(run)]
    texts += [plain for value in texts for plain in _decoded(value)]
    return [value for value in dict.fromkeys(texts) if len(value) >= MINIMUM]


def _looks_secret(text: str) -> bool:
    """Return whether a long word is hexadecimal, or has digits and letters of both cases."""
    kinds = (str.isupper, str.islower, str.isdigit)
    return bool(_HEX.fullmatch(text)) or all(any(map(kind, text)) for kind in kinds)


def _decoded(value: str) -> Iterable[str]:
    try:
        if "\\" in value:
            yield str(json.loads(f'"{value}"'))
        yield base64.b64decode(value, validate=True).decode()
    except ValueError:
        return


def _spellings(value: str) -> Iterable[str]:
    """Return a value, its lines, and its spelling in JSON, base64 and URLs."""
    yield value
    yield value.strip()
    yield from (line.strip() for line in value.splitlines())
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield base64.b64encode(value.encode()).decode()
    yield quote(value, safe="")


def _pattern(value: str) -> str:
    """Return a pattern that also matches a value whose line breaks are shown as spaces."""
    words = value.split()
    if len(" ".join(words)) < MINIMUM:
        return re.escape(value)
    return r"\s+".join(map(re.escape, words))


class Masker:
    """Replaces the given values, and texts that look like tokens, by `[masked]`."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Take the secrets.

        Args:
            values: The secrets, each with at least `MINIMUM` characters. The command line refuses
                shorter secrets, because they would mask ordinary words.
        """
        texts = {text for value in values for text in _spellings(value) if len(text) >= MINIMUM}
        # The longest first, because a text may be part of another.
        ordered = sorted(texts, key=lambda text: (-len(text), text))
        self._values = re.compile("|".join(map(_pattern, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return a text without secrets. The text never gets longer.

        Pass each text from outside separately: a private key may extend to the end of its text.
        """
        if self._values:
            text = self._values.sub(MASK, text)
        return _KEYS.sub(MASK, _TOKENS.sub(MASK, text))
