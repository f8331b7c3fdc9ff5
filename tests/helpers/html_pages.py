"""A report as a test reads it: its tables by heading, its text, its charts."""

import re
from html.parser import HTMLParser

Table = list[list[str]]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.section = ""
        self.tables: dict[str, list[Table]] = {}
        self.text: dict[str, str] = {}
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._open.append(tag)
        if tag == "h2":
            self.section = ""
        elif tag == "table":
            self.tables.setdefault(self.section, []).append([])
        elif tag == "tr":
            self.tables[self.section][-1].append([])
        elif tag in ("td", "th"):
            self.tables[self.section][-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        if self._open and self._open[-1] == "h2":
            self.section += data
        self.text[self.section] = self.text.get(self.section, "") + data + " "
        if {"td", "th"} & set(self._open):
            row = self.tables[self.section][-1][-1]
            row[-1] = f"{row[-1]}{data}"


def read(html: str) -> _Reader:
    """Return the document's tables and text, a list or text for each h2."""
    reader = _Reader()
    reader.feed(html)
    reader.text = {key: re.sub(r"\s+", " ", text) for key, text in reader.text.items()}
    return reader
