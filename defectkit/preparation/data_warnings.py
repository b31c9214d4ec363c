"""What the user should know about the images and labels of a dataset, apart from its splits."""

from collections import Counter
from collections.abc import Sequence

from defectkit.object_stores import FilePath
from defectkit.preparation.facts_table import Facts
from defectkit.preparation.grouping import Grouping
from defectkit.preparation.leaks.find import LeakSearch
from defectkit.preparation.leaks.pairs import is_strong
from defectkit.preparation.matching import Matching
from defectkit.vocabulary import LabelKind

MIN_PATTERN_PAIRS = 0.01
"""Number of pairs that agree in a pattern alone, per image, above which images show a pattern."""
MAX_NAMES = 3
"""Max. number of images that a warning names."""


def collect_warnings(
    matching: Matching, facts: Sequence[Facts], grouping: Grouping, *, use_unlisted: bool
) -> list[str]:
    """Return the warnings about labels, files and groups, each a sentence without its period."""
    return [
        *matching.table.notes,
        *_warn_about_boxes(matching.table.kind),
        *_warn_about_files(matching, facts, use_unlisted=use_unlisted),
        *_warn_about_scopes(facts),
        *_warn_about_groups(grouping),
    ]


def _warn_about_boxes(kind: LabelKind) -> list[str]:
    """Warn of what labels that only box defects cannot be used for."""
    if kind == "masks":
        return []
    return [
        "the labels are boxes: they can be used with --approach box only, masks are filled "
        "rectangles, and boxes of one class that touch count as one"
    ]


def _warn_about_files(
    matching: Matching, facts: Sequence[Facts], *, use_unlisted: bool
) -> list[str]:
    """Warn of images that nothing lists, that are missing, or that cannot be read."""
    warnings = [
        *_warn_about_names(matching),
        *_warn_about_unlisted(matching, use_unlisted=use_unlisted),
    ]
    if matching.missing:
        names = _first_names(list(matching.missing))
        warnings.append(
            f"{len(matching.missing)} images that are listed as good have no file: {names}"
        )
    unread = [
        image.problem for image in facts if image.problem and not (image.ledger or image.left_out)
    ]
    if unread:
        warnings.append(f"{len(unread)} images without rows cannot be read: {_first_names(unread)}")
    return warnings


def _warn_about_names(matching: Matching) -> list[str]:
    """Say how many images are called otherwise than in the labels."""
    found = {how: count for how, count in matching.found_otherwise.items() if how and count}
    if not found:
        return []
    hows = ", ".join(f"{how}: {count}" for how, count in found.items())
    return [
        f"{sum(found.values())} images were found under another name than that in the labels "
        f"({hows}); ledger.csv says it for each row"
    ]


def warn_about_withheld(matching: Matching) -> list[str]:
    """Say why no unlisted image counts as good although that was asked for."""
    if not (matching.withheld and matching.unlisted.images):
        return []
    return [
        f"{_describe_unlisted(matching)} and none counts as good, since {len(matching.lost)} "
        f"labeled images have no file and may be among them ({_first_names(matching.lost)}): "
        "correct their names, or delete their rows"
    ]


def _warn_about_unlisted(matching: Matching, *, use_unlisted: bool) -> list[str]:
    """Warn of images that nothing lists."""
    unlisted, root = matching.unlisted, matching.folder.root
    warnings = warn_about_withheld(matching)
    if unlisted.images and not warnings:
        consequence = (
            "and count as good (--unlisted good)"
            if use_unlisted
            else "and are not used. If they are good, list them in --meta or give --unlisted good"
        )
        warnings.append(f"{_describe_unlisted(matching)} {consequence}")
    if matching.doubted:
        warnings.append(
            f"{len(matching.doubted)} images without labels ({_first_names(matching.doubted)}) do "
            "not count as good, since labeled images that have no file may be these "
            f"({_first_names(matching.lost)})"
        )
    if unlisted.doubtful:
        warnings.append(
            f"{len(unlisted.doubtful)} files beside images have the names of their masks or copies "
            f"({_first_names(_relative(unlisted.doubtful, root))}) and are not used"
        )
    if unlisted.defective:
        warnings.append(
            f"{len(unlisted.defective)} images that are not listed lie in folders of defective "
            f"images ({_first_names(_relative(unlisted.defective, root))}) and are not used: label "
            "them, or list them in --meta if they are good"
        )
    warnings += [
        f"{folder} lies beside the image folder and seems to have good images: --unlisted good "
        f"with --images {folder.parent} takes them"
        for folder in unlisted.beside
    ]
    return warnings


