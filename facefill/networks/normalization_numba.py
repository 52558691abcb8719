"""Group norm with its activation, forward and backward, as machine code for the CPU and feature maps whose
channels lie last.

The twin of `normalization.normalized`, which it equals to rounding. torch's own group norm takes up to ten
times as long in that layout, in which the convolutions are twice as fast. Sums run over pixels in a fixed
order, so two runs agree to the last bit. Half-precision maps are read and written as their 16 bits.
"""

import math
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function

from facefill.geometry.compiled import compiled, for_images

NONE, ELU, SIGMOID, LEAKY = range(4)
KINDS = {"none": NONE, "elu": ELU, "sigmoid": SIGMOID, "leaky_relu": LEAKY}
LEAK = np.float32(0.2)
LANES = 256  # pixels are taken together until a row has about so many numbers
BLOCK = 16  # rows whose sum is taken in single precision

Array = NDArray[Any]


class NormalizedChannelsLast(Function):
    """activation(group_norm(features) [+ added]) of maps (N, C, H, W) in channels_last."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        added: Tensor | None,
        groups: int,
        eps: float,
        activation: str,
    ) -> Tensor:
        answer = torch.empty_like(features, memory_format=torch.channels_last)
        count, channels = features.shape[:2]
        mean = np.empty((count, channels), np.float32)
        deviation = np.empty((count, channels), np.float32)  # one over it
        scale, offset = numbers(weight), numbers(bias)
        taken, written = rows_of(features), rows_of(answer)
        more = taken if added is None else rows_of(added)
        shift = np.uint32(32 - 8 * features.element_size())

        def work(image: int) -> None:
            x = taken[image]
            totals = np.zeros((2, x.shape[1]))
            compiled(add_moments)(x, shift, totals)
            first, second = grouped(totals, channels, groups)
            size = x.size // groups
            middle = first / size
            with np.errstate(invalid="ignore"):  # of what is infinite
                inverse = 1 / np.sqrt(np.maximum(second / size - middle**2, 0) + eps)
            mean[image], deviation[image] = spread(middle, channels), spread(inverse, channels)
            gain = deviation[image] * scale
            coefficients = lanes(np.stack([gain, offset - mean[image] * gain]), x.shape[1])
            kind = KINDS[activation]
            compiled(fill_normalized)(
                x, more[image], shift, coefficients, kind, added is not None, written[image]
            )

        for_images(work, count)
        ctx.save_for_backward(features, weight, bias, added, answer)
        ctx.mean, ctx.deviation = mean, deviation
        ctx.groups, ctx.eps, ctx.activation = groups, eps, activation
        return answer

    @staticmethod
    def backward(ctx: Any, by_answer: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, added, answer = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants to differentiate once more
            return (*differentiable_backward(ctx, features, weight, bias, added, by_answer), None, None, None)
        by_answer = by_answer.to(features.dtype).contiguous(memory_format=torch.channels_last)
        by_features = torch.empty_like(features, memory_format=torch.channels_last)
        by_added = None if added is None else torch.empty_like(by_features)
        count, channels = features.shape[:2]
        groups, kind, scale = ctx.groups, KINDS[ctx.activation], numbers(weight)
        by_scale, by_offset = np.empty((count, channels)), np.empty((count, channels))
        x_of, y_of, given, written = (rows_of(t) for t in (features, answer, by_answer, by_features))
        more = written if by_added is None else rows_of(by_added)
        shift = np.uint32(32 - 8 * features.element_size())

        def work(image: int) -> None:
            x, y, dy = x_of[image], y_of[image], given[image]
            totals = np.zeros((2, x.shape[1]))
            compiled(add_gradient_moments)(x, y, dy, shift, kind, totals)
            plain, times_x = folded(totals, channels)
            mean, deviation = ctx.mean[image].astype(float), ctx.deviation[image].astype(float)
            by_offset[image] = plain
            by_scale[image] = (times_x - plain * mean) * deviation
            both = np.stack([plain, times_x]) * scale
            sum_plain, sum_times_x = (spread(values, channels) for values in grouped(both, channels, groups))
            size = x.size // groups
            slope = (sum_plain * mean - sum_times_x) * deviation**3 / size
            offset = -slope * mean - sum_plain * deviation / size
            coefficients = lanes(np.stack([scale * deviation, slope, offset]), x.shape[1])
            compiled(fill_gradient)(
                x, y, dy, shift, coefficients, kind, by_added is not None, written[image], more[image]
            )

        for_images(work, count)
        dtype = weight.dtype
        by_weight = torch.from_numpy(by_scale.sum(0)).to(dtype)
        by_bias = torch.from_numpy(by_offset.sum(0)).to(dtype)
        return by_features, by_weight, by_bias, by_added, None, None, None


def differentiable_backward(
    ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None, by_answer: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients as a graph of torch's own operators, for penalties on gradients."""
    from facefill.networks.normalization import normalized_with_torch

    inputs = (features, weight, bias, added)
    answer = normalized_with_torch(*inputs, ctx.groups, ctx.eps, ctx.activation)
    wanted = [place for place, value in enumerate(inputs) if value is not None and value.requires_grad]
    found = torch.autograd.grad(
        answer, [cast(Tensor, inputs[place]) for place in wanted], by_answer, create_graph=True
    )
    gradients: list[Tensor | None] = [None] * len(inputs)
    for place, gradient in zip(wanted, found, strict=True):
        gradients[place] = gradient
    return tuple(gradients)


