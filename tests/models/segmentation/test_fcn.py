import timm
import torch

from defectkit.models.segmentation.fcn import build_fcn


def test_fcn_takes_the_weights_of_timms_resnet():
    torch.manual_seed(0)
    template = timm.create_model("resnet50", pretrained=False)
    net = build_fcn(
        encoder="resnet50", in_channels=1, out_channels=2, state=template.state_dict()
    ).eval()
    assert net.encoder is net.body.backbone
    torch.testing.assert_close(
        net.body.backbone.conv1.weight, template.conv1.weight.sum(dim=1, keepdim=True)
    )
    torch.testing.assert_close(
        net.body.backbone.layer4[2].conv3.weight, template.layer4[2].conv3.weight
    )


def test_a_transposed_fcn_begins_as_bilinear_interpolation_and_learns():
    torch.manual_seed(0)
    options = {"encoder": "resnet50", "in_channels": 1, "out_channels": 2, "state": None}
    net = build_fcn(**options, transposed=True).eval()
    plain = build_fcn(**options).eval()
    weights = {k: v for k, v in net.state_dict().items() if not k.startswith("body.up.")}
    plain.load_state_dict(weights)
    images = torch.randint(0, 256, (1, 1, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        one, other = net(images).pixels, plain(images).pixels
    inside = (..., slice(8, -8), slice(8, -8))  # at the border interpolation repeats, this does not
    torch.testing.assert_close(one[inside], other[inside], rtol=1e-4, atol=1e-5)
    assert net.body.up.weight.requires_grad
