"""Text of corpora in Markdown: it says what it says, and nothing in it is taken for markup."""

import re

MARKS = re.compile(r"([\\`*_{}\[\]()#+.!|~<>&$\-])")


def as_markdown(text: str) -> str:
    """The text so that Markdown (with mathematics and HTML) shows it letter for letter, on one line."""
    return MARKS.sub(_plain, " ".join(str(text).split()))


def _plain(found: re.Match) -> str:
    return f"&#{ord(found.group(1))};"  # a number: a backslash before a dollar does not stop every reader of formulas
