"""Values as Markdown that shows them and nothing else: no tag, no link, no folder of a machine."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# /home/someone/file.zip and C:\Users\someone\file.zip, but neither https://host/a/b nor 512/256.
_FOLDERS = re.compile(
    r"(?<![\w.:/\\-])(?:/(?:[^\s/|,;:'\"]+/)+|[A-Za-z]:\\+(?:[^\s\\|,;'\"]+\\+)+)"
)


def text(value: object) -> str:
    """Show a value as text: it cannot open a tag, a link, a table cell or a line.

    Of an absolute path only the last name is left: where a file lay tells of a machine and its
    user, and nothing of the file.
    """
    plain = _FOLDERS.sub("", " ".join(str(value).split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;")
    for mark in "\\`*_[]|#":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def bullets(content: Mapping[str, Any]) -> list[str]:
    """Return a line for each entry; a mapping or a list in it is told in one line."""
    return [f"- {text(name.replace('_', ' '))}: {listed(said)}" for name, said in content.items()]


def listed(said: Any) -> str:
    """Tell a value, a list of values or a mapping in one line."""
    if isinstance(said, Mapping):
        return ", ".join(f"{text(name)} {text(value)}" for name, value in said.items())
    return ", ".join(map(text, said)) if isinstance(said, list) else text(said)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table; the first column is read as names."""
    lines = [header, ["---"] * len(header), *rows]
    first, rule, *rest = (f"| {' | '.join(map(text, line))} |" for line in lines)
    return [first, rule, *rest]


def document(title: str, lead: str, sections: Mapping[str, Sequence[str]]) -> str:
    """Return a document: a title, a paragraph, and a heading with its lines for each section.

    Args:
        title: plain text.
        lead: Markdown; empty for none.
        sections: heading as plain text -> Markdown lines.
    """
    lines = [f"# {text(title)}", *(["", lead] if lead else [])]
    for heading, content in sections.items():
        lines += ["", f"## {text(heading)}", "", *content]
    return "\n".join(lines) + "\n"
