"""Pictures of predictions, drawn fast."""

from pathlib import Path

import numpy as np
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image, ImageDraw, ImageFont

from mmdensenet.registry import VISUALIZERS


@VISUALIZERS.register_module()
class FastVisualizer(UniversalVisualizer):
    """mmpretrain's visualizer; the pictures of ``tools/test.py --show-dir`` are drawn by PIL instead of matplotlib."""

    def visualize_cls(
        self,
        image,
        data_sample,
        classes=None,
        draw_gt=True,
        draw_pred=True,
        draw_score=True,
        resize=None,
        rescale_factor=None,
        text_cfg=dict(),
        show=False,
        wait_time=0,
        out_file=None,
        name='',
        step=0,
    ):
        """Write the image, RGB (H, W, 3) or (H, W, 1) uint8, with its labels above it; returns the picture.

        A window (``show``), other text settings and storage back ends go the way of mmpretrain.
        """
        if show or text_cfg or out_file is None or not hasattr(data_sample, 'pred_label'):
            return super().visualize_cls(
                image,
                data_sample,
                classes=classes,
                draw_gt=draw_gt,
                draw_pred=draw_pred,
                draw_score=draw_score,
                resize=resize,
                rescale_factor=rescale_factor,
                text_cfg=text_cfg,
                show=show,
                wait_time=wait_time,
                out_file=out_file,
                name=name,
                step=step,
            )
        classes = classes or (self.dataset_meta or {}).get('classes')
        lines = []
        if draw_gt and 'gt_label' in data_sample:
            lines.append('Ground truth: ' + _names(data_sample.gt_label, classes))
        if draw_pred:
            scores = data_sample.pred_score if draw_score and 'pred_score' in data_sample else None
            lines.append('Prediction: ' + _names(data_sample.pred_label, classes, scores))

        picture = Image.fromarray(np.squeeze(image)).convert('RGB')
        factor = rescale_factor or (resize / min(picture.size) if resize else max(1, 128 // min(picture.size)))
        if factor != 1:
            picture = picture.resize([max(1, round(side * factor)) for side in picture.size])
        font = ImageFont.load_default(size=12)
        width = max(picture.width, *(int(font.getlength(line)) + 8 for line in lines))
        band = 16 * len(lines) + 4
        canvas = Image.new('RGB', (width, picture.height + band))
        canvas.paste(picture, (0, band))
        draw = ImageDraw.Draw(canvas)
        for i, line in enumerate(lines):
            draw.text((4, 2 + 16 * i), line, fill='white', font=font)
        Path(out_file).parent.mkdir(parents=True, exist_ok=True)
        canvas.save(out_file, compress_level=1)
        return np.asarray(canvas)


def _names(labels, classes, scores=None) -> str:
    texts = []
    for label in labels.tolist():
        text = f'{label} ({classes[label]})' if classes is not None and label < len(classes) else str(label)
        texts.append(text if scores is None else f'{text} {scores[label].item():.2f}')
    return ', '.join(texts)
