"""Which image a label file is about: the one that it names inside, or the one it is called as.

Copied label files keep the name of the first image inside, and images are renamed with their label
files: the name inside may be missing, stale or that of another image. Two label files never get one
image.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from defectkit.errors import ImageError
from defectkit.labels.table import LabelTable
from defectkit.preparation.image_folder import FoundImage, ImageFolder


@dataclass(frozen=True, slots=True)
class Search:
    """The search for an image.

    Attributes:
        image: the image; None where there is none, or it cannot be told.
        how: how its name differs from what is written, "" where it does not.
        problem: why there is none.
    """

    image: FoundImage | None = None
    how: str = ""
    problem: str = ""


def find_image(folder: ImageFolder, image_id: str) -> Search:
    """Look for the image that ``image_id`` names."""
    try:
        image = folder.find(image_id)
    except ImageError as error:
        return Search(problem=str(error))
    return Search(image, image.how)


def settle_label_files(table: LabelTable, folder: ImageFolder) -> dict[str, Search]:
    """Find the images of the label files of ``table`` that are about one image, by file.

    The image that a file names inside counts, unless another label file has the name of that image
    or several name it: then, and where there is no such image, the one that it is called as.
    """
    inside = dict(table.empty_files)
    inside |= {row.label_file: row.image_id for row in table.refused}
    inside |= {row.label_file: row.image_id for row in table.rows}
    inside.pop("", None)  # Rows of a source that is about many images.
    named = {file: find_image(folder, image_id) for file, image_id in inside.items()}
    own = {file: find_image(folder, file) for file in inside}
    images = {file: search.image.name for file, search in named.items() if search.image}
    sure = {
        file
        for file, image in images.items()
        if (own_image := own[file].image) and own_image.name == image
    }
    claims = Counter(images.values())
    claims.update(images[file] for file in sure)  # One more: better than any other.
    settled = {}
    for file, search in named.items():
        called = own[file]
        if called.image is None or file in sure:
            settled[file] = search
        elif search.image is None or claims[search.image.name] > 1:
            how = f"by the name of the label file; inside it names {inside[file]!r}"
            settled[file] = Search(called.image, how)
        else:
            settled[file] = Search(
                problem=f"the label file has the name of {called.image.name} but names "
                f"{search.image.name} inside, and both images exist: correct the wrong name"
            )
    return _refuse_double_claims(settled, sure)


def _refuse_double_claims(
    settled: Mapping[str, Search], sure: Collection[str]
) -> dict[str, Search]:
    """Leave each image to one label file: the one whose two names agree, otherwise to none."""
    claiming: dict[str, list[str]] = {}
    for file, search in settled.items():
        if search.image:
            claiming.setdefault(search.image.name, []).append(file)
    left = dict(settled)
    for image, files in claiming.items():
        winners = [file for file in files if file in sure]
        for file in files if len(files) > 1 else ():
            if winners != [file]:
                other = next(one for one in (*winners, *files) if one != file)
                left[file] = Search(
                    problem=f"the label files {file} and {other} are about one image, {image}"
                )
    return left
