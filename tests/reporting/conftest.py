"""A real browser for the pages, if one is installed, and a server that must get no requests."""

import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from browser_page import find_browser


@dataclass
class Browser:
    """Opens pages; ``requested`` lists what they request from ``address``."""

    program: str
    profile: Path
    address: str
    requested: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names that, taken for HTML, run a script or request something from the server."""
        act, at = "document.documentElement.dataset.owned=1", self.address
        return [
            f"<script>{act}</script>",
            f"<script src={at}/script></script>",
            f'"><img src={at}/image onerror={act}>',
            f"' onmouseover='{act}' autofocus onfocus='{act}' x='",
            f"</title></style><svg onload={act}>",
            f"</style><style>@import '{at}/style'; body {{background: url({at}/background)}}",
            f"<iframe srcdoc='<script>parent.{act}</script>'></iframe>",
            f"<iframe src={at}/frame></iframe>",
            f"<object data={at}/object></object><embed src={at}/embed>",
            f"<link rel=stylesheet href={at}/sheet><link rel=prefetch href={at}/prefetch>",
            f'<meta http-equiv=refresh content="0;url={at}/refresh">',
            f"<form action={at}/form><input autofocus onfocus={act}></form>",
            f"<base href={at}/base/><img src=based.png>",
            f"javascript:{act}",
            f"{at}/plain.png",
            f"//{at.removeprefix('http://')}/bare.png",
            f"{{{{ '<script>{act}</script>'|safe }}}}{{% raw %}}",
            f"&lt;script&gt;{act}&lt;/script&gt;",
            f"<!--><script>{act}</script>",
            f"<math><mtext></mtext><mglyph><svg><style><img onerror={act} src=x>",
        ]

    def open(self, page: Path) -> tuple[bool, list[str]]:
        """Open ``page``; return whether a script of a name ran, and what the page requested."""
        self.requested.clear()
        ended = subprocess.run(
            [
                *(self.program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-background-networking", f"--user-data-dir={self.profile}"),
                *("--virtual-time-budget=2000", "--dump-dom", page.as_uri()),
            ],
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert "<html" in ended.stdout, ended.stderr[-2000:]
        return bool(re.search(r"<html[^>]*data-owned", ended.stdout)), list(self.requested)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless browser; without one the test is skipped, saying so."""
    opened = Browser(find_browser(), tmp_path_factory.mktemp("profile"), "")

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            opened.requested.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened.address = f"http://127.0.0.1:{server.server_port}"
        yield opened
        server.shutdown()
