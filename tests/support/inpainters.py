"""Inpainters that need no training."""

from torch import Tensor, nn, zeros_like


class KnowsTheAlbedo(nn.Module):
    """Answers with the albedo it was made with, certain everywhere."""

    def __init__(self, albedo: Tensor) -> None:
        super().__init__()
        self.albedo = albedo

    def forward(self, albedo: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        return self.albedo.expand_as(albedo), zeros_like(visible)
