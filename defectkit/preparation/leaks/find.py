"""All pairs of images of a dataset that show the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectkit.data.images import read_image
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.alignment import Alignment, align
from defectkit.preparation.leaks.candidates import Candidate, ImageKeypoints, find_candidates
from defectkit.preparation.leaks.pairs import Leak, find_equal_files
from defectkit.preparation.worker_pool import WorkerPool


@dataclass(frozen=True, slots=True)
class _CandidateFiles:
    first: Path
    second: Path
    candidate: Candidate


def find_leaks(images: Sequence[ImageFacts], pool: WorkerPool) -> list[Leak]:
    """Return the pairs of ``images`` that show the same thing, the most certain first.

    Equal files are found by their hashes, others by keypoints in common; these are confirmed on
    the images themselves by the workers.

    Raises:
        ImageError: an image can no longer be read.
    """
    exact = find_equal_files({image.image_id: image.sha256 for image in images})
    copies = {leak.image_id_b for leak in exact}
    unique = [image for image in images if image.image_id not in copies]
    candidates = find_candidates(
        [ImageKeypoints(image.height, image.width, image.keypoints) for image in unique]
    )
    files = [
        _CandidateFiles(unique[one.first].path, unique[one.second].path, one) for one in candidates
    ]
    near = [
        Leak(
            image_id_a=unique[candidate.first].image_id,
            image_id_b=unique[candidate.second].image_id,
            kind=alignment.kind,
            similarity=alignment.similarity,
        )
        for candidate, alignment in zip(candidates, pool.map(_align_files, files), strict=True)
        if alignment.similarity
    ]
    return [*exact, *sorted(near, key=lambda leak: -leak.similarity)]


def _align_files(files: _CandidateFiles) -> Alignment:
    return align(read_image(files.first), read_image(files.second), files.candidate)
