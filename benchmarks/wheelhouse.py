"""The hashes of a folder of wheels, for an offline installation, and its bill of materials.

    python -m pip wheel '.[train]' --wheel-dir wheelhouse
    python benchmarks/wheelhouse.py wheelhouse

reads all wheels in the folder and writes into it ``requirements.txt``, with the version and the
SHA-256 of each wheel, and ``sbom.json``, the same in CycloneDX 1.5 with the licenses that the
wheels state. Then, on a machine without a network,

    pip install --no-index -f wheelhouse --require-hashes -r wheelhouse/requirements.txt

installs exactly these files; a changed wheel is refused.
"""

import argparse
import email
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from packaging.utils import canonicalize_name, parse_wheel_filename

from defectkit.files import sha256_file, write_json, write_text


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel: normalized name, version, SHA-256, and license (empty if it states none)."""

    name: str
    version: str
    sha256: str
    license: str

    @property
    def requirement(self) -> str:
        """The line of ``requirements.txt`` that lets pip install this file and no other."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def component(self) -> dict[str, object]:
        """The component in a CycloneDX list."""
        return {
            "type": "library",
            "name": self.name,
            "version": self.version,
            "purl": f"pkg:pypi/{quote(self.name)}@{quote(self.version)}",
            "hashes": [{"alg": "SHA-256", "content": self.sha256}],
            **({"licenses": [{"license": {"name": self.license}}]} if self.license else {}),
        }


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with the wheels")
    folder = parser.parse_args().folder
    wheels = [read_wheel(path) for path in sorted(folder.glob("*.whl"))]
    if not wheels:
        parser.error(f"there are no wheels in {folder}")
    write_text(folder / "requirements.txt", "".join(f"{one.requirement}\n" for one in wheels))
    components = [one.component for one in wheels]
    head = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    write_json(folder / "sbom.json", {**head, "components": components})
    print(f"{len(wheels)} wheels: {folder / 'requirements.txt'}, {folder / 'sbom.json'}")


def read_wheel(path: Path) -> Wheel:
    """Read a wheel's name, version and license from its file name and metadata."""
    name, version, _, _ = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        names = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(names[0]))
    license_text = metadata["License-Expression"] or metadata["License"] or ""
    return Wheel(
        canonicalize_name(name), str(version), sha256_file(path), license_text.partition("\n")[0]
    )


if __name__ == "__main__":
    main()
