"""Hooks of the site (mkdocs.yml): links that lead out of docs/ become text, since the site holds docs/ alone."""

import re
from typing import Any

OUTWARD = re.compile(r"\[([^\]\n]+)\]\((?:\.\./)+[^)\s]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page without the targets of its outward links; links to README.md of the repository are links home."""
    return OUTWARD.sub(lambda link: f"`{link[1]}`" if "/" in link[1] or "." in link[1] else link[1], markdown)
