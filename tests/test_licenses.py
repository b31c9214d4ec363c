"""What an installation brings may be used in a factory: no copyleft, nothing non-commercial."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = re.compile(r"\b(A?GPL|LGPL|SSPL|non-?commercial|CC-BY-NC)|affero|general public", re.I)
VENDORS = re.compile(r"^(nvidia-|cuda-)")
"""What torch brings for NVIDIA's GPUs is under their own terms, which allow use and redistribution
with an application; wheels of torch for the CPU do not bring it."""

# What all extras bring is listed.
needs_all_extras = pytest.mark.needs("ray", "s3fs")


@pytest.fixture(scope="module")
def licenses():
    spec = importlib.util.spec_from_file_location("licenses", ROOT / "docs/write_licenses.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_all_extras
def test_every_package_states_a_license_that_a_factory_can_accept(licenses):
    packages = licenses.all_packages()
    assert len(packages) > 40
    stated = {one.metadata["Name"].lower(): licenses.license_of(one) for one in packages}
    unknown = {name for name, text in stated.items() if not text and not VENDORS.match(name)}
    assert not unknown
    assert not {name: text for name, text in stated.items() if FORBIDDEN.search(text)}


@pytest.mark.parametrize(
    "text",
    ["AGPL-3.0", "GPLv3", "GNU Affero General Public License v3", "CC-BY-NC-4.0", "LGPL-2.1"],
)
def test_other_licenses_would_be_refused(text):
    assert FORBIDDEN.search(text)


@needs_all_extras
def test_the_page_lists_what_is_needed(licenses):
    # Other versions of a package may state the same license in other words.
    def without_license(rows):
        return [(row.split(" | ")[0], row.split(" | ")[-1]) for row in rows]

    page = licenses.PAGE.read_text(encoding="utf-8")
    assert page.startswith(licenses.HEAD)
    listed = page[len(licenses.HEAD) :].splitlines(keepends=True)
    assert without_license(listed) == without_license(licenses.rows())
