"""Check the built site: ``python docs/check_site.py site``.

Nothing of it may be loaded from the network, and every link within it must lead to a page, to a
file, and to the place on the page that it names. Links to other sites may be followed by people,
but none of the pages of defectkit needs one.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    ("link", "href"), ("script", "src"), ("img", "src"), ("img", "srcset"), ("source", "src"),
    ("source", "srcset"), ("iframe", "src"), ("object", "data"), ("embed", "src"),
    ("audio", "src"), ("video", "src"), ("video", "poster"), ("use", "href"), ("image", "href"),
}  # fmt: skip
"""The elements and attributes by which a page loads something."""
STYLE_URL = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")
SCRIPTED = re.compile(r"""["'`]((?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^"'`\s]*)""")
"""An address in a script of a page; those in files of the theme are not called, see ``UNUSED``."""
UNUSED = ("https://unpkg.com/mermaid@", "https://giscus.app", "https://api.github.com/",
          "https://gitlab.com/api/", "https://unpkg.com/resize-observer-polyfill")  # fmt: skip
"""What the theme's own script would load: for things that no page has (``USES``), and the last one
in browsers from before 2020."""
USES = ('class="mermaid"', "giscus.app", 'data-md-component="source"')
"""What a page would have that makes the theme's script load something."""


class Page(HTMLParser):
    """What one page loads, where its links lead, and the places that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the attributes of an element."""
        kinds = {value for name, value in attrs if name == "rel"}
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.places.add(value)
            if name == "style":
                self.loaded += STYLE_URL.findall(value or "")
            if not value or (tag == "link" and kinds & {"canonical", "alternate"}):
                continue
            if (tag, name.removeprefix("xlink:")) in LOADED:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)
        self._in_script = tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        """Take the text of scripts and styles."""
        if self._in_script:
            self.loaded += SCRIPTED.findall(data) + STYLE_URL.findall(data)

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        """Leave a script or a style."""
        self._in_script = False


def faults_of(site: Path) -> Iterator[str]:
    """Yield a sentence for each request to the network and each dead link of a site."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    pages = {path: Page(text) for path, text in texts.items()}
    if not pages:
        yield f"{site} has no page"
    for path, page in pages.items():
        name = path.relative_to(site)
        yield from (f"{name} loads {one}" for one in page.loaded if _is_remote(one))
        yield from (f"{name} has {use}" for use in USES if use in texts[path])
        local = [one for one in (*page.links, *page.loaded) if not _has_scheme(one)]
        yield from (f"{name}: dead link {one}" for one in local if _is_dead(one, path, site, pages))
    for sheet in sorted(site.rglob("*.css")):
        for one in STYLE_URL.findall(sheet.read_text(encoding="utf-8")):
            yield f"{sheet.relative_to(site)} loads {one}"
    for script in sorted(site.rglob("*.js")):
        if "lunr" not in script.parts:  # searches in other languages, which only name their sources
            for one in SCRIPTED.findall(script.read_text(encoding="utf-8")):
                if not one.startswith(("http://www.w3.org/", *UNUSED)):
                    yield f"{script.relative_to(site)} names {one}"


def _has_scheme(address: str) -> bool:
    return bool(urlsplit(address).scheme) or address.startswith("//")


def _is_remote(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https") or address.startswith("//")


def _is_dead(address: str, path: Path, site: Path, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(address)
    target = path.parent / unquote(parts.path) if parts.path else path
    if parts.path.startswith("/"):  # the page that a server shows for what is not there
        target = site / unquote(parts.path).lstrip("/")
    target = target.resolve() / "index.html" if target.is_dir() else target.resolve()
    if not target.is_file():
        return True
    page = pages.get(target)
    place = unquote(parts.fragment)
    return bool(place) and page is not None and place not in page.places and place != "__top"


def main() -> int:
    """Print what is wrong; return 1 if anything is."""
    faults = list(faults_of(Path(sys.argv[1]).resolve()))
    print("\n".join(faults) or "nothing is loaded from the network, and no link is dead")  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
