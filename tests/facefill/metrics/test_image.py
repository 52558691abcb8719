"""PSNR and SSIM against scikit-image, region values against loops."""

import math

import pytest
import torch

from facefill.metrics.image import psnr, ssim, ssim_map


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 9, generator=generator)
    truth = torch.nn.functional.interpolate(coarse, (48, 54), mode="bilinear")
    result = (truth + 0.1 * torch.randn(truth.shape, generator=generator)).clamp(0, 1)
    return result, truth


def test_psnr_is_that_of_scikit_image(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    result, truth = pair
    for n in range(2):
        expected = metrics.peak_signal_noise_ratio(truth[n].numpy(), result[n].numpy(), data_range=1)
        assert math.isclose(psnr(result, truth)[n].item(), expected, rel_tol=1e-5)


def test_psnr_by_hand() -> None:
    truth = torch.zeros(1, 3, 4, 4)
    assert math.isclose(psnr(truth + 0.1, truth).item(), 20, rel_tol=1e-5)


def test_psnr_of_a_region() -> None:
    truth, mask = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    result = truth + 0.5
    result[:, :, :2] = 0.01
    mask[0, :, :2] = 1
    assert math.isclose(psnr(result, truth, mask)[0].item(), 40, rel_tol=1e-5)
    assert psnr(result, truth, mask)[1].isnan()


def test_equal_images() -> None:
    image = torch.rand(1, 3, 16, 16)
    assert psnr(image, image).item() == 100
    assert math.isclose(ssim(image, image).item(), 1, rel_tol=1e-5)


def test_ssim_is_that_of_scikit_image(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    result, truth = pair
    for n in range(2):
        _, full = metrics.structural_similarity(
            truth[n].double().numpy(),
            result[n].double().numpy(),
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected = full[:, 5:-5, 5:-5].mean(0)  # scikit-image pads; the valid area does not see the padding
        found = ssim_map(result.double(), truth.double())[n, 0].numpy()
        assert abs(found - expected).max() < 1e-9
        assert math.isclose(ssim(result, truth)[n].item(), expected.mean(), rel_tol=1e-4)


def test_ssim_of_a_region(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    result, truth = pair
    mask = torch.zeros(2, 1, 48, 54)
    mask[0, 0, 10, 20] = mask[0, 0, 30, 7] = mask[0, 0, 0, 0] = 1  # the corner has no window
    values = ssim_map(result, truth)[0, 0]
    expected = (values[5, 15] + values[25, 2]) / 2
    found = ssim(result, truth, mask)
    assert math.isclose(found[0].item(), expected.item(), rel_tol=1e-6)
    assert found[1].isnan()


def test_batch_mates_do_not_matter(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    result, truth = pair
    assert torch.equal(psnr(result, truth)[:1], psnr(result[:1], truth[:1]))
    torch.testing.assert_close(ssim(result, truth)[:1], ssim(result[:1], truth[:1]))
