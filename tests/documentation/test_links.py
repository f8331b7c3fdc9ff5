"""No link is dead: the site is built strictly, and links of pages at the root lead somewhere."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from pymdownx.slugs import slugify

from tests.helpers.doc_pages import ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
_AT_THE_ROOT = sorted(ROOT.glob("*.md"))
_OTHER_HOSTS = re.compile(r"^https?://|^mailto:")


def links(page: Path) -> list[str]:
    text = _FENCE.sub("", page.read_text("utf-8"))
    return [link for link in _LINK.findall(text) if not _OTHER_HOSTS.match(link)]


def anchors(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text("utf-8"))
    return {slugify(case="lower")(title, "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("page", _AT_THE_ROOT, ids=lambda page: page.name)
def test_links_of_pages_at_the_root_lead_somewhere(page: Path):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 150
    named = {Path(link.partition("#")[0]).name for link in links(ROOT / "README.md")}
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"extending.md"}
    assert named >= pages | {"CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build_site(ROOT, folder)
    return folder


def build_site(root: Path, folder: Path) -> None:
    """Do what `mkdocs build --strict` does."""
    build(load_config(str(root / "mkdocs.yml"), strict=True, site_dir=str(folder)))


def test_the_site_has_every_page(site: Path):
    built = {page.stem for page in site.glob("*.html")} - {"404"}
    sources = {page.stem for page in (ROOT / "docs").glob("*.md")}
    at_the_root = {page.stem for page in _AT_THE_ROOT} - {"README"}
    assert built == sources | at_the_root


def test_the_site_asks_nothing_of_other_servers(site: Path):
    loads = re.compile(r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(https?:)?//""")
    sheets = re.compile(r"""<link(?=[^>]*rel=["']?(?:stylesheet|preconnect|preload|icon))[^>]*"""
                        r"""href=["']?(?:https?:)?//""")  # fmt: skip
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not loads.search(text), page.name
        assert not sheets.search(text), page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", sheet.read_text("utf-8"))


def test_a_dead_link_fails_the_build(tmp_path: Path):
    docs = tmp_path / "docs"
    docs.mkdir()
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    config = config.partition("\nnav:")[0].replace("hooks: [docs/hooks.py]\n", "")
    (tmp_path / "mkdocs.yml").write_text(config, "utf-8")
    page = docs / "index.md"
    page.write_text("# Here\n[there](#here)\n", "utf-8")
    build_site(tmp_path, tmp_path / "site")
    for dead in ("nowhere.md", "#nowhere"):
        page.write_text(f"# Here\n[there]({dead})\n", "utf-8")
        with pytest.raises(Abort):
            build_site(tmp_path, tmp_path / "site")


def test_the_picture_is_small_and_reads_on_any_ground():
    text = (ROOT / "docs/assets/architecture.svg").read_text("utf-8")
    assert len(text.splitlines()) < 200
    assert "prefers-color-scheme: dark" in text
    assert 'class="ground"' in text
    assert "<title" in text
    assert not re.search(r"href=|url\((?!#)", text)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_table_stands_apart_and_so_is_one(page: Path):
    """Behind a block of code it would be shown as text, in the site though not on GitHub."""
    lines = page.read_text("utf-8").splitlines()
    for before, line in pairwise(lines):
        assert not (line.startswith("|") and before.startswith("```")), line
