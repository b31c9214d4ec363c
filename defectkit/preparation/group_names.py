"""Names of images that say which of them show one workpiece, such as PART_0001_view2."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

VIEW = r"(?:views?|cam(?:era)?|pos(?:ition)?|side|light|channel|angle)"
EXPRESSIONS = (
    r"^(.+?)[._-][A-Za-z0-9]+\.rf\.[0-9a-fA-F]+",  # Roboflow's versions of one image
    rf"(?:^|/){VIEW}[_-]?\d*[_-]([^/]+?)(?:\.[^./]*)?$",  # cam1_0001, cam2_0001
    r"^(.+)[_-][^_/-]+[_-][^_/-]+$",  # 0001_r0_c1
    r"^(.+)[_-][^_/-]+$",  # 0001_view2, 20240312_A1
    r"^(.*\d)[A-Za-z](?:\.[^./]*)?$",  # 0001a
    r"^(.+)/[^/]+$",  # part0001/2
)
"""How a group is read from an image id, as ``--group-by`` takes it; the first that fits counts."""
ROBOFLOW = EXPRESSIONS[0]
MIN_GROUPS = 3
MIN_SHARE_IN_GROUPS = 0.8
"""Min. share of images that have others in their group."""
MIN_SHARE_OF_ROBOFLOW = 0.2
MAX_GROUP_SHARE = 0.34
"""Max. share of all images in one group; more are in a class, a lot or a folder of good images."""
MIN_REPEATS = 0.3
"""Min. mean number of groups that have an image of a name, as a share of all groups: the views of
parts repeat, running numbers do not."""


@dataclass(frozen=True, slots=True)
class GroupProposal:
    """An ``expression`` for ``--group-by``, the number of groups it gives, and two of one group."""

    expression: str
    n_groups: int
    example: tuple[str, str]


def propose_groups(image_ids: Sequence[str]) -> GroupProposal | None:
    """Return how the names of images group them, or None where they seem to be just numbers.

    >>> propose_groups([f"PART_{n:04}_view{k}.png" for n in range(5) for k in (1, 2)])
    GroupProposal(expression='^(.+)[_-][^_/-]+$', n_groups=5, example=('PART_0000_view1.png', \
'PART_0000_view2.png'))
    >>> propose_groups([f"img_{n:04}.png" for n in range(10)])
    """
    for expression in EXPRESSIONS:
        groups: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for image_id in image_ids:
            if match := re.search(expression, image_id):
                rest = f"{image_id[: match.start(1)]}*{image_id[match.end(1) :]}"
                groups[match[1]].append((rest, image_id))
        if _is_plausible(groups, len(image_ids), roboflow=expression == ROBOFLOW):
            members = max(groups.values(), key=len)
            return GroupProposal(expression, len(groups), (members[0][1], members[1][1]))
    return None


def _is_plausible(
    groups: Mapping[str, Sequence[tuple[str, str]]], n_images: int, *, roboflow: bool
) -> bool:
    """Return whether ``groups``, of the rest of each name and the id, seem to be of workpieces."""
    sizes = [len(members) for members in groups.values()]
    together = sum(size for size in sizes if size > 1)
    if roboflow:
        return together > 0 and together >= MIN_SHARE_OF_ROBOFLOW * n_images
    if len(groups) < MIN_GROUPS or together < MIN_SHARE_IN_GROUPS * n_images:
        return False
    if max(sizes) > MAX_GROUP_SHARE * n_images or len(groups) < median(sizes):
        return False
    rests = Counter(rest for members in groups.values() for rest, _ in members)
    return sum(sizes) / len(rests) >= max(2, MIN_REPEATS * len(groups))
