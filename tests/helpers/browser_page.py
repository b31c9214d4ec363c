"""A page in a headless Chromium that a test drives: mouse, keys, scripts, pictures of it.

It speaks the DevTools protocol over two pipes, so that nothing has to be installed for it.
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 60

# The browser reads from descriptor 3 and writes to 4; both may be taken by the pipes themselves.
START = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
# A headless browser has no pointer that hovers, and pages ask for it.
MOUSE = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"


def find_browser() -> str:
    """Return the path of an installed browser; without one the test is skipped, saying so."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    return program


class BrowserPage:
    """One page; ``requested`` are the addresses that it asked for, ``errors`` those of scripts."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest = write, read, b""
        self._ids = itertools.count(1)
        self._session: str | None = None
        self.requested: list[str] = []
        self.errors: list[str] = []

    def start(self, width: int, height: int) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.resize(width, height)

    def send(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", details).get("description", str(details)))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        return message

    def open(self, page: Path | str) -> None:
        """Open a file or an address, and wait until it is loaded."""
        self.send("Page.navigate", url=page.as_uri() if isinstance(page, Path) else page)
        self.wait_for("document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip

    def use(self, *, scheme: str = "light", media: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        end = time.monotonic() + SECONDS
        while not self.run(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.05)

    def accessibility_faults(self) -> list[str]:
        """Return what axe-core calls a fault of this page as it is now, by rule and element."""
        self.run(files("axe_playwright_python").joinpath("axe.min.js").read_text() + "; 0")
        self.run(
            "axeFound = undefined; axe.run().then((found) => { axeFound = found.violations; }); 0"
        )
        self.wait_for("axeFound !== undefined")
        faults: list[str] = self.run(
            "axeFound.flatMap((rule) => rule.nodes.map((one) => `${rule.id}: ${one.html}`))"
        )
        return faults

    def box(self, selector: str) -> dict[str, float]:
        """Return the box of an element in the window, which is scrolled to it."""
        name = json.dumps(selector)
        self.run(f"document.querySelector({name}).scrollIntoView({{block: 'center'}})")
        box: dict[str, float] = self.run(
            f"document.querySelector({name}).getBoundingClientRect().toJSON()"
        )
        return box

    def click(self, selector: str) -> None:
        box = self.box(selector)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.drag((x, y), (x, y))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self._mouse("mouseMoved", *start)
        self._mouse("mousePressed", *start)
        if end != start:
            self._mouse("mouseMoved", (start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
            self._mouse("mouseMoved", *end)
        self._mouse("mouseReleased", *end)

    def _mouse(self, kind: str, x: float, y: float) -> None:
        buttons = 0 if kind == "mouseMoved" else 1
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left",
                  buttons=buttons, clickCount=1)  # fmt: skip

    def press(self, key: str) -> None:
        text = {"text": {"Enter": "\r"}.get(key, key)} if len(key) == 1 or key == "Enter" else {}
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}
        code = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        options: dict[str, Any] = {"captureBeyondViewport": whole}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {
                "x": 0,
                "y": 0,
                "scale": 1,
                **{k: size[k] for k in ("width", "height")},
            }
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", **options)["data"]))

    def pdf(self, path: Path) -> None:
        path.write_bytes(
            base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])
        )


@contextmanager
def browser_page(
    program: str, profile: Path, *, width: int = 1280, height: int = 900
) -> Iterator[BrowserPage]:
    """Start a browser and yield an empty page; at the end the browser is closed."""
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    process = subprocess.Popen(
        [
            *(sys.executable, "-S", "-c", START, f"{command_read}", f"{answer_write}", program),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--remote-debugging-pipe"),
            *("--hide-scrollbars", f"--user-data-dir={profile}", f"--blink-settings={MOUSE}"),
        ],
        pass_fds=(command_read, answer_write),
        stderr=subprocess.DEVNULL,
    )
    os.close(command_read)
    os.close(answer_write)
    page = BrowserPage(command_write, answer_read)
    try:
        page.start(width, height)
        yield page
    finally:
        process.kill()
        process.wait()
        os.close(command_write)
        os.close(answer_read)
