from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from defectkit.approaches.build import build_approach
from defectkit.approaches.crop_samples import CropSamples
from defectkit.approaches.image_mix import ImageMix, logit
from defectkit.approaches.segment import Segment
from defectkit.approaches.tuning import Tuning
from defectkit.config import Config, load_config
from defectkit.data.dataset import Dataset, ImageRecord
from defectkit.data.images import write_png
from defectkit.errors import DefectkitWarning, ModelError
from defectkit.labels import rle
from defectkit.labels.scope import Scope
from defectkit.models.losses import class_probabilities, count_outputs
from defectkit.models.segmentation.segmenter import SegmenterOutput
from defectkit.regions import measure_regions

RNG = np.random.default_rng(5)
PLAIN = tuple(
    f"augment.{name}=0"
    for name in ("hflip", "vflip", "rot90", "affine", "brightness_contrast", "noise", "blur")
)


class Small(nn.Module):
    """A network that looks ``reach`` pixels far."""

    def __init__(self, *, reach: int, channels: int = 1, outputs: int = 2, stride: int = 1):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(channels, outputs, 2 * reach + 1, padding=reach)
        self.size_divisor = stride
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        assert images.shape[2] % self.size_divisor == images.shape[3] % self.size_divisor == 0
        return SegmenterOutput(self.conv(images.float() / 64 - 2))


def segment(*changes: str, classes: int = 2, channels: int = 1) -> Segment:
    names = tuple(str(number) for number in range(1, classes + 1))
    # One score a class and no margin, unless a test wants it otherwise.
    config = load_config(None, ("loss.classes=0", "infer.margin=0", *changes))
    return build_approach(config, classes=names, channels=channels)


def random_image(height: int, width: int, channels: int = 1) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


# --- find ---------------------------------------------------------------------------------------


def test_images_of_several_sizes_keep_their_order_and_share_batches():
    network = Small(reach=1)
    sizes = [(40, 50), (30, 30), (40, 50), (50, 40), (30, 30), (40, 50)]
    images = [random_image(*size) for size in sizes]
    together = segment().find(network, images)
    assert sorted(shape[0] for shape in network.shapes) == [1, 2, 3]
    assert [finding.score_map.shape[1:] for finding in together] == sizes
    for image, finding in zip(images, together, strict=True):
        (alone,) = segment().find(network, [image])
        np.testing.assert_allclose(finding.score_map, alone.score_map, atol=1e-6)
        assert finding.score == pytest.approx(alone.score, abs=1e-6)


def test_no_images_no_findings():
    assert segment().find(Small(reach=1), []) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (31, 33), (64, 64)])
