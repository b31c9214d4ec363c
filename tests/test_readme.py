"""The README and the page of the settings say what the code does; see ``test_docs.py``."""

import re

import pytest
from doc_pages import PAGES, ROOT, section

from defectkit.config import reference

README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
MAX_LINES = 150
"""Three screens of 50 lines."""


def test_settings_are_those_of_the_models():
    assert section(SETTINGS, "configs reference") == reference().strip(), (
        "run python docs/generate_pages.py"
    )


def test_every_linked_file_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).is_file(), target


def test_it_is_short_and_loads_nothing():
    assert len(README.splitlines()) <= MAX_LINES
    assert "http" not in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_named_make_target_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, flags=re.MULTILINE))
    if page.name == "README.md":
        named = set(re.findall(r"make ([a-z-]+)", text)) - {"and"}
        assert len(named) > 2
    assert named <= targets


def test_the_two_commands_stand_first():
    assert README.index("```bash\nmake demo\nmake test\n```") < README.index("defectkit prepare")


def test_badges_say_what_the_project_is():
    badges = dict(re.findall(r"!\[([^]]+)\]\(docs/badges/(\w+)\.svg\)", README))
    assert len(badges) == 4
    for text, name in badges.items():
        drawn = re.findall(r">([^<>]+)</text>", (ROOT / f"docs/badges/{name}.svg").read_text())
        words = re.sub(r"\W+", " ", " ".join(drawn)).lower().replace("types", "")
        assert re.sub(r"\W+", " ", text).lower().removeprefix("types ") in words, text
