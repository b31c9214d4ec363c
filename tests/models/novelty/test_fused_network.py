import torch

from defectkit.models.novelty.fused_network import FusedNetwork
from defectkit.models.novelty.patch_core import build_patch_core
from defectkit.models.segmentation.segmenter import build_pixel_net

RNG = torch.Generator().manual_seed(3)


def test_only_the_bank_is_fitted_and_both_are_saved():
    trained = build_pixel_net(in_channels=1, out_channels=1)
    novelty = build_patch_core(
        in_channels=1, encoder="test_efficientnet", bank=8, seed=0, state=None
    )
    network = FusedNetwork(trained=trained, novelty=novelty)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    samples = [
        (
            torch.randint(0, 255, (1, 1, 64, 64), dtype=torch.uint8, generator=RNG),
            {"counted": torch.ones(1, 64, 64, dtype=torch.bool), "group": torch.tensor([group])},
        )
        for group in range(3)
    ]
    network.fit_before_training(samples)
    changed = {
        name for name, value in network.state_dict().items() if not value.equal(before[name])
    }
    assert changed == {"novelty.bank", "novelty.far"}
    assert {f"trained.{name}" for name in trained.state_dict()} <= before.keys()
    assert not network.learns
    assert network.seconds_to_fit((64, 64), 3) > 0
