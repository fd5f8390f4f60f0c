"""Names of users in pictures."""

from __future__ import annotations


def literal(text: object) -> str:
    """A text that matplotlib writes as it is, where it would take ``$`` for mathematics and leave out ``_`` in legends."""
    words = str(text).replace("$", r"\$")
    return f" {words}" if words.startswith("_") else words
