"""Write ``schemas/NAME.schema.json``: JSON Schemas of the files that other programs may read.

python docs/write_schemas.py
"""

import json
from collections.abc import Iterator
from pathlib import Path

from defectkit.reporting.written_files import WRITTEN_FILES

FOLDER = Path(__file__).parent / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas():
        (FOLDER / f"{name}.schema.json").write_text(text, encoding="utf-8")


def schemas() -> Iterator[tuple[str, str]]:
    """Yield the name of each file, without ``.json``, and the text of its schema."""
    for name, model in WRITTEN_FILES.items():
        schema = {"$schema": DIALECT, **model.model_json_schema()}
        schema["title"] = f"{name}.json"
        yield name, json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
