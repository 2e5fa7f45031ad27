"""Detect secrets, so that no message, variable or name contains a secret."""

import re

# Tokens of GitLab, and of services that jobs often use, by their documented prefixes.
_TOKEN = re.compile(
    r"\b(?:(?:GR1348941|gl(?:rtr?|pat|cbt|s?oat|dt|ptt|agent|oas|ft|imt|ffct|wt)-|gh[oprsu]_"
    r"|github_pat_|dckr_[op]at_|xox[abeprs]-)[0-9A-Za-z_.=-]{16,}|A[KS]IA[0-9A-Z]{16})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^'\"]*"
)
_USER_INFO = re.compile(r"(?<=://)[^\s'\"@]*:[^\s'\"]*@")
_NAME = re.compile(
    r"token|secret|passw(or)?d|passphrase|(access|api|private|account|session|signing)_?key"
    r"|credentials?_?file",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Tell whether the name of a setting or variable suggests that its value is a secret."""
    return _NAME.search(name) is not None


def has_secret(text: str) -> bool:
    """Tell whether a text contains a token, a private key, or a URL with a password."""
    return bool(_TOKEN.search(text) or _USER_INFO.search(text))


def masked(text: str) -> str:
    """Return a text with its tokens, private keys and URL passwords replaced by `[secret]`."""
    return _USER_INFO.sub("[secret]@", _TOKEN.sub("[secret]", text))