def test_images_are_padded_to_the_stride_and_cut_back(size):
    network = Small(reach=0, stride=32)
    image = random_image(*size)
    (finding,) = segment().find(network, [image])
    assert network.shapes == [(1, 1, -(-size[0] // 32) * 32, -(-size[1] // 32) * 32)]
    with torch.inference_mode():
        logits = network.conv(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 64 - 2)
    expected = class_probabilities(logits, "overlapping")[0].numpy()
    np.testing.assert_allclose(finding.score_map, expected, atol=1e-6)


def test_padding_reflects_the_image_and_adds_no_black_border():
    seen = []

    class Watch(Small):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.clone())
            return super().forward(images)

    segment().find(Watch(reach=0, stride=16), [np.full((20, 5, 1), 137, np.uint8)])
    assert seen[0].unique().tolist() == [137]
    assert seen[0].shape == (1, 1, 32, 16)


@pytest.mark.parametrize("size", [(150, 170), (64, 300), (300, 50), (131, 64)])
def test_tiles_change_nothing_but_near_their_seams(size):
    reach, tile, overlap = 2, 64, 24
    network = Small(reach=reach)
    image = random_image(*size)
    (whole,) = segment("infer.tile=1000").find(network, [image])
    network.shapes.clear()
    changes = (f"infer.tile={tile}", f"infer.overlap={overlap}")
    (tiled,) = segment(*changes).find(network, [image])
    assert len(network.shapes) > 1
    assert max(max(shape[2:]) for shape in network.shapes) <= tile
    # Only within reach of a tile's side does a tile see less than the image, and there its weight
    # is small. Elsewhere nothing differs.
    difference = np.abs(whole.score_map - tiled.score_map)
    assert np.quantile(difference, 0.5) < 1e-6
    assert difference.max() < 3 * reach / (overlap + 1)
    pointwise = Small(reach=0)
    (whole,) = segment("infer.tile=1000").find(pointwise, [image])
    (tiled,) = segment(*changes).find(pointwise, [image])
    np.testing.assert_allclose(tiled.score_map, whole.score_map, atol=2e-6)


def test_beyond_the_border_the_network_sees_the_image_reflected():
    image = random_image(40, 30)
    (plain,) = segment().find(Small(reach=5), [image])
    (finding,) = segment("infer.margin=8").find(Small(reach=5), [image])
    around = np.pad(image, ((8, 8), (8, 8), (0, 0)), mode="symmetric")
    (wider,) = segment().find(Small(reach=5), [around])
    np.testing.assert_allclose(finding.score_map, wider.score_map[:, 8:-8, 8:-8], atol=1e-6)
    inside = np.s_[:, 5:-5, 5:-5]
    np.testing.assert_allclose(finding.score_map[inside], plain.score_map[inside], atol=1e-6)
    assert not np.allclose(finding.score_map, plain.score_map)


def test_a_mirrored_image_is_scored_too_where_that_is_asked_for():
    image = random_image(40, 30)
    networks = [Small(reach=1) for _ in range(3)]
    (one,) = segment().find(networks[0], [image])
    (mirrored,) = segment().find(networks[1], [image[:, ::-1].copy()])
    (mean,) = segment("infer.flip=true").find(networks[2], [image])
    assert [len(network.shapes) for network in networks] == [1, 1, 2]
    expected = (one.score_map + mirrored.score_map[..., ::-1]) / 2
    np.testing.assert_allclose(mean.score_map, expected, atol=1e-6)


class Judging(Small):
    """A network that says of whole images how bright they are."""

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        pixels = super().forward(images).pixels
        return SegmenterOutput(pixels, images.float().amax(dim=(1, 2, 3)) / 64 - 2)


def test_an_image_is_scored_by_its_map_and_by_what_is_said_of_the_whole():
    images = [np.full((40, 30, 1), value, np.uint8) for value in (20, 230)]
    for image, whole in zip(images, (20 / 64 - 2, 230 / 64 - 2), strict=True):
        (alone,) = segment().find(Small(reach=0), [image])
        (finding,) = segment().find(Judging(reach=0), [image])
        assert alone.witnesses == (alone.score, None)
        assert finding.witnesses == pytest.approx((alone.score, whole))
        assert finding.score == pytest.approx(ImageMix().score(alone.score, whole))
        np.testing.assert_array_equal(finding.score_map, alone.score_map)


def test_where_not_all_pixels_count_the_map_alone_is_heard():
    image = np.full((40, 30, 1), 230, np.uint8)
    scope = Scope(ignored=np.eye(40, 30, dtype=bool))
    mix = ImageMix(map_weight=3.0, bias=2.0, alone_weight=0.5, alone_bias=-1.0)
    approach = replace(segment(), tuning=Tuning(image_mix=mix))
    (finding,) = approach.find(Judging(reach=0), [image], [scope])
    of_map, whole = finding.witnesses
    assert whole is None
    assert logit(finding.score) == pytest.approx(0.5 * logit(of_map) - 1)


def test_images_up_to_the_limit_are_not_tiled():
    network = Small(reach=0)
    segment("infer.tile=64", "infer.overlap=16").find(network, [random_image(32, 128)])
    assert network.shapes == [(1, 1, 32, 128)]


def test_exclusive_classes_are_a_softmax_without_the_background():
    network = Small(reach=0, outputs=3)
    image = random_image(20, 30)
    (finding,) = segment("loss.bce=0", "loss.cross_entropy=1").find(network, [image])
    assert finding.score_map.shape == (2, 20, 30)
    assert (finding.score_map.sum(axis=0) < 1).all()
    with torch.inference_mode():
        logits = network(torch.from_numpy(image).permute(2, 0, 1)[None]).pixels
    expected = logits.softmax(dim=1)[0, 1:].numpy()
    np.testing.assert_allclose(finding.score_map, expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [1, 2, 6])
def test_resizing_gives_scores_at_the_images_own_size(classes, channels):
    outputs = count_outputs(classes, "overlapping")
    network = Small(reach=0, channels=channels, outputs=outputs, stride=16)
    approach = segment("data.resize=48", classes=classes, channels=channels)
    image = np.full((70, 131, channels), 30, np.uint8)
    image[10:50, 60:110] = 220
    findings = approach.find(network, [image, image])
    assert network.shapes == [(2, channels, 48, 48)]
    assert [finding.score_map.shape for finding in findings] == [(classes, 70, 131)] * 2
    with torch.inference_mode():
        logits = network.conv(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 64 - 2)
    expected = class_probabilities(logits, "overlapping")[0].numpy()
    np.testing.assert_allclose(
        findings[0].score_map[:, 20:40, 70:100], expected[:, 20:40, 70:100], atol=1e-5
    )
    np.testing.assert_allclose(findings[0].score_map[:, 60:, :40], expected[:, 60:, :40], atol=1e-5)


@pytest.mark.parametrize("changes", [(), ("data.resize=37",), ("infer.tile=64", "infer.overlap=9")])
@pytest.mark.parametrize("logit", [100.0, -100.0])
def test_scores_stay_in_range_where_the_network_is_certain(logit, changes):
    network = Small(reach=0)
    nn.init.zeros_(network.conv.weight)
    nn.init.constant_(network.conv.bias, logit)
    sizes = [(97, 61), (211, 103), (64, 350), (12, 7)]
    for finding in segment(*changes).find(network, [random_image(*size) for size in sizes]):
        np.testing.assert_allclose(finding.score_map, float(logit > 0), atol=1e-6)
        assert finding.score == float(logit > 0)


def test_small_regions_are_left_out_where_asked_for():
    network = Small(reach=0)
    nn.init.constant_(network.conv.weight, 1.0)
    nn.init.constant_(network.conv.bias, 0.0)
    image = np.zeros((64, 64, 1), np.uint8)
    image[5:8, 5:8] = image[20:40, 20:40] = 255
    areas = [
        [region.area for region in segment(change).find(network, [image])[0].regions]
        for change in ("infer.min_area=0", "infer.min_area=10")
    ]
    assert areas == [[9, 400], [400]]


def test_the_pixel_threshold_decides_what_a_region_is():
    network = Small(reach=0)
    image = random_image(40, 40)
    approach = build_approach(
        Config(), classes=("1", "2"), channels=1, tuning=Tuning(pixel_threshold=0.3)
    )
    (finding,) = approach.find(network, [image])
    assert sum(region.area for region in finding.regions) == (finding.defect_map >= 0.3).sum()


# --- network ------------------------------------------------------------------------------------


def test_an_encoder_without_weights_still_trains_after_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.warns(DefectkitWarning, match="no pretrained weights for resnet18"):
        network = segment("model.encoder=resnet18").network()
    assert network.encoder is None


def test_packaged_weights_are_used_by_default_without_a_warning():
    network = segment().network()
    assert network.encoder is network.body.encoder.model
    assert segment("model.weights=none").network().encoder is None


def test_the_weights_of_an_earlier_run_are_taken(run_folder):
    network = segment(f"model.weights={run_folder}").network()
    other = segment(f"model.weights={run_folder / 'model'}").network()
    key = "body.encoder.model.conv_stem.weight"
    assert torch.equal(network.state_dict()[key], other.state_dict()[key])
    with pytest.raises(ModelError, match="belongs to another network"):
        segment(f"model.weights={run_folder}", "model.encoder=resnet18").network()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("data.crop=100",), r"crop=100 is not divisible by 32, as unet needs. Use 96 or 128"),
        (("data.crop=64", "model.architecture=pan"), r"crop=64 .* by 128, as pan .* 128 or 256"),
        (
            ("data.resize=130",),
            r"resize=130 is not divisible by 32, as unet needs. Use 128 or 160",
        ),
    ],
)
def test_samples_that_the_network_cannot_take_are_refused_at_once(changes, message):
    with pytest.raises(ModelError, match=message):
        segment("model.weights=none", *changes).network()


