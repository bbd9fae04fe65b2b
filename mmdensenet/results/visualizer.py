"""Pictures of predictions, drawn fast."""

from pathlib import Path

import numpy as np
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image, ImageDraw, ImageFont

from mmdensenet.registry import VISUALIZERS


@VISUALIZERS.register_module()
class FastVisualizer(UniversalVisualizer):
    """mmpretrain's visualizer; the pictures of ``tools/test.py --show-dir`` are drawn by PIL instead of matplotlib."""

    def visualize_cls(self, image, data_sample, *args, out_file=None, show=False, text_cfg=None, **settings):
        """Write the image, RGB (H, W, 3) or grey (H, W, 1) uint8, with its labels above it; returns the picture.

        ``settings`` are mmpretrain's: classes, draw_gt, draw_pred, draw_score, resize, rescale_factor. A window
        (``show``), settings of the text and storage back ends are left to mmpretrain.
        """
        if show or text_cfg or args or out_file is None:
            return super().visualize_cls(
                image, data_sample, *args, out_file=out_file, show=show, text_cfg=text_cfg or {}, **settings
            )
        classes = settings.get('classes') or (self.dataset_meta or {}).get('classes')
        lines = []
        if settings.get('draw_gt', True) and 'gt_label' in data_sample:
            lines.append('Ground truth: ' + _names(data_sample.gt_label, classes))
        if settings.get('draw_pred', True) and 'pred_label' in data_sample:
            scores = data_sample.get('pred_score') if settings.get('draw_score', True) else None
            lines.append('Prediction: ' + _names(data_sample.pred_label, classes, scores))
        picture = draw_lines(_resize(image, settings.get('resize'), settings.get('rescale_factor')), lines)
        Path(out_file).parent.mkdir(parents=True, exist_ok=True)
        picture.save(out_file, compress_level=1)
        return np.asarray(picture)


def _resize(image: np.ndarray, short_side: int | None, factor: float | None) -> Image.Image:
    """The image at the given size; without one, small images are enlarged by a whole factor to about 128 pixels."""
    picture = Image.fromarray(np.squeeze(image)).convert('RGB')
    smallest = min(picture.size)
    factor = factor or (short_side / smallest if short_side else max(1, 128 // smallest))
    return picture if factor == 1 else picture.resize([max(1, round(side * factor)) for side in picture.size])


def draw_lines(picture: Image.Image, lines: list[str]) -> Image.Image:
    """The picture below a black band with white lines of text."""
    font = ImageFont.load_default(size=12)
    width = max([picture.width, *(int(font.getlength(line)) + 8 for line in lines)])
    band = 16 * len(lines) + 4
    canvas = Image.new('RGB', (width, picture.height + band))
    canvas.paste(picture, (0, band))
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        draw.text((4, 2 + 16 * i), line, fill='white', font=font)
    return canvas


def _names(labels, classes, scores=None) -> str:
    texts = []
    for label in labels.tolist():
        text = f'{label} ({classes[label]})' if classes is not None and label < len(classes) else str(label)
        texts.append(text if scores is None else f'{text} {scores[label].item():.2f}')
    return ', '.join(texts)
