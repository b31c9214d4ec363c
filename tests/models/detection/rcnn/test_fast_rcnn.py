import torch
from scenes import scenes

from defectkit.models.detection.rcnn.build import build_rcnn
from defectkit.models.detection.rcnn.proposals import propose_boxes_torch


def build():
    torch.manual_seed(0)
    return build_rcnn(
        architecture="fast_rcnn", encoder="resnet18", in_channels=1, n_classes=2, state=None,
        nms_iou=1.0, score_threshold=0.0, max_detections=10_000,
    )  # fmt: skip


def test_fast_rcnn_classifies_the_regions_that_are_proposed():
    network = build().eval()
    images, _ = scenes(0, (1, 2))
    for parameter in network.regions.box_predictor.bbox_pred.parameters():
        torch.nn.init.zeros_(parameter)  # boxes stay where they are
    with torch.inference_mode():
        found = network(images)
    for image, one in zip(images, found, strict=True):
        proposals = propose_boxes_torch(image)
        for label in (0, 1):
            boxes = one.boxes[one.labels == label]
            assert sorted(boxes.tolist()) == sorted(proposals.tolist())


def test_fast_rcnn_runs_the_network_once_for_all_regions():
    network, calls = build().eval(), []
    network.features.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].shape))
    with torch.inference_mode():
        network(scenes(1, (1, 1))[0])
    assert calls == [(2, 1, 64, 64)]
