from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from defectkit.approaches.box_samples import BoxSamples, blank, detection_target
from defectkit.approaches.crop_samples import CropSamples
from defectkit.config import load_config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.labels import rle
from defectkit.regions import measure_regions

RNG = np.random.default_rng(2)


def samples_of(folder: Path, *changes: str) -> BoxSamples:
    dataset = Dataset.load(folder)
    config = load_config(None, ["approach=box", "data.crop=64", *changes])
    return BoxSamples(config, dataset, dataset.split("train"))


def test_boxes_are_half_open_and_each_region_has_one():
    masks = np.zeros((3, 20, 30), np.uint8)
    masks[0, 2:5, 4:10] = masks[0, 10:20, 25:30] = masks[2, 0, 0] = 1
    target = detection_target(masks)
    assert target["boxes"].tolist() == [[4, 2, 10, 5], [25, 10, 30, 20], [0, 0, 1, 1]]
    assert target["labels"].tolist() == [0, 0, 2]
    assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
    assert "masks" not in target


def test_masks_belong_to_their_boxes():
    masks = (RNG.random((2, 40, 40)) < 0.2).astype(np.uint8)
    target = detection_target(masks, with_masks=True)
    assert target["masks"].dtype == torch.uint8
    assert target["masks"].shape == (len(target["boxes"]), 40, 40)
    for box, label, mask in zip(*(target[k] for k in ("boxes", "labels", "masks")), strict=True):
        rows, columns = np.nonzero(mask.numpy())
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert (masks[label][rows, columns] == 1).all()
    together = [target["masks"][target["labels"] == label].sum(dim=0) for label in range(2)]
    np.testing.assert_array_equal(torch.stack(together), masks)


@pytest.mark.parametrize("with_masks", [False, True])
def test_an_image_without_a_defect_has_no_boxes(with_masks):
    target = detection_target(np.zeros((2, 8, 9), np.uint8), with_masks=with_masks)
    assert (target["boxes"].shape, target["labels"].shape) == ((0, 4), (0,))
    assert not with_masks or target["masks"].shape == (0, 8, 9)


def test_samples_are_those_of_the_masks_and_batches_list_their_targets(dataset_folder):
    samples = samples_of(dataset_folder)
    crops = CropSamples(samples.config, Dataset.load(dataset_folder), samples.records)
    batch = [samples[3, index] for index in range(6)]
    images, targets = samples.collate(batch)
    assert (images.shape, images.dtype) == ((6, 1, 64, 64), torch.uint8)
    assert sum(len(target["boxes"]) for target in targets) > 0
    for index, target in enumerate(targets):
        image, masks = crops[3, index]
        assert torch.equal(images[index], image)
        expected = detection_target(masks.numpy())
        assert torch.equal(target["boxes"], expected["boxes"])
        assert torch.equal(target["labels"], expected["labels"])


def test_masks_are_made_only_where_the_network_wants_them(dataset_folder):
    assert "masks" not in samples_of(dataset_folder)[1, 0][1]
    assert "masks" in samples_of(dataset_folder, "model.architecture=mask_rcnn")[1, 0][1]


def test_the_localizer_always_sees_whole_images(dataset_folder):
    plain = [f"augment.{name}=0" for name in ("affine", "hflip", "vflip", "rot90")]
    name = "model.architecture=localizer"
    assert samples_of(dataset_folder, name)[1, 0][0].shape == (1, 256, 256)
    samples = samples_of(dataset_folder, name, "data.resize=192", *plain)
    records = {record.image_id: record for record in samples.records}
    for index in range(8):
        image, target = samples[1, index]
        assert image.shape == (1, 192, 192)
        record = records[samples.image_id((1, index))]
        whole = detection_target(record.read_masks(("1", "2")))  # at 96x96
        torch.testing.assert_close(target["boxes"], 2 * whole["boxes"], atol=1.0, rtol=0)


def test_the_localizer_says_how_many_images_have_more_than_its_one_defect(tmp_path):
    def record(name: str, *squares: int) -> ImageRecord:
        mask = np.zeros((40, 40), np.uint8)
        for place in squares:
            mask[place : place + 4, place : place + 4] = 1
        return ImageRecord(
            image_id=name, path=tmp_path, height=40, width=40, channels=1, sha256="", group="",
            split="train", rles={"a": rle.encode(mask)} if squares else {},
            regions=tuple(measure_regions(mask, "a")),
        )  # fmt: skip

    records = (record("0"), record("1", 3), record("2", 3, 20), record("3", 3, 12, 30))
    dataset = Dataset(tmp_path, {"classes": ["a"]}, records)

    def said(*changes: str) -> str:
        config = load_config(None, ["approach=box", *changes])
        return "\n".join(BoxSamples(config, dataset, records).describe())

    text = said("model.architecture=localizer")
    assert "2 of 3 defective images have more than one defect" in text
    assert "finds one of them, the largest" in text
    assert "yolo_grid, faster_rcnn, mask_rcnn, ssd, retinanet, fcos, fast_rcnn, rcnn" in text
    assert "more than one defect" not in said()


def test_what_does_not_count_is_blank(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    config = load_config(
        None, ["approach=box", "data.crop=64", "augment.noise=0", "augment.blur=0"]
    )
    records = [
        replace(record, roi="30,30,40,40", rles={}, regions=()) for record in dataset.split("train")
    ]
    samples = BoxSamples(config, dataset, records)
    for index in range(8):
        image, _ = samples.sample((1, index))
        _, _, counted = samples.scoped_sample((1, index))
        assert len(np.unique(image[~counted])) == 1
        assert len(np.unique(image[counted])) > 1


def test_an_image_is_blank_where_it_does_not_count_and_of_its_mean_color():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :3] = (10, 20, 30)
    counted = np.zeros((4, 6), bool)
    assert blank(image, None) is image
    assert blank(image, counted) is image
    counted[:, :2] = True
    blanked = blank(image, counted)
    assert (blanked == (10, 20, 30)).all()
    assert (image[:, 3:] == 0).all()