# --- samples ------------------------------------------------------------------------------------


def samples_of(dataset_folder: Path, *changes: str) -> CropSamples:
    dataset = Dataset.load(dataset_folder)
    config = load_config(None, ["data.crop=64", *changes])
    samples = build_approach(config, classes=dataset.classes, channels=dataset.channels).samples(
        dataset, dataset.split("train")
    )
    assert isinstance(samples, CropSamples)
    return samples


def test_a_sample_depends_on_seed_epoch_and_index_alone(dataset_folder):
    samples, again = samples_of(dataset_folder), samples_of(dataset_folder)
    keys = [(1, 0), (1, 1), (2, 0), (7, 5)]
    first = [samples[key] for key in keys]
    second = [again[key] for key in reversed(keys)][::-1]
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
    for index, (image, _) in enumerate(first):
        assert not any(torch.equal(image, other) for other, _ in first[index + 1 :])
    changed = samples_of(dataset_folder, "seed=1")
    assert not torch.equal(changed[1, 0][0], first[0][0])


def test_no_sample_of_any_epoch_comes_twice(dataset_folder):
    samples = samples_of(dataset_folder)
    seen = {
        samples[epoch, index][0].numpy().tobytes() for epoch in (1, 2, 3) for index in range(40)
    }
    assert len(seen) == 120


