"""How many bytes and FLOPs a step of a DenseNet needs, part by part: a model, not a measurement.

Every operation reads its inputs once and writes its outputs once; what a cache saves is not counted. M is the number of
pixels of a feature map times the batch, C the channels that a layer reads, b the width of its bottleneck, k the growth
rate, D the channels after a transition. Elements per row of M:

eager, one operation after another, as every implementation that concatenates does it::

    forward   concatenation 2C; norm 3C (statistics, then read and write); ReLU 2C; 1x1 convolution reads C, writes b;
              norm 3b; ReLU 2b; 3x3 convolution reads b, writes k                                 8C +  7b +  k
              with running statistics a norm is 2, not 3                                          7C +  6b +  k
              and once per block the concatenation of its output, 2 (C0 + L*k)
    backward  3x3 convolution: input gradient k + b, weight gradient k + b; ReLU 3b (gradient, output, result);
              norm 5b (two sums over gradient and input, then both again and the result);
              1x1 convolution: input gradient b + C, weight gradient b + C; ReLU 3C; norm 5C;
              adding the gradient to those of the earlier features 3C                            13C + 12b + 2k

recompute (memory_efficient): the same, and backward repeats forward up to the 1x1 convolution   + 8C +   b

fused: the block of :func:`mmdensenet.ops.fused_dense_block`, without concatenation, with every elementwise pass in the
prologue or epilogue of a product::

    forward   1x1 convolution reads C, writes b; 3x3 convolution reads b, writes k into the buffer  C +  2b +  k
              and once per block the copy of its input into the buffer, 2 C0
    backward  the new channels' gradient from buffer and gradient buffer 3k; 3x3 convolution: input gradient reads k,
              writes b and reads the bottleneck b for mask and sums, weight gradient k + b; norm 3b (gradient,
              bottleneck, result); 1x1 convolution: reads the result twice 2b, the buffer for the weight gradient C and
              again for mask and sums C, adds to the gradient buffer 2C                            4C +  8b + 5k
              and once per block the gradient of its input, 3 C0

A transition (norm, ReLU, convolution, pooling) is 6C + 2.25D forward and 10C + 3.25D backward in eager code; one that
shares the statistics and pools first is 1.5C + 0.25D and 2.75C + 0.5D, and its convolution has a quarter of the FLOPs.
Stem, last norm, linear layer, parameters and optimiser (SGD with momentum) are the same for all.

    python -m benchmarks.traffic --arch 121 --batch 16 --size 224
"""

import argparse
from dataclasses import dataclass

from .architectures import ARCHITECTURES, Architecture
from .report import text_table

KINDS = ('eager', 'recompute', 'fused')
PARAMETER_BYTES = 4  # also under autocast


@dataclass(frozen=True)
class Cost:
    """Bytes moved and FLOPs (two per multiply-add), forward and backward, of one part of the model."""

    part: str
    forward_bytes: float
    backward_bytes: float
    forward_flops: float
    backward_flops: float

    @property
    def bytes(self) -> float:
        return self.forward_bytes + self.backward_bytes

    @property
    def flops(self) -> float:
        return self.forward_flops + self.backward_flops


def block_elements(
    kind: str, in_channels: int, layers: int, growth_rate: int, width: int, training: bool = True
) -> tuple[float, float]:
    """Elements that a dense block moves for each row of M, forward and backward (0 without ``training``)."""
    k, b = growth_rate, width
    forward = backward = 0.0
    for layer in range(layers):
        c = in_channels + layer * k
        if kind == 'fused':
            forward += c + 2 * b + k
            backward += 4 * c + 8 * b + 5 * k
        else:
            forward += (8 * c + 7 * b + k) if training else (7 * c + 6 * b + k)
            backward += 13 * c + 12 * b + 2 * k
            if kind == 'recompute':
                backward += 8 * c + b
    if kind == 'fused':
        forward += 2 * in_channels
        backward += 3 * in_channels
    else:
        forward += 2 * (in_channels + layers * k)
    return forward, backward if training else 0.0


def transition_elements(kind: str, c: int, d: int, training: bool = True) -> tuple[float, float]:
    """As :func:`block_elements`, for a transition from ``c`` to ``d`` channels; M counts the rows before pooling."""
    if kind == 'fused':
        forward, backward = 1.5 * c + 0.25 * d, 2.75 * c + 0.5 * d
    else:
        forward, backward = (6 if training else 5) * c + 2.25 * d, 10 * c + 3.25 * d
    return forward, backward if training else 0.0


