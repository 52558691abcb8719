"""The descent of a loss: the update is Adam's, however a gradient lies in memory."""

import torch

from facefill.config import OptimizerConfig
from facefill.stages import alone
from facefill.stages.training import Descent


def test_a_gradient_that_lies_channels_last_makes_the_same_update() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 4, 3, 3, generator=generator)
    slope = torch.randn(8, 4, 3, 3, generator=generator)
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.0)

    class ChannelsLast(torch.autograd.Function):
        @staticmethod
        def forward(context, values):  # type: ignore[no-untyped-def]
            return (values * slope).sum()

        @staticmethod
        def backward(context, by_answer):  # type: ignore[no-untyped-def]
            return by_answer * slope.contiguous(memory_format=torch.channels_last)

    parameter = torch.nn.Parameter(weight.clone())
    descent = Descent("convolution", [parameter], config, config.learning_rate, alone)
    expected = torch.nn.Parameter(weight.clone())
    adam = torch.optim.Adam([expected], 0.1, (config.beta1, config.beta2), fused=False)
    for step in range(3):
        descent.add(ChannelsLast.apply(parameter))
        taken = descent.step(step)
        expected.grad = slope.clone()
        adam.step()
    assert torch.allclose(parameter, expected, atol=1e-6)
    assert torch.allclose(taken["gradient/convolution"], slope.norm())
