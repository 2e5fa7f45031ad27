"""What the site needs beside the pages: diagrams that are drawn when it is built, and their links.

mkdocs calls the function (`hooks` in mkdocs.yml).
"""

import re
from pathlib import Path
from typing import Any

import mermaidx

ROOT = Path(__file__).parents[1]


def _draw(block: re.Match[str]) -> str:
    # Mermaid's own way is a script of a megabyte, from somebody else's server.
    svg = re.sub(r"<\?xml.*?\?>", "", mermaidx.render(block[1]).svg())
    return f'<figure style="width: 100%">{" ".join(svg.split())}</figure>\n'


def _of_repository(link: re.Match[str]) -> str:
    """Return a link to a file of the repository as its text: the site has no such page."""
    path = link[2].partition("#")[0]
    if not (ROOT / "docs" / path).exists():
        raise FileNotFoundError(f"a page links to {link[2]}, which is not there")
    return link[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Draw the diagrams, and take out links that lead out of the site."""
    markdown = re.sub(r"```mermaid\n(.*?)```\n", _draw, markdown, flags=re.DOTALL)
    return re.sub(r"\[([^\]]+)\]\((\.\./[^)]+)\)", _of_repository, markdown)
