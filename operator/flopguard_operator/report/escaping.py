"""Make text of tenants harmless: it may show anything, but do nothing.

Names, sources and messages in a ledger are whatever somebody wrote into a manifest.
"""

import html
import re

# Also what GitHub makes links of: "://" and "www.".
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~&!]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
_LIST_OR_RULE = re.compile(r"^(\d*)([.)](?=\s|$)|(?<!\d)[-+=])")  # not 5.38e9


def as_html(text: str) -> str:
    """Return `text` for HTML or SVG, also inside a quoted attribute."""
    return html.escape(as_line(text), quote=True)


def as_markdown(text: str) -> str:
    """Return `text` as one line of Markdown in which nothing is markup."""
    escaped = _MARKUP.sub(r"\\\1", as_line(text).strip())
    return _LIST_OR_RULE.sub(r"\1\\\2", escaped)


def as_line(text: str) -> str:
    """Return `text` without line breaks, control and direction-changing characters.

    Enough for a terminal, where those could move the cursor or hide what stands there.
    """
    return "".join(c if c.isprintable() else " " for c in text)
