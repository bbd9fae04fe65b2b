"""The reuse of earlier features by each layer: figure 5 of the DenseNet paper (arXiv:1608.06993, section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from mmdensenet.errors import UserError
from mmdensenet.results.figures import SEQUENTIAL, label_ticks, new_figure

SCALES = ('reader', 'block', 'none')


@dataclass(frozen=True)
class BlockReuse:
    """The mean absolute weights with which the layers of a dense block read its features.

    ``weights[s, t]`` is the mean absolute weight with which reader t reads source s: the L1 norm of the weights
    between them, divided by their number, which is (feature maps of the source) x (feature maps of the reader) x
    (kernel positions). The paper has 'average L1 norm, normalised by number of input feature maps'; the other two
    factors are constant for a reader and make different kinds of readers comparable. NaN stands where a source comes
    after its reader.

    Attributes:
        weights: (L + 1, L + 1) or, without a transition or classifier, (L + 1, L), float64.
        sources: 'input' (the features of the stem or the previous transition), '1', ..., 'L'.
        readers: '1', ..., 'L', and 'transition' or 'classifier'.
        widths: feature maps of each source.
    """

    weights: np.ndarray
    sources: list[str]
    readers: list[str]
    widths: list[int]

    def relative(self) -> np.ndarray:
        """``weights`` divided by each reader's largest."""
        return self.weights / np.nanmax(self.weights, axis=0)

    def shares(self) -> np.ndarray:
        """``weights`` divided by each reader's sum: columns that sum to 1."""
        return self.weights / np.nansum(self.weights, axis=0)


def feature_reuse(model: nn.Module) -> list[BlockReuse]:
    """Each dense block's :class:`BlockReuse`.

    The weights are those of the convolutions that read the concatenated features: the 1x1 of bottleneck layers, the 3x3
    of plain layers and the 1x1 of transitions; after the last block, those of the head's linear layer.

    Args:
        model: a classifier with a DenseNet backbone (:func:`mmdensenet.get_model`), or the backbone alone.

    Raises:
        UserError: if it has no dense blocks.
    """
    backbone = getattr(model, 'backbone', model)
    stages, transitions = getattr(backbone, 'stages', None), getattr(backbone, 'transitions', None)
    if not stages or transitions is None or not all(hasattr(stage, 'block') for stage in stages):
        raise UserError(f'{type(backbone).__name__} has no dense blocks: feature reuse is of a DenseNet.')
    blocks = []
    for stage, transition in zip(stages, transitions):
        readers = {str(i): layer.conv1.weight for i, layer in enumerate(stage.block, 1)}
        widths = [stage.block[0].conv1.in_channels]
        widths += [(layer.conv1 if layer.conv2 is None else layer.conv2).out_channels for layer in stage.block]
        if hasattr(transition, 'conv'):
            readers['transition'] = transition.conv.weight
        elif (classifier := _classifier(model, sum(widths))) is not None:
            readers['classifier'] = classifier.weight
        blocks.append(_block_reuse(readers, widths))
    return blocks


def reuse_figure(blocks: Sequence[BlockReuse], scale: str = 'reader', title: str = '') -> Figure:
    """Draw the blocks beside each other: readers along x, sources along y, transitions and classifier framed.

    Args:
        scale: 'reader' divides each column by its largest value, which compares the sources of one reader (a
            classifier's weights differ in size from a convolution's); 'block' divides the whole block by its largest;
            'none' shows the mean absolute weights.
    """
    if scale not in SCALES:
        raise UserError(f'scale {scale!r}: choose one of {", ".join(SCALES)}.')
    size = 4.3
    figure = new_figure(size * len(blocks) + 0.8, size + 1.1, title)
    drawn = [_scaled(block, scale) for block in blocks]
    # weights differ by less than their size: the colours span their range, which the bar shows
    low, top = min(map(np.nanmin, drawn)), max(map(np.nanmax, drawn))
    every = []
    for i, (block, values) in enumerate(zip(blocks, drawn)):
        axes = figure.add_subplot(1, len(blocks), i + 1)
        every.append(axes)
        axes.set_facecolor('0.85')  # sources after the reader
        image = axes.imshow(values, cmap=SEQUENTIAL, vmin=low, vmax=top, interpolation='nearest', aspect='equal')
        rows, columns = values.shape
        label_ticks(axes.xaxis, [reader for reader in block.readers if reader.isdigit()], 8)
        if not block.readers[-1].isdigit():
            frame = Rectangle((columns - 1.5, -0.5), 1, rows, fill=False, edgecolor='black', linewidth=2, clip_on=False)
            axes.add_patch(frame)
            ticks, names = axes.get_xticks(), [label.get_text() for label in axes.get_xticklabels()]
            axes.set_xticks([*ticks, columns - 1], [*names, block.readers[-1]], fontsize='small')
            axes.get_xticklabels()[-1].set_rotation(90)
        label_ticks(axes.yaxis, block.sources, 9)
        axes.set(title=f'block {i + 1}', xlabel='layer that reads', ylabel='source' if i == 0 else '')
    label = {
        'reader': "mean |weight|, relative to the reader's largest",
        'block': "mean |weight|, relative to the block's largest",
        'none': 'mean |weight|',
    }[scale]
    figure.colorbar(image, ax=every, label=label, shrink=0.8, pad=0.01)
    return figure


def _scaled(block: BlockReuse, scale: str) -> np.ndarray:
    if scale == 'reader':
        return block.relative()
    return block.weights / np.nanmax(block.weights) if scale == 'block' else block.weights


def _block_reuse(readers: dict[str, Tensor], widths: list[int]) -> BlockReuse:
    bounds = np.cumsum([0, *widths])
    weights = np.full((len(widths), len(readers)), np.nan)
    for t, weight in enumerate(readers.values()):
        of_channel = weight.detach().double().abs().flatten(2).mean((0, 2)) if weight.ndim > 2 else None
        of_channel = weight.detach().double().abs().mean(0) if of_channel is None else of_channel
        for s in range(len(widths)):
            if bounds[s + 1] <= len(of_channel):
                weights[s, t] = of_channel[bounds[s] : bounds[s + 1]].mean().item()
    sources = ['input', *(str(i) for i in range(1, len(widths)))]
    return BlockReuse(weights, sources, list(readers), widths)


def _classifier(model: nn.Module, channels: int) -> nn.Linear | None:
    """The one linear layer that reads all features of the last block, if there is one."""
    head = getattr(model, 'head', None)
    layers = [] if head is None else [part for part in head.modules() if isinstance(part, nn.Linear)]
    fitting = [layer for layer in layers if layer.in_features == channels]
    return fitting[0] if len(fitting) == 1 else None
