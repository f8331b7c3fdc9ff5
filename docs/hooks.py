"""Brings the pages at the root of the repository into the site, and keeps links working in both.

On GitHub a page of docs/ links to `../CHANGELOG.md` and CHANGELOG.md to `docs/data.md`; in the site
they lie beside each other. This is a hook of mkdocs and no part of the package.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

AT_THE_ROOT = ("CHANGELOG", "CONTRIBUTING", "DATA_CARD", "MODEL_CARD", "SECURITY")
_FROM_ROOT = re.compile(r"\]\(docs/")
_FROM_DOCS = re.compile(rf"\]\(\.\./({'|'.join(AT_THE_ROOT)})\.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie at the root."""
    root = Path(config.config_file_path).parent
    for name in AT_THE_ROOT:
        text = (root / f"{name}.md").read_text("utf-8")
        files.append(File.generated(config, f"{name}.md", content=_FROM_ROOT.sub("](", text)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:  # noqa: ARG001
    """Let links to them lead beside the page."""
    return _FROM_DOCS.sub(r"](\1.md", markdown)
