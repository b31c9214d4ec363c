"""Compare the approaches on the demo's dataset, for the page "Choose an approach".

    python docs/compare_approaches.py    # after "make demo"; about ten minutes, with nothing beside

Three runs are trained one after the other for as long as the demo's. What ``defectkit compare``
prints goes into the page, the top of its picture beside it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from generate_pages import with_blocks
from PIL import Image

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "how-to" / "choose-approach.md"
PICTURE = DOCS / "comparison.png"
FOLDER = Path("demo/approaches")
DATA = "demo/dataset"
SIZE = (640, 1160)
"""Of the picture: seven images of all, since a page has not more room."""
WIDTH = "88"


def main() -> None:
    """Train, compare, and write the block and the picture."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    runs = []
    for approach in ("box", "patch", "segment"):
        runs.append(str(FOLDER / f"{approach}-1"))
        options = ("--approach", approach, "--data", DATA, "--out", runs[-1])
        defectkit("train", *options, "--max-time", "150s")
    table = defectkit("compare", *runs, "--out", str(FOLDER / "comparison"))
    text = with_blocks(PAGE, {"comparison": f"```text\n{table}\n```"})
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    with Image.open(FOLDER / "comparison" / "comparison.png") as picture:
        picture.thumbnail((SIZE[0], sys.maxsize), Image.Resampling.LANCZOS)
        picture.crop((0, 0, picture.width, min(picture.height, SIZE[1]))).save(PICTURE)


def defectkit(*words: str) -> str:
    """Run a command and return what it prints on standard output."""
    environment = {**os.environ, "COLUMNS": WIDTH}
    command = [sys.executable, "-m", "defectkit.cli", *words]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)  # noqa: S603
    return "\n".join(line.rstrip() for line in ended.stdout.splitlines())


if __name__ == "__main__":
    main()