def _describe_unlisted(matching: Matching) -> str:
    images = matching.unlisted.images
    names = _first_names(_relative(images, matching.folder.root))
    return f"{len(images)} images in the folder are not listed ({names})"


def _relative(paths: Sequence[FilePath], folder: FilePath) -> list[str]:
    return [path.relative_to(str(folder)).as_posix() for path in paths]


def _warn_about_scopes(facts: Sequence[Facts]) -> list[str]:
    """Warn of labels with pixels that do not count."""
    usable = [image for image in facts if not image.problem]
    warnings = []
    if cut := sum(image.cut_rows for image in usable):
        warnings.append(
            f"{cut} rows have pixels that are ignored or outside of the region to inspect; "
            "these pixels are left out (ledger.csv)"
        )
    if lost := sum(image.lost_rows for image in usable):
        warnings.append(f"of {lost} of these rows no defect is left")
    emptied = [
        image.image_id for image in usable if (image.lost_rows or image.ignored) and not image.rles
    ]
    if emptied:
        warnings.append(
            f"{len(emptied)} images have no defect pixels that count, and count as good: "
            f"{_first_names(emptied)}"
        )
    if len({bool(image.roi) for image in usable}) > 1:
        whole = [image.image_id for image in usable if not image.roi]
        warnings.append(
            f"{len(whole)} images have no region to inspect of their own and are inspected whole: "
            f"{_first_names(whole)}"
        )
    return warnings


def _warn_about_groups(grouping: Grouping) -> list[str]:
    """Warn of images without a group, and of images that show the same thing.

    Pairs that the user put in one group are not reported again.
    """
    count = grouping.n_without_group
    who = _count_of(count, "image has", "images have")
    warnings = [f"{who} no group; each is a group of its own"] if count else []
    if proposal := grouping.proposal:
        warnings.append(
            f"the names of images look like several of each of {proposal.n_groups} workpieces "
            f"({' and '.join(proposal.example)}): if so, keep those of one in one split with "
            f"--group-by '{proposal.expression}'"
        )
    named = grouping.named
    kinds = Counter(
        leak.kind for leak in grouping.leaks if named[leak.image_id_a] != named[leak.image_id_b]
    )
    counts = (
        (kinds["exact"], "image is a copy of another", "images are copies of another"),
        (
            kinds["near"],
            "pair of images shows the same thing in different files",
            "pairs of images show the same thing in different files",
        ),
        (kinds["overlap"], "pair of images overlaps", "pairs of images overlap"),
    )
    across = [leak for leak in grouping.leaks if not leak.joined]
    kept = "leaks.csv names them" if across else "both are in one split (leaks.csv)"
    warnings += [f"{_count_of(count, one, many)}; {kept}" for count, one, many in counts if count]
    if across:
        weak = sum(not is_strong(leak) for leak in across)
        alike = f"; {weak} of them are similar rather than identical" if weak else ""
        warnings.append(
            f"{len(across)} of these pairs are in different splits{alike}: look at "
            "preview/leaks.png, and if they show the same thing, give both the same split"
        )
    warnings += _warn_about_the_search(grouping.search, len(grouping.named))
    if differing := grouping.contradictions:
        pairs = _first_names([f"{leak.image_id_a} and {leak.image_id_b}" for leak in differing])
        warnings.append(f"{len(differing)} pairs of copies have different masks: {pairs}")
    return warnings


def _warn_about_the_search(search: LeakSearch, n_images: int) -> list[str]:
    """Say what the search for copies left out, and where it can tell nothing."""
    warnings = []
    if search.n_sharing_a_part:
        warnings.append(
            f"{search.n_sharing_a_part} images show nearly the same part in nearly the same place: "
            "they were compared by what remains without the shared part, such as grain and dirt"
        )
    if search.n_pattern_pairs > MIN_PATTERN_PAIRS * n_images:
        warnings.append(
            f"{search.n_pattern_pairs} pairs agree in a regular pattern alone, such as a weave, "
            "and do not count as copies"
        )
    if search.blank:
        warnings.append(
            f"{_count_of(len(search.blank), 'image has', 'images have')} too little detail (blank, "
            f"saturated or small: "
            f"{_first_names(search.blank)}); copies of them are found only if the files are equal"
        )
    return warnings


def _count_of(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _first_names(names: Sequence[str]) -> str:
    return ", ".join([*names[:MAX_NAMES], *(["…"] if len(names) > MAX_NAMES else [])])