def rows_of(maps: Tensor) -> list[Array]:
    """The bits of each map as (rows, numbers in a row), rows holding several pixels with all channels."""
    count, channels, height, width = maps.shape
    together = math.gcd(height * width, max(1, LANES // channels))
    bits = torch.uint16 if maps.element_size() == 2 else torch.uint32
    flat = maps.detach().permute(0, 2, 3, 1).view(bits).numpy()
    return list(flat.reshape(count, height * width // together, together * channels))


def numbers(values: Tensor) -> Array:
    """A parameter as float32."""
    return values.detach().float().numpy()


def lanes(values: Array, width: int) -> Array:
    """(K, C) values of channels as (K, width) of the numbers in a row."""
    return np.ascontiguousarray(np.tile(values, width // values.shape[1]), np.float32)


def folded(totals: Array, channels: int) -> Array:
    """(K, width) sums of the numbers in a row as (K, C) of channels."""
    return totals.reshape(len(totals), -1, channels).sum(1)


def grouped(totals: Array, channels: int, groups: int) -> Array:
    """(K, width) sums as (K, groups)."""
    return folded(totals, channels).reshape(len(totals), groups, -1).sum(2)


def spread(values: Array, channels: int) -> Array:
    """(groups,) values as (C,)."""
    return np.repeat(values, channels // len(values))


def add_moments(x: np.ndarray, shift: np.uint32, totals: np.ndarray) -> None:
    """Add sums and sums of squares over the rows of `x` to `totals` (2, width)."""
    width = x.shape[1]
    sums, squares = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for start in range(0, x.shape[0], BLOCK):
        sums[:] = np.float32(0)
        squares[:] = np.float32(0)
        for row in range(start, min(start + BLOCK, x.shape[0])):
            for k in range(width):
                value = np.uint32(np.uint32(x[row, k]) << shift).view(np.float32)
                sums[k] += value
                squares[k] += value * value
        for k in range(width):
            totals[0, k] += sums[k]
            totals[1, k] += squares[k]


def fill_normalized(
    x: np.ndarray,
    added: np.ndarray,
    shift: np.uint32,
    coefficients: np.ndarray,
    kind: int,
    adds: bool,
    out: np.ndarray,
) -> None:
    """Write activation(x · coefficient + coefficient [+ added])."""
    width = x.shape[1]
    line = np.empty(width, np.float32)
    line_bits = line.view(np.uint32)
    gain, offset = coefficients[0], coefficients[1]
    for row in range(x.shape[0]):
        for k in range(width):
            line[k] = np.uint32(np.uint32(x[row, k]) << shift).view(np.float32) * gain[k] + offset[k]
        if adds:
            for k in range(width):
                line[k] += np.uint32(np.uint32(added[row, k]) << shift).view(np.float32)
        if kind in (ELU, SIGMOID):
            for k in range(width):
                value = line[k]
                # e^v, v below zero, as 2^whole · e^rest, |rest| ≤ ln(2)/2
                v = max(min(value, -value), np.float32(-87))
                whole = np.int32(v * np.float32(1.44269504) - np.float32(0.5))
                part = np.float32(whole)
                rest = (v - part * np.float32(0.693359375)) + part * np.float32(2.12194440e-4)
                power = np.float32(1.9875691500e-4)
                power = power * rest + np.float32(1.3981999507e-3)
                power = power * rest + np.float32(8.3334519073e-3)
                power = power * rest + np.float32(4.1665795894e-2)
                power = power * rest + np.float32(1.6666665459e-1)
                power = power * rest + np.float32(5.0000001201e-1)
                less_one = power * rest * rest + rest
                two = np.uint32(np.uint32(whole + np.int32(127)) << np.uint32(23)).view(np.float32)
                if kind == ELU:
                    below = two * less_one + (two - np.float32(1))
                    line[k] = value if value > 0 else below
                else:
                    small = two * less_one + two
                    share = small / (np.float32(1) + small)
                    line[k] = np.float32(1) - share if value > 0 else share
        elif kind == LEAKY:
            for k in range(width):
                line[k] = line[k] if line[k] > 0 else line[k] * LEAK
        if shift:  # round to the nearest of 16 bits, ties to even
            for k in range(width):
                bits = line_bits[k]
                bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
                out[row, k] = bits >> np.uint32(16)
        else:
            for k in range(width):
                out[row, k] = line_bits[k]


def add_gradient_moments(
    x: np.ndarray, y: np.ndarray, by_y: np.ndarray, shift: np.uint32, kind: int, totals: np.ndarray
) -> None:
    """Add the sums over rows of the gradient before the activation, plain and times x, to `totals`."""
    width = x.shape[1]
    plain, times_x = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for start in range(0, x.shape[0], BLOCK):
        plain[:] = np.float32(0)
        times_x[:] = np.float32(0)
        for row in range(start, min(start + BLOCK, x.shape[0])):
            for k in range(width):
                gradient = np.uint32(np.uint32(by_y[row, k]) << shift).view(np.float32)
                answer = np.uint32(np.uint32(y[row, k]) << shift).view(np.float32)
                if kind == ELU:
                    gradient *= min(answer, np.float32(0)) + np.float32(1)
                elif kind == SIGMOID:
                    gradient *= answer * (np.float32(1) - answer)
                elif kind == LEAKY:
                    gradient = gradient if answer > 0 else gradient * LEAK
                plain[k] += gradient
                times_x[k] += gradient * np.uint32(np.uint32(x[row, k]) << shift).view(np.float32)
        for k in range(width):
            totals[0, k] += plain[k]
            totals[1, k] += times_x[k]


def fill_gradient(
    x: np.ndarray,
    y: np.ndarray,
    by_y: np.ndarray,
    shift: np.uint32,
    coefficients: np.ndarray,
    kind: int,
    adds: bool,
    by_x: np.ndarray,
    by_added: np.ndarray,
) -> None:
    """Write the gradients by x and, if `adds`, by what was added."""
    width = x.shape[1]
    line, before = np.empty(width, np.float32), np.empty(width, np.float32)
    line_bits, before_bits = line.view(np.uint32), before.view(np.uint32)
    gain, slope, offset = coefficients[0], coefficients[1], coefficients[2]
    for row in range(x.shape[0]):
        for k in range(width):
            gradient = np.uint32(np.uint32(by_y[row, k]) << shift).view(np.float32)
            answer = np.uint32(np.uint32(y[row, k]) << shift).view(np.float32)
            if kind == ELU:
                gradient *= min(answer, np.float32(0)) + np.float32(1)
            elif kind == SIGMOID:
                gradient *= answer * (np.float32(1) - answer)
            elif kind == LEAKY:
                gradient = gradient if answer > 0 else gradient * LEAK
            value = np.uint32(np.uint32(x[row, k]) << shift).view(np.float32)
            before[k] = gradient
            line[k] = gradient * gain[k] + value * slope[k] + offset[k]
        if shift:
            for k in range(width):
                bits = line_bits[k]
                bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
                by_x[row, k] = bits >> np.uint32(16)
            if adds:
                for k in range(width):
                    bits = before_bits[k]
                    bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
                    by_added[row, k] = bits >> np.uint32(16)
        else:
            for k in range(width):
                by_x[row, k] = line_bits[k]
            if adds:
                for k in range(width):
                    by_added[row, k] = before_bits[k]
