"""Takes secrets out of text. The engine has masked its own before: they read `[secret]`."""

import base64
import json
import os
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
_NAMES = re.compile(
    r"TOKEN|PASSWORD|PASSPHRASE|SECRET|CREDENTIAL|PRIVATE|KUBECONFIG|_KEY$|_PAT$", re.I
)
# In a file: what stands behind a secret's name, in YAML, JSON, .ini and .netrc, and what looks
# like a token or a key by itself.
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
    """Return the values of the variables whose name says that they are secret."""
    return [
        value
        for name, value in environment.items()
        if _NAMES.search(name) and len(value) >= MINIMUM
    ]


def in_file(path: str) -> list[str]:
    """Return what may be secret in the file of a variable; nothing where there is no such file.

    These are its lines, values behind a name like `password`, and what looks like a token or a
    key, each also as it reads without base64 or JSON's escapes. Of a long file the first 100,000
    bytes are read.
    """
    try:
        if not os.path.isfile(path):
            return []
        with open(path, "rb") as file:
            text = file.read(_LONGEST_FILE).decode(errors="replace")
    except (OSError, ValueError):
        return []
    found = [line.strip() for line in text.splitlines()]
    for double, single, word, rest in _NAMED.findall(text):
        found += [double, single, word, (word + rest).strip()]
    found += [run for run in _OPAQUE.findall(text) if _looks_secret(run)]
    found += [plain for value in found for plain in _decoded(value)]
    return [value for value in dict.fromkeys(found) if len(value) >= MINIMUM]


def _looks_secret(text: str) -> bool:
    """Return whether a long word is of letters of both cases and digits, or hexadecimal."""
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
