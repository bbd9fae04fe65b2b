"""Pictures of predictions, each with a unique name and the image's true colours."""

from pathlib import Path

import torch
from mmpretrain.engine.hooks import VisualizationHook as _VisualizationHook

from mmdensenet.model_wrappers import unwrapped
from mmdensenet.registry import HOOKS


@HOOKS.register_module()
class VisualizationHook(_VisualizationHook):
    """mmpretrain's hook with pictures named INDEX_NAME.png, where INDEX is the image's index in the data set.

    mmpretrain names a picture after the file alone, so cat/0001.jpg overwrites dog/0001.jpg, and shows BGR as RGB. Each
    rank draws the images that it tests. Of a checkpoint with decisions, calibrated probabilities and decided labels are
    drawn.
    """

    def before_run(self, runner) -> None:
        model = unwrapped(runner.model)
        self._to_rgb = bool(getattr(getattr(model, 'data_preprocessor', None), 'to_rgb', False))

    def _draw_samples(self, batch_idx: int, data_batch: dict, data_samples, step: int = 0) -> None:
        if not self.enable or not data_samples:  # a batch without any image
            return
        images = data_batch['inputs']
        if isinstance(images, (list, tuple)) and images[0].dim() == 4:  # test-time augmentation: the first view
            images = images[0]
        for image, sample in zip(images, data_samples):
            index = sample.get('sample_idx', 0)
            if index % self.interval:
                continue
            name = f'{index:06d}'
            if 'img_path' in sample:
                name += f'_{Path(sample.img_path).stem}'
            args = dict(self.draw_args)
            if self.out_dir is not None:
                args['out_file'] = str(Path(self.out_dir, f'{name}.png'))
            if 'decided_label' in sample:
                labels = torch.as_tensor(sample.decided_label, dtype=torch.long).reshape(-1)
                sample = sample.clone().set_pred_score(sample.calibrated_score).set_pred_label(labels)
            picture = image.permute(1, 2, 0).cpu().numpy().astype('uint8')
            # files are read as BGR; of images in memory, those are BGR that the preprocessor converts to RGB
            if picture.shape[2] == 3 and (self._to_rgb or 'img_path' in sample):
                picture = picture[..., ::-1]
            self._visualizer.visualize_cls(image=picture, data_sample=sample, step=step, name=name, **args)
