"""Brings the pages at the root of the repository into the site, and keeps links working in both.

On GitHub a page of docs/ links to `../CHANGELOG.md` and CHANGELOG.md to `docs/data.md`; in the site
they lie beside each other. Other files of the repository are not in the site: there a link to one
is its text. This is a hook of mkdocs and no part of the package.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

AT_THE_ROOT = ("CHANGELOG", "CONTRIBUTING", "DATA_CARD", "MODEL_CARD", "SECURITY")
_FROM_ROOT = re.compile(r"(?<=\]\()(?!docs/|https?:|mailto:|#)")
_INTO_DOCS = re.compile(r"(?<=\]\()docs/")
_OUT_OF_DOCS = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)(#[^)]+)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie at the root, with links as if they lay in docs/."""
    for name in AT_THE_ROOT:
        text = (_root(config) / f"{name}.md").read_text("utf-8")
        text = _INTO_DOCS.sub("", _FROM_ROOT.sub("../", text))
        files.append(File.generated(config, f"{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:  # noqa: ARG001
    """Let links out of docs/ lead beside the page, or be text; dead ones stay as they are."""

    def beside(link: re.Match[str]) -> str:
        text, path, anchor = link[1], link[2], link[3] or ""
        if path.removesuffix(".md") in AT_THE_ROOT:
            return f"[{text}]({path}{anchor})"
        return text if (_root(config) / path).exists() else link[0]

    return _OUT_OF_DOCS.sub(beside, markdown)


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent
