# SPDX-License-Identifier: Apache-2.0
"""The passes before and after the network on a GPU, as Triton kernels; both are one read and one write of each pixel.

They are equal to ``dense_output.dense_output`` to 1e-3 in score. Import this only where ``triton`` is installed. With
TRITON_INTERPRET=1 they run on a CPU, which the tests use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from densehybrid_ros.inference.dense_output import DenseOutput
from densehybrid_ros.inference.input_policy import Sampling
from densehybrid_ros.networks import HybridOutput

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("Triton is not installed: PyTorch's own operations are used instead") from error

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 256  # result pixels of one program
_QUADRUPLE_BLOCK = 128  # result columns of one program
_UNROLLED_CLASSES = 32
_FOUR_TIMES = Sampling(0.25, -0.375, 0.25, -0.375)
_CALM = tl.constexpr(16.0)  # change of a logit, to base 2, from one row of the result to the next
_INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def _positions(pixel, scale, offset, count):
    at = tl.minimum(tl.maximum(pixel.to(tl.float32) * scale + offset, 0.0), count - 1.0)
    lower = at.to(tl.int32)
    return lower, tl.minimum(lower + 1, count - 1), at - lower.to(tl.float32)


@triton.jit
def _corner(maps, row, column, row_stride, column_stride):
    return maps + row * row_stride + column * column_stride


@triton.jit
def _difference(posterior, row, column, channel_stride, row_stride, column_stride):
    # Of the posterior's two logits. Interpolation is linear, so it is their difference that is interpolated.
    first = _corner(posterior, row, column, row_stride, column_stride)
    return tl.load(first).to(tl.float32) - tl.load(first + channel_stride).to(tl.float32)


@triton.jit
def _mark_not_finite(flag, scores, mask):
    # No reduction and no atomic: every lane that sees NaN or infinity stores the same 1, and no other lane stores.
    tl.store(flag + tl.zeros(scores.shape, tl.int32), 1, mask=mask & ~(tl.abs(scores) < float("inf")))


@triton.jit
def _dense_output_kernel(
    logits,
    posterior,
    controls,
    semantic,
    score,
    open_set,
    confidence,
    not_finite,
    columns,
    in_rows,
    in_columns,
    scale_y,
    offset_y,
    scale_x,
    offset_x,
    logits_channel,
    logits_row,
    logits_column,
    posterior_channel,
    posterior_row,
    posterior_column,
    CLASSES: tl.constexpr,
    OPEN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # One program makes BLOCK pixels of one row. Strides are in elements; `controls` is threshold, midpoint, scale.
    y = tl.program_id(0)
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = x < columns
    top, bottom, down = _positions(y, scale_y, offset_y, in_rows)
    left, right, across = _positions(x, scale_x, offset_x, in_columns)
    top_left = _corner(logits, top, left, logits_row, logits_column)
    top_right = _corner(logits, top, right, logits_row, logits_column)
    bottom_left = _corner(logits, bottom, left, logits_row, logits_column)
    bottom_right = _corner(logits, bottom, right, logits_row, logits_column)
    best = tl.full([BLOCK], -float("inf"), tl.float32)
    best_class = tl.zeros([BLOCK], tl.int32)
    total = tl.zeros([BLOCK], tl.float32)
    for k in range(CLASSES):
        step = k * logits_channel
        a = tl.load(top_left + step).to(tl.float32)
        b = tl.load(top_right + step).to(tl.float32)
        c = tl.load(bottom_left + step).to(tl.float32)
        d = tl.load(bottom_right + step).to(tl.float32)
        upper = a + across * (b - a)
        value = upper + down * (c + across * (d - c) - upper)
        larger = value > best
        if OPEN:
            # Running log-sum-exp with one exponential a class: rescale the sum where the maximum moves.
            factor = tl.exp(-tl.abs(value - best))
            total = tl.where(larger, total * factor + 1.0, total + factor)
        best_class = tl.where(larger, k, best_class)
        best = tl.where(larger, value, best)
    at = y.to(tl.int64) * columns + x
    tl.store(semantic + at, best_class.to(tl.uint8), mask=inside)
    if OPEN:
        a = _difference(posterior, top, left, posterior_channel, posterior_row, posterior_column)
        b = _difference(posterior, top, right, posterior_channel, posterior_row, posterior_column)
        c = _difference(posterior, bottom, left, posterior_channel, posterior_row, posterior_column)
        d = _difference(posterior, bottom, right, posterior_channel, posterior_row, posterior_column)
        upper = a + across * (b - a)
        odds = upper + down * (c + across * (d - c) - upper)
        # ln P(d_out|x) = -ln(1 + exp(odds)), in the form that does not overflow.
        log_outlier = -(tl.maximum(odds, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(odds))))
        result = log_outlier - (best + tl.log(total))
        threshold = tl.load(controls)
        midpoint = tl.load(controls + 1)
        scale = tl.load(controls + 2)
        tl.store(score + at, result, mask=inside)
        _mark_not_finite(not_finite, result, inside)
        tl.store(open_set + at, tl.where(result > threshold, CLASSES, best_class).to(tl.uint8), mask=inside)
        probability = 1.0 / (1.0 + tl.exp((midpoint - result) / scale))
        tl.store(confidence + at, (255.0 * probability + 0.5).to(tl.int32).to(tl.uint8), mask=inside)


@triton.jit
def _power_of_two(exponents):
    # tl.exp2 spends three more instructions on results that float32 holds with fewer digits, below 2^-126: here zero.
    # Likewise the two below, none of whose arguments is that small.
    if _INTERPRETED:
        return tl.exp2(exponents)
    return tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [exponents], tl.float32, True, 1)


@triton.jit
def _logarithm(values):
    # To base 2.
    if _INTERPRETED:
        return tl.log2(values)
    return tl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=f,f", [values], tl.float32, True, 1)


@triton.jit
def _reciprocal(values):
    # That of infinity is zero.
    if _INTERPRETED:
        return 1.0 / values
    return tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [values], tl.float32, True, 1)


@triton.jit
def _sum_at(firsts, slopes, row: tl.constexpr, best, CLASSES: tl.constexpr):
    total = tl.zeros_like(best)
    for k in tl.static_range(CLASSES):
        total += _power_of_two(firsts[k] - best + slopes[k] * row)
    return total


@triton.jit
def _sums(firsts, slopes, steepest, best, CLASSES: tl.constexpr):
    # Sums over the classes of 2^(value - best[row]) for four rows. From row to row a value grows by its slope, so its
    # power of two grows by a factor: two exponentials for four rows. All are then relative to the first row's largest
    # value; with slopes up to _CALM no sum overflows, and what underflows is below 2^-30 of its row's sum. Logits
    # that change by more from one pixel to the next are computed one by one.
    zero = tl.zeros_like(best[0])
    sum0, sum1, sum2, sum3 = zero, zero, zero, zero
    if tl.max(steepest, 0) <= _CALM:
        for k in tl.static_range(CLASSES):
            first = _power_of_two(firsts[k] - best[0])
            factor = _power_of_two(slopes[k])
            third = first * (factor * factor)
            sum0 += first
            sum1 += first * factor
            sum2 += third
            sum3 += third * factor
        reference0, reference1, reference2, reference3 = best[0], best[0], best[0], best[0]
    else:
        sum0, sum1 = _sum_at(firsts, slopes, 0, best[0], CLASSES), _sum_at(firsts, slopes, 1, best[1], CLASSES)
        sum2, sum3 = _sum_at(firsts, slopes, 2, best[2], CLASSES), _sum_at(firsts, slopes, 3, best[3], CLASSES)
        reference0, reference1, reference2, reference3 = best[0], best[1], best[2], best[3]
    return (sum0, sum1, sum2, sum3), (reference0, reference1, reference2, reference3)


@triton.jit
def _quadruple_output_kernel(
    logits,
    posterior,
    controls,
    semantic,
    score,
    open_set,
    confidence,
    not_finite,
    in_rows,
    in_columns,
    logits_channel,
    logits_row,
    logits_column,
    posterior_channel,
    posterior_row,
    posterior_column,
    CLASSES: tl.constexpr,
    OPEN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # The same where the result is four times as large as the output, pixel centres at half-integer positions: rows
    # 4 i + 2 to 4 i + 5 lie between the same two rows of the output, so one program makes four rows from one reading,
    # and what lies between the columns is computed once. Logits are scaled for exponentials to base 2.
    cell = tl.program_id(0) - 1
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    columns = 4 * in_columns
    top, bottom = tl.maximum(cell, 0), tl.minimum(cell + 1, in_rows - 1)
    left, right, across = _positions(x, 0.25, -0.375, in_columns)
    top_left = _corner(logits, top, left, logits_row, logits_column)
    top_right = _corner(logits, top, right, logits_row, logits_column)
    bottom_left = _corner(logits, bottom, left, logits_row, logits_column)
    bottom_right = _corner(logits, bottom, right, logits_row, logits_column)
    firsts = ()
    slopes = ()
    steepest = tl.zeros([BLOCK], tl.float32)
    best0 = tl.full([BLOCK], -float("inf"), tl.float32)
    best1, best2, best3 = best0, best0, best0
    class0 = tl.zeros([BLOCK], tl.int32)
    class1, class2, class3 = class0, class0, class0
    for k in tl.static_range(CLASSES):
        step = k * logits_channel
        a = tl.load(top_left + step).to(tl.float32)
        b = tl.load(top_right + step).to(tl.float32)
        c = tl.load(bottom_left + step).to(tl.float32)
        d = tl.load(bottom_right + step).to(tl.float32)
        upper = a + across * (b - a)
        slope = (c + across * (d - c) - upper) * (0.25 * 1.4426950408889634)
        v0 = upper * 1.4426950408889634 + 0.5 * slope
        v1, v2, v3 = v0 + slope, v0 + 2.0 * slope, v0 + 3.0 * slope
        class0 = tl.where(v0 > best0, k, class0)
        class1 = tl.where(v1 > best1, k, class1)
        class2 = tl.where(v2 > best2, k, class2)
        class3 = tl.where(v3 > best3, k, class3)
        best0, best1 = tl.maximum(best0, v0), tl.maximum(best1, v1)
        best2, best3 = tl.maximum(best2, v2), tl.maximum(best3, v3)
        if OPEN:
            firsts = firsts + (v0,)  # type: ignore[assignment]  # noqa: RUF005
            slopes = slopes + (slope,)  # type: ignore[assignment]  # noqa: RUF005
            steepest = tl.maximum(steepest, tl.abs(slope))
    first = 4 * cell + 2
    at = first.to(tl.int64) * columns + x
    inside = x < columns
    upper_pair, lower_pair = inside & (cell >= 0), inside & (cell < in_rows - 1)
    has = (upper_pair, upper_pair, lower_pair, lower_pair)
    best, best_class = (best0, best1, best2, best3), (class0, class1, class2, class3)
    if OPEN:
        a = _difference(posterior, top, left, posterior_channel, posterior_row, posterior_column)
        b = _difference(posterior, top, right, posterior_channel, posterior_row, posterior_column)
        c = _difference(posterior, bottom, left, posterior_channel, posterior_row, posterior_column)
        d = _difference(posterior, bottom, right, posterior_channel, posterior_row, posterior_column)
        upper = a + across * (b - a)
        slope = (c + across * (d - c) - upper) * (0.25 * 1.4426950408889634)
        odds = upper * 1.4426950408889634 + 0.5 * slope
        threshold = tl.load(controls)
        steep = 1.4426950408889634 / tl.load(controls + 2)
        midpoint = tl.load(controls + 1) * steep
        totals, references = _sums(firsts, slopes, steepest, best, CLASSES)
        # `odds`, `references`, `midpoint` and `steep` are to base 2. The log-sum-exp shares a logarithm with
        # ln P(d_out|x) = -ln(1 + exp(odds)), which is written in the form that does not overflow.
        for row in tl.static_range(4):
            at_row = odds + row * slope
            above = tl.maximum(at_row, 0.0) + references[row]
            result = (above + _logarithm(totals[row] * (1.0 + _power_of_two(-tl.abs(at_row))))) * -0.6931471805599453
            tl.store(semantic + at, best_class[row].to(tl.uint8), mask=has[row])
            tl.store(score + at, result, mask=has[row])
            _mark_not_finite(not_finite, result, has[row])
            tl.store(open_set + at, tl.where(result > threshold, CLASSES, best_class[row]).to(tl.uint8), mask=has[row])
            probability = _reciprocal(1.0 + _power_of_two(midpoint - result * steep))
            tl.store(confidence + at, (255.0 * probability + 0.5).to(tl.int32).to(tl.uint8), mask=has[row])
            at += columns
    else:
        for row in tl.static_range(4):
            tl.store(semantic + at + row * columns, best_class[row].to(tl.uint8), mask=has[row])


@triton.jit
def _network_input_kernel(
    image,
    images,
    controls,
    not_finite,
    columns,
    to_channel,
    to_row,
    to_column,
    BLOCK: tl.constexpr,
):
    # `controls[3]` above 0: the bytes are blue, green, red.
    y = tl.program_id(0)
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = x < columns
    swap = tl.load(controls + 3) > 0.5
    if (y == 0) & (tl.program_id(1) == 0):
        tl.store(not_finite, 0)
    source = image + (y.to(tl.int64) * columns + x) * 3
    target = images + y.to(tl.int64) * to_row + x * to_column
    for channel in range(3):
        taken = tl.where(swap, 2 - channel, channel)
        value = tl.load(source + taken, mask=inside, other=0).to(tl.float32) / 255.0
        tl.store(target + channel * to_channel, value.to(images.dtype.element_ty), mask=inside)


def write_dense_output(
    output: HybridOutput, sampling: Sampling, controls: Tensor, result: DenseOutput, open_set: bool = True
) -> None:
    """Fills ``result`` in one pass; no tensor of full size with K channels exists. ``not_finite`` is set, never reset.

    Args:
        output: Outputs of one image, [1, K, h, w] and [1, 2, h, w], K up to 64; any strides; float16, bfloat16 or
            float32.
        sampling: Where result pixels lie in the output.
        controls: float32 [4] on the device: threshold, midpoint and scale of the confidence, and 1 where the bytes of
            the frame are BGR. They are read when the kernel runs, so a captured graph follows them.
        result: Contiguous tensors [H, W] on the device.
        open_set: False writes ``semantic`` alone: what a closed-set model computes, to compare with.
    """
    logits, posterior = output
    rows, columns = result.semantic.shape
    in_rows, in_columns = logits.shape[2:]
    targets = (result.semantic, result.anomaly_score, result.open_set, result.confidence, result.not_finite)
    strides = (*logits.stride()[1:], *posterior.stride()[1:])
    kinds = {"CLASSES": logits.shape[1], "OPEN": open_set}
    four_times = sampling == _FOUR_TIMES and (rows, columns) == (4 * in_rows, 4 * in_columns)
    if four_times and logits.shape[1] <= _UNROLLED_CLASSES:
        kernel = _quadruple_output_kernel[(in_rows + 1, triton.cdiv(columns, _QUADRUPLE_BLOCK))]
        arguments = (logits, posterior, controls, *targets, in_rows, in_columns, *strides)
        _launch(kernel, logits.device, *arguments, **kinds, BLOCK=_QUADRUPLE_BLOCK)
        return
    kernel = _dense_output_kernel[(rows, triton.cdiv(columns, _BLOCK))]
    sizes = (columns, in_rows, in_columns, *(float(value) for value in sampling))
    _launch(kernel, logits.device, logits, posterior, controls, *targets, *sizes, *strides, **kinds, BLOCK=_BLOCK)


def write_network_input(image: Tensor, controls: Tensor, images: Tensor, not_finite: Tensor) -> None:
    """Scales a frame to 0..1 and orders its bytes as the network wants them, in one pass.

    Args:
        image: uint8 [H, W, 3], contiguous, on the device.
        controls: See ``write_dense_output``.
        images: [1, 3, H, W] in the network's dtype and memory format, filled here.
        not_finite: uint8 [1], set to 0 here: it costs nothing, and ``write_dense_output`` comes behind.
    """
    rows, columns = image.shape[:2]
    grid = (rows, triton.cdiv(columns, _BLOCK))
    strides = images.stride()[1:]
    tensors = (image, images, controls, not_finite)
    _launch(_network_input_kernel[grid], image.device, *tensors, columns, *strides, BLOCK=_BLOCK)


def _launch(kernel: Callable[..., object], device: torch.device, *arguments: object, **constants: object) -> None:
    if device.type == "cuda":
        with torch.cuda.device(device):  # Triton launches on the current device
            kernel(*arguments, **constants)
    else:
        kernel(*arguments, **constants)