def test_samples_are_tensors_of_images_and_masks(dataset_folder):
    image, masks = samples_of(dataset_folder)[1, 0]
    assert (image.shape, image.dtype) == ((1, 64, 64), torch.uint8)
    assert (masks.shape, masks.dtype) == ((2, 64, 64), torch.uint8)
    assert image.is_contiguous()
    assert masks.is_contiguous()


def test_crops_near_a_defect_hold_a_part_of_it(dataset_folder):
    samples = samples_of(dataset_folder, "data.defect_fraction=1", "data.crop=32", *PLAIN)
    areas = [int(samples.sample((1, index))[1].sum()) for index in range(60)]
    assert min(areas) > 0
    # The defect lies anywhere in the crop, not always in its middle.
    corners = [
        samples.sample((1, index))[1].any(axis=0)[[0, 0, -1, -1], [0, -1, 0, -1]]
        for index in range(60)
    ]
    assert np.any(corners, axis=0).all()


def test_the_asked_part_of_the_crops_is_near_a_defect(dataset_folder):
    samples = samples_of(dataset_folder, "data.defect_fraction=0", *PLAIN)
    assert {samples.image_id((1, index)) for index in range(200)} == {
        record.image_id for record in samples.records
    }
    samples = samples_of(dataset_folder, "data.defect_fraction=0.7")
    defective = {record.image_id for record in samples.defective}
    count = sum(samples.image_id((1, index)) in defective for index in range(1000))
    # 70 % and the defective ones among the rest, which are half of it.
    expected = 1000 * (0.7 + 0.3 * len(defective) / len(samples.records))
    assert count == pytest.approx(expected, abs=50)


def place_of(crop, stored):
    """Where the window ``crop`` lies in ``stored`` reflected on all sides, or None."""
    size, beyond = crop.shape[0], crop.shape[0]
    around = ((beyond, beyond), (beyond, beyond), (0, 0))
    whole = np.pad(stored, around, mode="symmetric")
    first_rows = np.lib.stride_tricks.sliding_window_view(whole[..., 0], (1, size))[:, :, 0]
    for top, left in np.argwhere((first_rows == crop[0, :, 0]).all(axis=-1)):
        if np.array_equal(whole[top : top + size, left : left + size], crop):
            return int(top) - beyond, int(left) - beyond
    return None


def window_of(stored, place, size):
    around = ((size, size), (size, size), (0, 0))
    top, left = (start + size for start in place)
    return np.pad(stored, around, mode="symmetric")[top : top + size, left : left + size]


@pytest.mark.parametrize("crop", [64, 96, 128])
def test_a_sample_is_a_window_of_its_image_reflected_beyond_the_border(dataset_folder, crop):
    samples = samples_of(dataset_folder, f"data.crop={crop}", *PLAIN)
    records = {record.image_id: record for record in samples.records}
    places = set()
    for index in range(12):
        image, masks = samples.sample((3, index))
        assert image.shape == (crop, crop, 1)
        record = records[samples.image_id((3, index))]
        place = place_of(image, record.read_image(1))
        assert place is not None
        truth = record.read_masks(("1", "2")).transpose(1, 2, 0)
        np.testing.assert_array_equal(masks.transpose(1, 2, 0), window_of(truth, place, crop))
        places.add(place)
    assert len(places) > 6


