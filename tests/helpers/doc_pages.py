"""The pages of the documentation as tests read them: their links, headings and blocks of code."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    ]
)
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the number of its first line."""

    page: Path
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        body = "".join(line.removeprefix(match[1]) for line in match[3].splitlines(keepends=True))
        found.append(Block(page, match[2], body, text.count("\n", 0, match.start()) + 1))
    return found


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def section(page: Path, name: str) -> str:
    """Return what stands between ``<!-- name -->`` and ``<!-- end -->`` of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, flags=re.DOTALL)
    assert found, f"{page} has no section '{name}'"
    return found[1].strip()


def anchors(page: Path) -> set[str]:
    """Return the names by which links reach the headings of a page."""
    titles = re.findall(r"^#+ +(.+?) *$", prose(page), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).lower()).replace(" ", "-")
        for title in titles
    }


def links(page: Path) -> list[str]:
    """Return the addresses of the links and pictures of a page."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def dead_links(page: Path) -> list[str]:
    """Return the links within the repository that lead nowhere."""
    dead = []
    for address in links(page):
        if address.startswith(("http://", "https://")):
            continue
        path, _, place = address.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (place and place not in anchors(target)):
            dead.append(address)
    return dead


def commands(block: Block) -> list[str]:
    """Return the calls of ``defectkit`` in a block of shell, without what follows in comments."""
    text = re.sub(r"\\\n", " ", block.text)
    found = re.findall(r"(?:^|[;&|]|\bdo\b|/)\s*(defectkit\b[^;&|\n]*)", text, flags=re.MULTILINE)
    return [re.sub(r"(^|\s)#.*", "", one).strip() for one in found]