def costs(arch: Architecture, batch: int, size: int, kind: str, training: bool = True, itemsize: int = 4) -> list[Cost]:
    """Return the cost of each part of the model in one step.

    Args:
        batch, size: images, and their height and width.
        kind: 'eager', 'recompute' or 'fused'.
        training: a step with backward and optimiser, else one evaluation.
        itemsize: bytes of an activation; parameters have four.
    """

    def cost(part: str, rows: int, elements: tuple[float, float], macs: float, backward_macs: float) -> Cost:
        forward, backward = (rows * itemsize * count for count in elements)
        return Cost(part, forward, backward * training, 2 * macs, 2 * backward_macs * training)

    parts = [cost('stem', 1, *_stem(arch, batch, size, training))]
    stages = list(arch.stages(size))
    k, width = arch.growth_rate, arch.width
    for i, stage in enumerate(stages):
        rows = batch * stage.side**2
        elements = block_elements(kind, stage.in_channels, stage.layers, k, width, training)
        macs = rows * sum(width * (stage.in_channels + layer * k) + 9 * width * k for layer in range(stage.layers))
        parts.append(cost(f'block {i + 1}', rows, elements, macs, 2 * macs))
        if i < len(stages) - 1:
            c, d = stage.out_channels, stages[i + 1].in_channels
            pooled = batch * stages[i + 1].side ** 2
            macs = (pooled if kind == 'fused' else rows) * c * d
            parts.append(cost(f'transition {i + 1}', rows, transition_elements(kind, c, d, training), macs, 2 * macs))
    c = arch.out_channels
    # norm, ReLU and pooling; backward writes the pooling's gradient and passes ReLU and norm
    macs = batch * c * arch.classes
    parts.append(cost('last norm, linear', rows, ((6 if training else 5) * c, 9 * c), macs, 2 * macs))
    # Forward and backward read them, backward writes the gradients; the optimiser reads parameter, gradient and
    # momentum, and writes parameter and momentum.
    parameters = PARAMETER_BYTES * arch.parameters
    parts.append(Cost('parameters', parameters, 7 * parameters * training, 0, 0))
    return parts


def _stem(arch: Architecture, batch: int, size: int, training: bool) -> tuple[tuple[float, float], float, float]:
    """Elements, and multiply-adds forward and backward; the image needs no gradient."""
    image = 3 * batch * size**2
    if arch.stem == 'cifar':
        out = arch.init_channels * batch * size**2
        return (image + out, image + out), 27 * out, 27 * out
    out = arch.init_channels * batch * ((size + 1) // 2) ** 2
    return (image + (7.25 if training else 6.25) * out, image + 10.25 * out), 147 * out, 147 * out


def total_bytes(parts: list[Cost]) -> float:
    return sum(part.bytes for part in parts)


def least_seconds(parts: list[Cost], flops_per_second: float, bytes_per_second: float) -> float:
    """The roofline: each part takes the longer of its arithmetic and its traffic at these rates, one after another."""
    return sum(max(part.flops / flops_per_second, part.bytes / bytes_per_second) for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.traffic', description='Print the traffic and FLOPs that a step of a DenseNet needs.'
    )
    parser.add_argument('--arch', default='121', choices=list(ARCHITECTURES))
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--size', type=int, default=224, help='height and width of the images')
    parser.add_argument('--itemsize', type=int, default=4, help='bytes of an activation')
    args = parser.parse_args()
    arch = ARCHITECTURES[args.arch]
    for kind in KINDS:
        parts = costs(arch, args.batch, args.size, kind, itemsize=args.itemsize)
        table = [(p.part, p.forward_bytes, p.backward_bytes, p.flops) for p in parts]
        table.append(('total', *(sum(row[i] for row in table) for i in (1, 2, 3))))
        print(f'\n{kind}: training step of {args.arch}, batch {args.batch}, {args.size} px')
        rows = [(name, *(f'{value / 1e9:.2f}' for value in values)) for name, *values in table]
        print(text_table(('part', 'forward GB', 'backward GB', 'GFLOPs'), rows))


if __name__ == '__main__':
    main()
