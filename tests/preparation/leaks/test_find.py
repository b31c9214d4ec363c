import numpy as np

from defectkit.data.images import read_image, write_png
from defectkit.files import sha256_file
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.leaks.find import find_leaks
from defectkit.preparation.leaks.keypoints import find_keypoints
from defectkit.preparation.leaks.pairs import Leak
from defectkit.preparation.worker_pool import open_worker_pool
from defectkit.synthesis.generator import synthesize


def facts(path):
    image = read_image(path)
    return ImageFacts(
        image_id=path.stem,
        path=path,
        height=image.shape[0],
        width=image.shape[1],
        sha256=sha256_file(path),
        keypoints=find_keypoints(image),
    )


def test_copies_come_first_then_near_pairs_and_overlaps_each_once(tmp_path):
    image, other = (synthesize(index, size=256).image for index in (2, 3))
    half = np.ascontiguousarray(image[:, 100:])
    pictures = {"a": image, "b": other, "copy": image, "flipped": image[::-1], "half": half}
    images = []
    for name, picture in pictures.items():
        write_png(tmp_path / f"{name}.png", np.ascontiguousarray(picture))
        images.append(facts(tmp_path / f"{name}.png"))
    with open_worker_pool(0, n_jobs=len(images)) as pool:
        exact, *rest = find_leaks(images, pool).leaks
    assert exact == Leak(image_id_a="a", image_id_b="copy", kind="exact", similarity=1.0)
    assert {(one.image_id_a, one.image_id_b, one.kind) for one in rest} == {
        ("a", "flipped", "near"),
        ("a", "half", "overlap"),
        ("flipped", "half", "overlap"),
    }
    assert [one.similarity for one in rest] == sorted(
        (one.similarity for one in rest), reverse=True
    )


def test_images_in_which_nothing_is_to_be_seen_are_named(tmp_path):
    pictures = {
        "a": synthesize(2, size=256).image,
        "black": np.zeros((128, 128), np.uint8),
        "saturated": np.full((128, 130), 255, np.uint8),
        "small": np.random.default_rng(0).integers(0, 255, (12, 12), np.uint8),
    }
    images = []
    for name, picture in pictures.items():
        write_png(tmp_path / f"{name}.png", picture)
        images.append(facts(tmp_path / f"{name}.png"))
    with open_worker_pool(0, n_jobs=len(images)) as pool:
        search = find_leaks(images, pool)
    assert search.blank == ("black", "saturated", "small")
    assert search.leaks == ()
