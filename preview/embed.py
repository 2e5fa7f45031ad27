"""Writes these modules into the template: `python -m preview.embed`."""

import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "templates/pulumi-preview/template.yml"
MODULES = ("__init__", "__main__", "events", "gitlab", "masking", "note")
_START, _END = "    # <preview>", "    # </preview>"
_MARK = "END-OF-MODULE"


def script() -> str:
    """Return the commands that write the modules where the job runs them."""
    lines = [
        'mkdir -p "$CI_PROJECT_DIR/.pulumi-preview/preview"',
        'rm -f "$CI_PROJECT_DIR/.pulumi-preview/events.json"',
    ]
    for module in MODULES:
        text = (ROOT / f"preview/{module}.py").read_text()
        # GitLab would put an input there, and the shell would end the module.
        assert "$[[" not in text
        assert _MARK not in text
        lines += [
            f"cat > \"$CI_PROJECT_DIR/.pulumi-preview/preview/{module}.py\" << '{_MARK}'",
            f"{text.rstrip()}\n{_MARK}",
        ]
    return "\n".join(lines) + "\n"


def embedded(template: str) -> str:
    """Return the template's text with the modules as they are now."""
    before, start, rest = template.partition(_START)
    title, _, rest = rest.partition("\n")
    _, end, after = rest.partition(_END)
    assert end, "the template has no place for the modules"
    item = "    - |\n" + textwrap.indent(script(), " " * 6)
    return f"{before}{start}{title}\n{item}{end}{after}"


if __name__ == "__main__":
    TEMPLATE.write_text(embedded(TEMPLATE.read_text()))
