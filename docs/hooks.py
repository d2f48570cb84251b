"""Hooks of the site (mkdocs.yml): links that lead out of docs/ become text, since the site holds docs/ alone, and the
name of a file after the language of a block of code becomes its title, or the block would be shown as prose."""

import re
from typing import Any

NAMED = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)
OUTWARD = re.compile(r"\[([^\]\n]+)\]\((?:\.\./)+[^)\s]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page without the targets of its outward links, and with titles of named blocks; links to README.md of the
    repository are links home."""
    titled = NAMED.sub(r'```\1 title="\2"', markdown)
    return OUTWARD.sub(lambda link: f"`{link[1]}`" if "/" in link[1] or "." in link[1] else link[1], titled)
