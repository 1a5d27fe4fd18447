"""Texts of strangers in Markdown: names, licences and templates that cannot break a table, a fence or the front matter."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+|\s+")
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_START = re.compile(r"^(\d*)([-=.)])")  # of a list, a rule or a heading, where it begins a line
_BREAKS = "\t\n"


def line(text: object) -> str:
    """A text as one line that can be written as UTF-8."""
    return _CONTROL.sub(" ", str(text).encode(errors="replace").decode()).strip()


def plain(text: object) -> str:
    """A text as Markdown that shows it as it is, in a paragraph or a cell of a table."""
    escaped = line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _START.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", escaped))


def code(text: object) -> str:
    """A text as inline code, in a paragraph or a cell of a table."""
    shown = line(text).replace("|", "\\|") or " "
    ticks = "`" * (_longest("`", shown) + 1)
    pad = " " if "`" in (shown[0], shown[-1]) else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def block(text: object, language: str = "") -> str:
    """A text as a fenced block, line by line as it is."""
    shown = "".join(c if c.isprintable() or c in _BREAKS else " " for c in str(text).replace("\r\n", "\n"))
    fence = "`" * max(3, _longest("`", shown) + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def _longest(character: str, text: str) -> int:
    return max(map(len, re.findall(f"{re.escape(character)}+", text)), default=0)
