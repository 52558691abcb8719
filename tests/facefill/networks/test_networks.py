"""The five networks: parameter counts to the digit, ranges, gradients, exact continuation."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facefill.losses.adversarial import gradient_penalty
from facefill.networks.albedo_decoder import AlbedoDecoder
from facefill.networks.blocks import (
    ResUnit,
    fold_spectral_norm,
    scaled_channels,
    spectral_deconvolution,
)
from facefill.networks.encoder import Encoder, EncoderOutput, LocatedLinear, camera_from_pose, is_located
from facefill.networks.pyramid_gan import PyramidDiscriminator
from facefill.networks.segmenter import Segmenter
from facefill.networks.sym_unet import SymUNet

PARAMETERS = {
    Encoder: 17_391_941,
    AlbedoDecoder: 5_543_667,
    SymUNet: 11_693_060,
    PyramidDiscriminator: 2_790_756,
    Segmenter: 7_180_771,
}
NARROW = 0.125


def group_norm(features: Tensor, norm: nn.Module) -> Tensor:
    assert isinstance(norm, nn.GroupNorm)
    return nn.functional.group_norm(features, norm.num_groups, norm.weight, norm.bias, norm.eps)


def inputs_of(network: nn.Module, batch: int = 2) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    if isinstance(network, AlbedoDecoder):
        return (torch.randn(batch, scaled_channels(512, NARROW), generator=generator),)
    if isinstance(network, SymUNet):
        visible = (torch.rand(batch, 1, 192, 256, generator=generator) > 0.3).float()
        return torch.rand(batch, 3, 192, 256, generator=generator), visible
    return (torch.rand(batch, 3, 224, 224, generator=generator),)


def tensors_of(output: object) -> list[Tensor]:
    if isinstance(output, EncoderOutput):
        camera = output.camera
        head = [output.identity, output.expression, output.illumination, output.albedo_feature]
        return [*head, camera.scale * 1e3, camera.euler_xyz, camera.translation / 224]
    if isinstance(output, Tensor):
        return [output]
    assert isinstance(output, tuple | list)
    return list(output)


@pytest.fixture(params=PARAMETERS, ids=lambda network: network.__name__)
def narrow(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return request.param(NARROW)


@pytest.mark.parametrize("network", PARAMETERS, ids=lambda network: network.__name__)
def test_parameter_count_is_the_papers(network: type[nn.Module]) -> None:
    built = network(located=False) if network is Encoder else network()
    assert sum(parameter.numel() for parameter in built.parameters()) == PARAMETERS[network]


def test_every_parameter_gets_a_gradient(narrow: nn.Module) -> None:
    outputs = tensors_of(narrow(*inputs_of(narrow)))
    generator = torch.Generator().manual_seed(2)
    torch.stack(
        [(out * torch.randn(out.shape, generator=generator)).sum() for out in outputs]
    ).sum().backward()
    for name, parameter in narrow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_images_of_a_batch_do_not_mix(narrow: nn.Module) -> None:
    narrow.eval()
    inputs = inputs_of(narrow)
    together = tensors_of(narrow(*inputs))
    alone = tensors_of(narrow(*(tensor[1:] for tensor in inputs)))
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1:], one, rtol=1e-4, atol=1e-5)


def test_continued_training_is_bit_identical(narrow: nn.Module) -> None:
    """The power iteration of the spectral norm is in the state: saved after a step, it goes on the same."""

    def step(network: nn.Module) -> None:
        optimizer = torch.optim.SGD(network.parameters(), 0.01)
        torch.stack(
            [out.square().mean() for out in tensors_of(network(*inputs_of(network)))]
        ).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step(narrow)
    other = type(narrow)(NARROW)
    other.load_state_dict({key: value.clone() for key, value in narrow.state_dict().items()})
    step(narrow)
    step(other)
    for key, value in narrow.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_evaluation_leaves_the_state_alone(narrow: nn.Module) -> None:
    before = {key: value.clone() for key, value in narrow.state_dict().items()}
    narrow.eval()(*inputs_of(narrow))
    assert all(torch.equal(value, before[key]) for key, value in narrow.state_dict().items())


def test_folded_weights_answer_the_same(narrow: nn.Module) -> None:
    folded = type(narrow)(NARROW)
    folded.load_state_dict(narrow.state_dict())
    folded = fold_spectral_norm(folded)
    assert not any("parametrizations" in name for name in folded.state_dict())
    expected = tensors_of(narrow.eval()(*inputs_of(narrow)))
    for found, wanted in zip(tensors_of(folded(*inputs_of(narrow))), expected, strict=True):
        assert torch.equal(found, wanted)


def test_outputs_are_float32_under_autocast(narrow: nn.Module) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        outputs = tensors_of(narrow.eval()(*inputs_of(narrow, batch=1)))
    assert {output.dtype for output in outputs} == {torch.float32}


def test_located_features_by_hand() -> None:
    """One bright pixel of a 3 x 3 map: its mean, times its column, times its row, in units of √3 at the
    border.
    """
    layer = LocatedLinear(1, 3)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.eye(3))
        layer.linear.bias.zero_()
    features = torch.zeros(2, 1, 3, 3)
    features[0, 0, 1, 2] = features[1, 0, 0, 0] = 9.0
    border = 3**0.5
    torch.testing.assert_close(layer(features), torch.tensor([[1, border, 0], [1, -border, -border]]))


@pytest.mark.parametrize("located", [True, False])
def test_a_state_tells_whether_it_is_located(located: bool) -> None:
    assert is_located(Encoder(NARROW, located).state_dict()) == located


def test_encoder_shapes_and_neutral_light() -> None:
    encoder = Encoder(NARROW).eval()
    output = encoder(torch.rand(2, 3, 224, 224))
    assert output.identity.shape == (2, 199)
    assert output.expression.shape == (2, 29)
    assert output.illumination.shape == (2, 3, 9)
    assert output.albedo_feature.shape == (2, 64)
    assert (output.illumination[:, :, 0] * 0.28209 - 1).abs().max() < 0.3


def test_pose_mapping() -> None:
    """Section 3 by hand: 0 is the middle of each range, the ends are reached, column comes first."""
    camera = camera_from_pose(torch.tensor([[0.0] * 6, [-1, 1, -1, 0, 1, -1], [1, 0, 0, 1, 0.5, 0]]))
    torch.testing.assert_close(camera.scale, torch.tensor([1e-3, 0, 2e-3]))
    right = torch.pi / 2
    torch.testing.assert_close(camera.euler_xyz, torch.tensor([[0, 0, 0], [right, -right, 0], [0, 0, right]]))
    torch.testing.assert_close(camera.translation, torch.tensor([[112.0, 112], [224, 0], [168, 112]]))


def test_decoder_range() -> None:
    albedo = AlbedoDecoder(NARROW)(10 * torch.randn(1, 64))
    assert albedo.shape == (1, 3, 192, 256)
    assert albedo.min() >= 0
    assert albedo.max() <= 1


def test_sym_unet_does_not_see_hidden_texels() -> None:
    network = SymUNet(NARROW).eval()
    albedo, visible = inputs_of(network)
    other = torch.where(visible > 0, albedo, torch.rand(albedo.shape))
    for first, second in zip(network(albedo, visible), network(other, visible), strict=True):
        assert torch.equal(first, second)


def test_sym_unet_sees_the_mirror_side() -> None:
    """The second first-level branch gets the mirror image of albedo and mask, the first the map itself."""
    network = SymUNet(NARROW).eval()
    albedo, visible = inputs_of(network)
    seen: dict[str, Tensor] = {}
    network.down1.register_forward_pre_hook(lambda _, inputs: seen.update(direct=inputs[0]))
    network.down1_mirrored.register_forward_pre_hook(lambda _, inputs: seen.update(mirrored=inputs[0]))
    network(albedo, visible)
    assert torch.equal(seen["direct"], torch.cat(((albedo * 2 - 1) * visible, visible), 1))
    assert torch.equal(seen["mirrored"], seen["direct"].flip(-1))


def test_sym_unet_range_and_shapes() -> None:
    network = SymUNet(NARROW)
    albedo, log_sigma = network(*inputs_of(network))
    assert albedo.shape == (2, 3, 192, 256)
    assert log_sigma.shape == (2, 1, 192, 256)
    assert albedo.min() >= 0
    assert albedo.max() <= 1


def test_discriminator_scales() -> None:
    scores = PyramidDiscriminator(NARROW)(torch.rand(2, 3, 224, 224))
    assert [tuple(score.shape) for score in scores] == [(2, 1, size, size) for size in (56, 28, 14, 7)]


def test_segmenter_keeps_the_size() -> None:
    assert Segmenter(NARROW)(torch.rand(1, 3, 256, 224)).shape == (1, 3, 256, 224)


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(32, 1, 32), (32, 0.25, 8), (16, 0.01, 4), (160, 0.3, 48), (96, 0.5, 48)],
)
def test_scaled_channels(channels: int, width: float, expected: int) -> None:
    assert scaled_channels(channels, width) == expected


def test_shortcut_equals_a_strided_convolution() -> None:
    """Every second pixel, then a 1x1 convolution, is the printed 1x1 convolution of stride 2."""
    torch.manual_seed(0)
    unit = ResUnit(4, 32, 2).eval()
    features = torch.randn(2, 4, 12, 10, requires_grad=True)
    assert isinstance(unit.shortcut, nn.Sequential)
    convolution, norm = unit.shortcut
    weight, bias = convolution.weight, convolution.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    printed = nn.functional.conv2d(features, weight, bias, stride=2)
    first, first_norm, second, second_norm = unit.residual
    residual = second(nn.functional.elu(group_norm(first(features), first_norm)))
    expected = nn.functional.elu(group_norm(residual, second_norm) + group_norm(printed, norm))
    found = unit(features)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.square().sum(), features, retain_graph=True)
    (twin,) = torch.autograd.grad(expected.square().sum(), features)
    torch.testing.assert_close(gradient, twin)


@pytest.mark.parametrize("width", [0.125, 0.5])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_layout_changes_no_gradient(width: float, precision: torch.dtype) -> None:
    """Every network's gradients with channels last are those of the plain layout in float32; convolution
    kernels of some shapes were wrong in one layout alone (uxlfoundation/oneDNN#6035).
    """
    for kind in PARAMETERS:
        torch.manual_seed(0)
        network: Any = kind(width).eval()
        inputs = inputs_of(network, 1)
        if isinstance(network, AlbedoDecoder):
            inputs = (torch.randn(1, scaled_channels(512, width)),)
        answers = []
        for channels_last, dtype in ((False, torch.float32), (True, precision)):
            network.channels_last = channels_last
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                outputs = tensors_of(network(*inputs))
            total = torch.stack([out.square().mean() for out in outputs]).sum()
            gradients = torch.autograd.grad(total, list(network.parameters()))
            answers.append(torch.cat([gradient.flatten() for gradient in gradients]))
        plain, other = answers
        share = float((other - plain).norm() / plain.norm())
        assert share < (1e-3 if precision == torch.float32 else 0.15), (kind.__name__, share)


def test_gradient_penalty_in_half_precision() -> None:
    """Twice differentiated under autocast, in either layout, it moves the discriminator as in float32."""
    torch.manual_seed(0)
    judge = PyramidDiscriminator(0.25).eval()
    generator = torch.Generator().manual_seed(1)
    real, made = (torch.rand(2, 3, 64, 64, generator=generator) for _ in range(2))
    face, mixing = torch.ones(2, 1, 64, 64), torch.full((2, 1, 1, 1), 0.3)
    found = []
    for halved, channels_last in ((False, False), (False, True), (True, False), (True, True)):
        judge.channels_last = channels_last
        with torch.autocast("cpu", torch.bfloat16, enabled=halved):
            penalty = gradient_penalty(judge, real, made, face, mixing)
        gradients = torch.autograd.grad(penalty, list(judge.parameters()), allow_unused=True)
        found.append(torch.cat([g.double().flatten() for g in gradients if g is not None]))
    for other, limit in zip(found[1:], (1e-3, 0.1, 0.1), strict=True):
        assert (other - found[0]).norm() < limit * found[0].norm()


def test_deconvolution_is_torchs() -> None:
    """Values and gradients of the transposed convolution, its bias included."""
    torch.manual_seed(0)
    layer = spectral_deconvolution(4, 8, 4, 2, 1).eval()
    assert isinstance(layer, nn.ConvTranspose2d) and layer.bias is not None
    nn.init.normal_(layer.bias)
    features = torch.randn(2, 4, 5, 6, requires_grad=True)
    weights = torch.randn(2, 8, 10, 12)
    wanted = [features, *layer.parameters()]
    expected = nn.functional.conv_transpose2d(features, layer.weight, layer.bias, 2, 1)
    for found, same in zip(
        [layer(features), *torch.autograd.grad((layer(features) * weights).sum(), wanted)],
        [expected, *torch.autograd.grad((expected * weights).sum(), wanted)],
        strict=True,
    ):
        torch.testing.assert_close(found, same, rtol=1e-4, atol=1e-5)
