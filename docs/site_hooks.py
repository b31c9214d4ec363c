"""Hooks of mkdocs: pages from outside of ``docs/``, notebooks, the picture of the architecture.

Links in all Markdown files are those of the repository, so that they work in it as well; here they
become those of the site.
"""

import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from architecture_picture import draw_picture  # noqa: E402

ADOPTED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/infer_amp.md": "benchmarks/infer_amp.md",
    "benchmarks/presets.md": "benchmarks/presets.md",
    "benchmarks/quality.md": "benchmarks/quality.md",
    "benchmarks/results.md": "benchmarks/results.md",
    "tests/scorecard/scorecard.md": "explanation/scorecard.md",
    "docs/notebooks/own-data.ipynb": "notebooks/own-data.md",
    "docs/notebooks/sample-data.ipynb": "notebooks/sample-data.md",
}
"""The page of the site that a file becomes which is outside of ``docs/``, or a notebook."""

LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[)#\s])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of ``docs/``, and those of notebooks."""
    for source, page in ADOPTED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".ipynb"):
            text = notebook_page(text, name=posixpath.basename(source))
        files.append(File.generated(config, page, content=text))
    return files


def notebook_page(notebook: str, *, name: str) -> str:
    """Return the cells of a notebook as Markdown, with a link to the file of that name."""
    cells = [("".join(one["source"]), one["cell_type"]) for one in json.loads(notebook)["cells"]]
    text = [cell if kind == "markdown" else f"```python\n{cell}\n```" for cell, kind in cells]
    # In HTML, so that it stays a link to the file and does not become one to this page.
    text.insert(1, f'<p><a href="{name}" download>{name}</a>, to open in Jupyter</p>')
    return "\n\n".join(text) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links into those of the site, and the architecture's Mermaid into a picture."""
    site = page.file.src_uri
    if site == "index.md":
        page.meta["hide"] = ["navigation"]
    source = {to: of for of, to in ADOPTED.items()}.get(site, f"docs/{site}")
    return draw_picture(relink(markdown, source=source, site=site))


def on_page_content(html: str, **_: Any) -> str:
    """Make cells of an empty head of a table plain ones, for screen readers.

    >>> on_page_content("<thead><tr><th></th><th>b</th></tr></thead>")
    '<thead><tr><td></td><th>b</th></tr></thead>'
    """
    return re.sub(r"<th( [^>]*)?></th>", r"<td\1></td>", html)


def name_search(output: str, **_: Any) -> str:
    """Name the dialog of the search, which the theme leaves without a name."""
    return output.replace('role="dialog">', 'role="dialog" aria-label="Search">')


on_post_page = on_post_template = name_search


def relink(markdown: str, *, source: str, site: str) -> str:
    """Return the text of the file ``source`` with its relative links as on the page ``site``.

    >>> relink("[a](docs/how-to/a.md#x)", source="README.md", site="index.md")
    '[a](how-to/a.md#x)'
    >>> relink("[a](../CHANGELOG.md)", source="docs/architecture.md", site="architecture.md")
    '[a](changelog.md)'
    """

    def to_site(match: re.Match[str]) -> str:
        if ":" in match[0]:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[0]))
        page = ADOPTED.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(page, posixpath.dirname(site) or ".")

    return LINK.sub(to_site, markdown)
