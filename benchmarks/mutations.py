"""The protections that the scorecard takes out, one at a time, to see its checks fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """In ``file``, ``old`` (which stands there once) becomes ``new``.

    ``removes`` says what that takes away; ``test``, if given, which of the check's tests must fail
    (as for pytest's ``-k``).
    """

    check: int
    removes: str
    file: str
    old: str
    new: str
    test: str = ""


RLE = "defectkit/labels/rle.py"
IMAGES = "defectkit/data/images.py"

MUTATIONS = (
    Mutation(
        18,
        "the order of pixels",
        RLE,
        'flat.reshape(height, width) if order == "row" else flat.reshape(width, height).T',
        "flat.reshape(height, width)",
    ),
    Mutation(
        10,
        "the refusal of files that lack pixels",
        IMAGES,
        "ImageFile.LOAD_TRUNCATED_IMAGES = False",
        "ImageFile.LOAD_TRUNCATED_IMAGES = True",
    ),
    Mutation(
        25,
        "the errors of broken chunks and tags",
        IMAGES,
        "except (OSError, SyntaxError, ValueError, TypeError, OverflowError) as error:",
        "except OSError as error:",
    ),
    Mutation(26, "the limit on pixels", IMAGES, "MAX_PIXELS = 2**28", "MAX_PIXELS = 2**62"),
    Mutation(
        27,
        "the turn that EXIF asks for",
        IMAGES,
        "image = ImageOps.exif_transpose(opened)",
        "image = opened",
        "masks_lie_on_what_a_viewer_shows",
    ),
    Mutation(
        27,
        "the scale of 16-bit images",
        IMAGES,
        "((wide + 128) // 257).astype(np.uint8)",
        "(wide & 255).astype(np.uint8)",
        "test_golden_pixels",
    ),
)
