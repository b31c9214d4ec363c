"""The README says what the code does."""

import re
from pathlib import Path

from defectkit.config import reference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _section(name):
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", README, flags=re.DOTALL)
    assert found, f"README.md has no section '{name}'"
    return found[1].strip()


def test_settings_are_those_of_the_models():
    assert _section("configs reference") == reference().strip(), (
        "paste what 'defectkit configs reference' prints into README.md"
    )


def test_every_linked_file_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).is_file(), target


def test_every_named_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)`?", README)) - {"and"} <= targets
