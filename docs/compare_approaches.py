"""Compare the approaches on the demo's dataset, for the page "Choose an approach".

    python docs/compare_approaches.py    # after "make demo"; about ten minutes, with nothing beside

Three runs are trained one after the other for as long as the demo's. What ``defectkit compare``
prints goes into the page, the top of its picture beside it.
"""

import argparse
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
SIZE = (640, 1062)
"""Of the picture: six images of all, since a page has not more room."""
WIDTH = "88"


def main() -> None:
    """Train, compare, and write the block and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compare-only", action="store_true", help="the runs that are there")
    runs = {approach: str(FOLDER / f"{approach}-1") for approach in ("box", "patch", "segment")}
    if not parser.parse_args().compare_only:
        shutil.rmtree(FOLDER, ignore_errors=True)
        for approach, run in runs.items():
            options = ("--approach", approach, "--data", DATA, "--out", run, "--max-time", "150s")
            defectkit("train", *options)
            defectkit("evaluate", run)
    told = defectkit("compare", *runs.values(), "--out", str(FOLDER / "comparison"))
    table = told.partition("\nbold: ")[0].rstrip()
    text = with_blocks(PAGE, {"comparison": f"```text\n{table}\n```"})
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    with Image.open(FOLDER / "comparison" / "comparison.png") as picture:
        picture.thumbnail((SIZE[0], sys.maxsize), Image.Resampling.LANCZOS)
        picture.crop((0, 0, picture.width, min(picture.height, SIZE[1]))).save(PICTURE)


def defectkit(*words: str) -> str:
    """Run a command and return what it tells."""
    environment = {**os.environ, "COLUMNS": WIDTH}
    command = [sys.executable, "-m", "defectkit.cli", *words]
    ended = subprocess.run(  # noqa: S603
        command, stderr=subprocess.PIPE, text=True, check=True, env=environment
    )
    return "\n".join(line.rstrip() for line in ended.stderr.splitlines())


if __name__ == "__main__":
    main()
