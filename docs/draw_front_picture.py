"""Draw the picture of the README from a run: its training, an overlay, its report.

    python docs/draw_front_picture.py    # after "make demo"; needs a browser

It plays once, in less than five seconds, and ends with the report, so that nothing moves beside the
text that is read. The overlay and the first screen of the report are pictures of the tutorial.
"""

import csv
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

from defectkit.reporting.drawing.lettering import choose_font

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

RUN = Path("demo/run")
EVALUATION = RUN / "evaluation" / "test"
OUT = ROOT / "docs" / "front.webp"
OVERLAY, REPORT = ROOT / "docs" / "overlay.png", ROOT / "docs" / "report.png"
SIZE = (920, 590)
STRIP = 44
"""Height of the strip with the command, in pixels."""
INK, PAPER = "#ffffff", "#14202b"
WINDOW = (1150, 684)
"""The window in which the report is opened; it is shown smaller."""
QUALITY = 85
"""Of 100; a GIF has too few colors for the pictures and their legend together."""


def main() -> None:
    """Write the pictures."""
    shutil.copyfile(chosen_overlay(), OVERLAY)
    (first, *others), times = zip(*scenes(), strict=True)
    first.save(
        OUT, save_all=True, append_images=others, duration=list(times), loop=1, quality=QUALITY
    )


def scenes() -> Iterator[tuple[Image.Image, int]]:
    """Yield each frame, and for how many milliseconds it is shown."""
    with Image.open(RUN / "progress.gif") as progress:
        for index in range(progress.n_frames):
            progress.seek(index)
            picture = progress.convert("RGB")
            yield scene("defectkit train --approach segment --max-time 150s", picture), 500
    yield scene("defectkit evaluate runs/segment-1", Image.open(chosen_overlay())), 1400
    for place in ("top", "images"):
        screen = report(EVALUATION / "report.html", place)
        if place == "top":
            screen.save(REPORT)
        yield scene("defectkit evaluate runs/segment-1 --open", screen), 1500


def chosen_overlay() -> Path:
    """Return the first overlay of a defect that was found as a region."""
    with (EVALUATION / "regions.csv").open(newline="", encoding="utf-8") as file:
        found = min(row["image_id"] for row in csv.DictReader(file) if row["found"] == "yes")
    (overlay,) = (EVALUATION / "overlays").glob(f"*-hit-{found}.png")
    return overlay


def scene(command: str, picture: Image.Image) -> Image.Image:
    """Return a picture under the command that made it."""
    canvas = Image.new("RGB", SIZE, PAPER)
    room = (SIZE[0], SIZE[1] - STRIP)
    small = picture.convert("RGB")
    small.thumbnail(room, Image.Resampling.LANCZOS)
    left, top = (room[0] - small.width) // 2, STRIP + (room[1] - small.height) // 2
    canvas.paste(small, (left, top))
    font = choose_font(command, 19)
    ImageDraw.Draw(canvas).text((16, 11), f"$ {command}", fill=INK, font=font)
    return canvas


def report(path: Path, place: str) -> Image.Image:
    """Return a place of a report, as a browser shows it."""
    from browser_page import browser_page, find_browser

    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "report.png"
        width, height = WINDOW
        with browser_page(find_browser(), Path(folder), width=width, height=height) as page:
            page.open(f"{path.resolve().as_uri()}#{place}")
            page.screenshot(picture)
        return Image.open(picture).copy()


if __name__ == "__main__":
    main()
