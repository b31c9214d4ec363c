"""All pairs of images of a dataset that show the same thing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from defectkit.arrays import Image
from defectkit.data.images import read_image
from defectkit.data.pixel_format import PixelFormat
from defectkit.object_stores import FilePath
from defectkit.preparation.facts_table import Facts
from defectkit.preparation.leaks.alignment import Alignment, align
from defectkit.preparation.leaks.candidates import (
    Candidate,
    HasKeypoints,
    find_candidates,
    keep_strongest,
)
from defectkit.preparation.leaks.common_parts import Described, Pose, find_common_parts
from defectkit.preparation.leaks.keypoints import KEYPOINT_BYTES
from defectkit.preparation.leaks.pairs import Leak, find_equal_files
from defectkit.preparation.leaks.remainder import describe_remainder, take_out
from defectkit.preparation.worker_pool import WorkerPool

MIN_KEYPOINTS = 2
"""Number of keypoints below which an image cannot be recognized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakSearch:
    """The pairs of images that show the same thing, and where that cannot be told well.

    Attributes:
        leaks: the most certain first.
        n_compared: number of pairs of images that were compared pixel by pixel.
        n_sharing_a_part: number of images that were compared without the part they share.
        n_pattern_pairs: number of pairs that agree in a regular pattern alone, and are no leaks.
        blank: ids of images in which too little is to be seen; only equal files are found.
    """

    leaks: tuple[Leak, ...]
    n_compared: int = 0
    n_sharing_a_part: int = 0
    n_pattern_pairs: int = 0
    blank: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """What is compared of an image: all of it, or with a ``pose`` what it has beside a part."""

    path: FilePath
    pixels: PixelFormat
    pose: Pose | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _CandidateViews:
    first: _View
    second: _View
    candidate: Candidate


def find_leaks(images: Sequence[Facts], pool: WorkerPool, folder: Path | None = None) -> LeakSearch:
    """Find the pairs of ``images`` that show the same thing.

    Equal files are found by their hashes, others by keypoints in common; these are confirmed on
    the images themselves by the workers. Images of parts of one kind, which nearly all have the
    same keypoints, are compared by what they have beside it. ``folder`` is where much lies that is
    found meanwhile, as in ``find_candidates``.

    Raises:
        ImageError: an image can no longer be read.
        OutputError: there is no space in ``folder``.
    """
    exact = find_equal_files((image.image_id, image.sha256) for image in images)
    copies = {leak.image_id_b for leak in exact}
    unique = [image for image in images if image.image_id not in copies]
    keypoints: list[HasKeypoints] = [*unique]
    poses: dict[int, Pose] = {}

    def view(number: int) -> _View:
        return _View(unique[number].path, unique[number].pixels, poses.get(number))

    candidates = find_candidates(keypoints, folder)

    def describe(numbers: Sequence[int], poses: Sequence[Pose]) -> Iterator[Described]:
        jobs = [replace(view(one), pose=pose) for one, pose in zip(numbers, poses, strict=True)]
        return pool.map(_describe, jobs)

    shared = find_common_parts(
        keypoints, candidates, lambda number: unique[number].read_image(), describe
    )
    if shared:
        for number, (pose, described) in shared.items():
            poses[number] = pose
            keypoints[number] = described.keypoints
        candidates = _find_beside_parts(keypoints, candidates, sorted(shared), folder)
    candidates = keep_strongest(candidates)
    jobs = [_CandidateViews(view(one.first), view(one.second), one) for one in candidates]
    alignments = list(pool.map(_align_views, jobs))
    near = [
        Leak(
            image_id_a=unique[candidate.first].image_id,
            image_id_b=unique[candidate.second].image_id,
            kind=alignment.kind,
            similarity=alignment.similarity,
        )
        for candidate, alignment in zip(candidates, alignments, strict=True)
        if alignment.similarity
    ]
    return LeakSearch(
        leaks=(*exact, *sorted(near, key=lambda leak: -leak.similarity)),
        n_compared=len(candidates),
        n_sharing_a_part=len(shared),
        n_pattern_pairs=sum(alignment.only_pattern for alignment in alignments),
        blank=tuple(
            image.image_id
            for image, own in zip(unique, keypoints, strict=True)
            if len(own.keypoints) < MIN_KEYPOINTS * KEYPOINT_BYTES
        ),
    )


def _find_beside_parts(
    keypoints: Sequence[HasKeypoints],
    candidates: Sequence[Candidate],
    with_part: Sequence[int],
    folder: Path | None,
) -> list[Candidate]:
    """Return the candidates where images ``with_part`` are compared by what they have beside it.

    They are compared with each other alone.
    """
    found = [
        replace(one, first=with_part[one.first], second=with_part[one.second])
        for one in find_candidates([keypoints[number] for number in with_part], folder)
    ]
    others = {*range(len(keypoints))} - {*with_part}
    return found + [one for one in candidates if {one.first, one.second} <= others]


def _describe(view: _View) -> Described:
    assert view.pose
    return describe_remainder(read_image(view.path, view.pixels), view.pose)


def _read_view(view: _View) -> Image:
    image = read_image(view.path, view.pixels)
    return take_out(image, view.pose) if view.pose else image


def _align_views(views: _CandidateViews) -> Alignment:
    return align(_read_view(views.first), _read_view(views.second), views.candidate)
