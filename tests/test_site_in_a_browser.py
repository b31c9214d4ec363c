"""The built site in a browser: what axe-core calls a fault of its pages, and errors of scripts."""

import functools
import http.server
import os
import subprocess
import sys
import threading

import pytest
from browser_page import browser_page, find_browser
from doc_pages import ROOT

SCHEMES = {"light": "default", "dark": "slate"}


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the built site, and its pages."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=True, timeout=300,
    )  # fmt: skip
    handler = functools.partial(Silent, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
        yield f"http://127.0.0.1:{server.server_port}", pages
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_every_page_is_accessible(site, scheme, width, tmp_path):
    address, pages = site
    assert len(pages) > 30
    faults = []
    with browser_page(find_browser(), tmp_path, width=width) as page:
        page.use(scheme=scheme)
        for name in pages:
            page.open(f"{address}/{name}")
            assert page.run("document.body.dataset.mdColorScheme") == SCHEMES[scheme]
            faults += [f"{name}: {one}" for one in page.accessibility_faults()]
        assert page.errors == []
    assert faults == []