def test_the_outermost_pixels_are_seen_in_many_crops(dataset_folder):
    """Of an image little larger than the crop they would otherwise be in few."""
    samples = samples_of(dataset_folder, "data.crop=90", "data.defect_fraction=0", *PLAIN)
    records = {record.image_id: record for record in samples.records}
    places = []
    for index in range(40):
        image, _ = samples.sample((1, index))
        places.append(place_of(image, records[samples.image_id((1, index))].read_image(1)))
    assert sum(left <= 0 for _, left in places) > 12
    assert sum(left + 90 >= 96 for _, left in places) > 12


def test_images_and_masks_are_cropped_and_changed_together(dataset_folder):
    samples = samples_of(dataset_folder, "augment.noise=0", "augment.brightness_contrast=0",
                         "augment.blur=0", "augment.affine=0")  # fmt: skip
    for index in range(40):
        image, masks = samples.sample((1, index))
        np.testing.assert_array_equal(masks.any(axis=0), image[:, :, 0] >= 200)


def test_resized_samples_are_whole_images(dataset_folder):
    samples = samples_of(dataset_folder, "data.resize=48", *PLAIN)
    for index in range(20):
        image, masks = samples.sample((1, index))
        assert (image.shape, masks.shape) == ((48, 48, 1), (2, 48, 48))
        assert set(np.unique(masks)) <= {0, 1}
        # Half-size: a pixel is interpolated from four, so it may differ on the border alone.
        wrong = (masks.any(axis=0) != (image[:, :, 0] >= 165)).sum()
        assert wrong <= 0.3 * masks.sum()


def test_color_samples(tmp_path):
    path = tmp_path / "x.png"
    image = random_image(80, 80, 3)
    write_png(path, image)
    mask = np.zeros((80, 80), np.uint8)
    mask[40:44, 50:60] = 1
    record = ImageRecord(
        image_id="x", path=path, height=80, width=80, channels=3, sha256="", group="",
        split="train", rles={"a": rle.encode(mask)}, regions=tuple(measure_regions(mask, "a")),
    )  # fmt: skip
    dataset = Dataset(tmp_path, {"classes": ["a"]}, (record,))
    config = load_config(None, ["data.crop=80", *PLAIN])
    got, masks = CropSamples(config, dataset, [record])[1, 0]
    place = place_of(got.permute(1, 2, 0).numpy(), image)
    assert place is not None
    np.testing.assert_array_equal(got.permute(1, 2, 0), window_of(image, place, 80))
    np.testing.assert_array_equal(masks[0], window_of(mask[..., None], place, 80)[..., 0])


def imaginary(classes: list[str]) -> Dataset:
    records = tuple(
        ImageRecord(
            image_id=f"{index}-{name}", path=Path("nowhere"), height=9, width=9, channels=1,
            sha256="", group="", split="train", rles={name: "1 1"} if name else {}, regions=(),
        )
        for index, name in enumerate(classes)
    )  # fmt: skip
    return Dataset(Path("nowhere"), {"classes": ["a", "b"]}, records)


def test_rare_classes_are_met_more_often_than_they_occur_but_not_as_often_as_common_ones():
    dataset = imaginary(["a"] * 90 + ["b"] * 10)
    samples = CropSamples(load_config(None, ["data.defect_fraction=1"]), dataset, dataset.records)
    count = Counter(samples.image_id((1, index))[-1] for index in range(2000))
    # By the root of their counts: 90 and 10 become 3 to 1.
    assert count["b"] == pytest.approx(500, abs=70)


def test_data_without_defects_or_without_good_images_can_be_sampled():
    for classes in (["", ""], ["a", "b"]):
        dataset = imaginary(classes)
        samples = CropSamples(Config(), dataset, dataset.records)
        assert len({samples.image_id((1, index)) for index in range(50)}) == 2


def test_the_length_of_an_epoch():
    assert len(CropSamples(Config(), imaginary(["a"]), imaginary(["a"] * 3).records)) == 128
    assert len(CropSamples(Config(), imaginary(["a"]), imaginary(["a"] * 100).records)) == 200
    config = load_config(None, ["train.samples_per_epoch=5"])
    assert len(CropSamples(config, imaginary(["a"]), imaginary(["a"] * 100).records)) == 5


def test_the_preview_shows_the_first_samples_of_the_first_epoch(dataset_folder):
    samples = samples_of(dataset_folder)
    shown = samples.preview(3)
    for index, (image, masks) in enumerate(shown):
        tensor, targets = samples[1, index]
        np.testing.assert_array_equal(image.transpose(2, 0, 1), tensor)
        np.testing.assert_array_equal(masks, targets)
