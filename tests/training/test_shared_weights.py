"""In one process; ``tests/test_ranks.py`` has several."""

import torch

from defectkit.training.shared_weights import fit_together, on_cpu, share_weights


def test_one_process_fits_and_keeps_its_own():
    layer = torch.nn.Linear(1, 1)
    fit_together(layer, lambda: layer.weight.data.fill_(7.0))
    share_weights(layer)
    assert layer.weight.item() == 7.0


def test_tensors_come_to_the_cpu_wherever_they_are_nested():
    moved = on_cpu({"a": [torch.ones(2)], "b": "c"})
    assert moved["a"][0].device.type == "cpu"
    assert moved["b"] == "c"
