"""What an offline installation is made of: hashes that pip checks, and a list of what is in it.

    python -m pip wheel . --wheel-dir wheelhouse
    python benchmarks/wheelhouse.py wheelhouse

reads every wheel in the folder and writes beside them ``requirements.txt``, each with its version
and SHA-256, and ``sbom.json``, the same as CycloneDX 1.5 with the licenses that the wheels name.
Then, on a machine without a network,

    pip install --no-index -f wheelhouse --require-hashes -r wheelhouse/requirements.txt

installs exactly these files; a wheel that was changed is refused.
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
    """One wheel: its normalized name, version, SHA-256, and the license it names, if any."""

    name: str
    version: str
    sha256: str
    license: str

    @property
    def requirement(self) -> str:
        """The line that lets pip install this very file and no other."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def component(self) -> dict[str, object]:
        """The entry of a CycloneDX list."""
        return {
            "type": "library",
            "name": self.name,
            "version": self.version,
            "purl": f"pkg:pypi/{quote(self.name)}@{quote(self.version)}",
            "hashes": [{"alg": "SHA-256", "content": self.sha256}],
            **({"licenses": [{"license": {"name": self.license}}]} if self.license else {}),
        }


def main() -> None:
    """Write the two files of a folder of wheels."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the wheels are")
    folder = parser.parse_args().folder
    wheels = [read_wheel(path) for path in sorted(folder.glob("*.whl"))]
    if not wheels:
        parser.error(f"there is no wheel in {folder}")
    write_text(folder / "requirements.txt", "".join(f"{one.requirement}\n" for one in wheels))
    components = [one.component for one in wheels]
    head = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}
    write_json(folder / "sbom.json", {**head, "components": components})
    print(f"{len(wheels)} wheels: {folder / 'requirements.txt'}, {folder / 'sbom.json'}")


def read_wheel(path: Path) -> Wheel:
    """Return what a wheel's name and metadata say of it."""
    name, version, _, _ = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        names = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(names[0]))
    said = metadata["License-Expression"] or metadata["License"] or ""
    return Wheel(canonicalize_name(name), str(version), sha256_file(path), said.partition("\n")[0])


if __name__ == "__main__":
    main()
