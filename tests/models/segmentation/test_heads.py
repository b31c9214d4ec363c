import pytest
import torch

from defectkit.models.segmentation.heads import ClassHead, ImageHead

CHANNELS = (8, 12, 20)


def features(batch: int, height: int, width: int, *, seed: int = 0) -> list[torch.Tensor]:
    """Maps at 1/8, 1/16 and 1/32 of an image of this size."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, count, height // step, width // step, generator=generator)
        for count, step in zip(CHANNELS, (8, 16, 32), strict=True)
    ]


def image_head(window: int = 64) -> ImageHead:
    torch.manual_seed(0)
    return ImageHead(CHANNELS, window=window, reduction=16).eval()


def test_classes_are_told_at_the_size_of_the_image_from_the_two_deepest_maps():
    torch.manual_seed(0)
    head = ClassHead(CHANNELS, 3).eval()
    maps = features(2, 96, 64)
    with torch.inference_mode():
        logits = head(maps, (96, 64))
        assert logits.shape == (2, 3, 96, 64)
        assert torch.equal(head([maps[0] + 1, *maps[1:]], (96, 64)), logits)
        for deep in (1, 2):
            changed = [one + (place == deep) for place, one in enumerate(maps)]
            assert not torch.allclose(head(changed, (96, 64)), logits)


def test_a_large_image_is_as_defective_as_its_most_defective_window():
    head = image_head()
    torch.nn.init.zeros_(head.decide.bias)
    with torch.no_grad():
        head.decide.weight.zero_()
        head.decide.weight[0, -1] = 5.0  # the mean of the map alone, which it sees as a fifth
    defect_map = torch.randn(1, 1, 128, 192, generator=torch.Generator().manual_seed(0))
    seen = torch.nn.functional.max_pool2d(defect_map, 16)[0, 0]  # (8, 12), windows of 4 x 4
    means = seen.unfold(0, 4, 2).unfold(1, 4, 2).mean(dim=(2, 3))
    with torch.inference_mode():
        found = head(features(1, 128, 192), defect_map)
    torch.testing.assert_close(found[0], means.max())


def test_what_is_said_of_a_crop_does_not_depend_on_how_much_is_around_it():
    # Away from borders, a window of a large image is what the crop was in training.
    head = image_head()
    torch.nn.init.zeros_(head.mix[0].weight)  # the pooled map alone
    maps = features(1, 64, 64)
    small = torch.full((1, 1, 64, 64), -5.0)
    small[..., 20:30, 20:30] = 4
    large = torch.full((1, 1, 256, 320), -5.0)
    large[..., 20:30, 20:30] = 4
    with torch.inference_mode():
        torch.testing.assert_close(
            head(maps, small), head(features(1, 256, 320), large), rtol=1e-4, atol=1e-4
        )


def test_no_gradient_comes_back_through_the_map():
    head = image_head().train()
    defect_map = torch.zeros(2, 1, 64, 64, requires_grad=True)
    maps = [one.requires_grad_() for one in features(2, 64, 64)]
    head(maps, defect_map).sum().backward()
    assert defect_map.grad is None
    assert maps[1].grad is not None


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 320), (1024, 64)])
def test_images_of_any_size_get_one_number(size):
    with torch.inference_mode():
        assert image_head()(features(3, *size), torch.zeros(3, 1, *size)).shape == (3,)


def by_definition(head: ImageHead, maps: list[torch.Tensor], defect_map: torch.Tensor):
    """What the head says, by pooling with windows that end where the image does."""
    deep = head.features(maps)
    seen = torch.nn.functional.adaptive_max_pool2d(defect_map, deep.shape[2:])
    seen = seen.clamp(-10.0, 10.0) / 5.0
    mixed = torch.cat([head.mix(torch.cat([deep, seen], dim=1)), seen], dim=1)
    window = tuple(min(head.side, length) for length in mixed.shape[2:])
    step = tuple(max(length // 2, 1) for length in window)
    pooled = [
        pool(mixed, window, step, ceil_mode=True)
        for pool in (torch.nn.functional.max_pool2d, torch.nn.functional.avg_pool2d)
    ]
    return head.decide(torch.cat(pooled, dim=1)).amax(dim=(1, 2, 3))


@pytest.mark.parametrize("window", [16, 48, 64, 80, 400])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 320), (1024, 64), (224, 160)])
def test_windows_end_where_the_image_does(size, window):
    head, maps = image_head(window), features(3, *size)
    generator = torch.Generator().manual_seed(2)
    defect_map = 4 * torch.randn(3, 1, *size, generator=generator)
    with torch.inference_mode():
        expected = by_definition(head, maps, defect_map)
        torch.testing.assert_close(head(maps, defect_map), expected, rtol=1e-5, atol=1e-5)
