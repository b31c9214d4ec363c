"""Groups of images that share a split, such as photographs of one workpiece."""

import re
from collections.abc import Mapping

from defectkit.errors import DatasetError

GROUP_COLUMN = "group"


def assign_groups(
    columns: Mapping[str, Mapping[str, str]], group_by: str | None
) -> tuple[dict[str, str], int]:
    """Return the group of each image, and the number of images that have none and stand alone.

    Args:
        columns: by image id, the cells of ``--meta`` and of the label table's extra columns.
        group_by: a column, or a regular expression that is searched for in the image id, whose
            first group (or whole match) names the group. Without it, the column ``group`` counts
            where there is one; otherwise every image is its own group, and none counts as without.

    Raises:
        DatasetError: ``group_by`` is neither a column nor a pattern that matches an image id.
    """
    known = {column for cells in columns.values() for column in cells}
    column = group_by or GROUP_COLUMN
    if column in known:
        found = {image_id: cells.get(column, "").strip() for image_id, cells in columns.items()}
    elif group_by is None:
        return {image_id: image_id for image_id in columns}, 0
    else:
        found = _match_pattern(columns, group_by, known)
    taken = {*found.values()}
    groups = dict(found)
    for image_id, group in found.items():
        if not group:
            # An image id may read like a group's name; the two must stay apart.
            name = image_id
            while name in taken:
                name += "_"
            taken.add(name)
            groups[image_id] = name
    return groups, sum(not group for group in found.values())


def _match_pattern(
    columns: Mapping[str, Mapping[str, str]], pattern: str, known: set[str]
) -> dict[str, str]:
    known_text = f"The columns are: {', '.join(sorted(known)) or 'none'}."
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise DatasetError(
            f"--group-by {pattern} is neither a column nor a regular expression ({error}). "
            f"{known_text}"
        ) from error
    matches = {image_id: search(image_id) for image_id in columns}
    if not any(matches.values()):
        raise DatasetError(
            f"--group-by {pattern} is not a column, and as a pattern it matches no image id. "
            f"{known_text}"
        )
    return {
        image_id: (match[1 if match.re.groups else 0] or "") if match else ""
        for image_id, match in matches.items()
    }
