"""mmpretrain's normalisation in place: the same values with one new tensor instead of three."""

import threading

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.structures import DataSample

_local = threading.local()


class InPlaceDataPreprocessor(ClsDataPreprocessor):
    """``ClsDataPreprocessor``, which subtracts the mean and divides by the standard deviation in place.

    It does so for uint8 batches (N, C, H, W), whose float tensor is always a new one. mmpretrain normalises where
    padding or batch augmentations follow. On a CPU the samples stay as they are; mmpretrain would concatenate their
    labels, move them and split them again.
    """

    @property
    def _enable_normalize(self) -> bool:
        return self.__dict__['_enable_normalize'] and not getattr(_local, 'normalises_later', False)

    @_enable_normalize.setter
    def _enable_normalize(self, value: bool) -> None:
        self.__dict__['_enable_normalize'] = value

    def forward(self, data: dict, training: bool = False) -> dict:
        inputs = data['inputs']
        is_batch = isinstance(inputs, torch.Tensor) and inputs.dtype == torch.uint8
        augments = training and self.batch_augments is not None
        if not (self._enable_normalize and is_batch) or self.pad_size_divisor > 1 or augments:
            return super().forward(data, training)
        samples = data.get('data_samples')
        keep_samples = self._keeps(samples)
        _local.normalises_later = True
        try:
            result = super().forward(dict(data, data_samples=None) if keep_samples else data, training)
        finally:
            _local.normalises_later = False
        result['inputs'].sub_(self.mean).div_(self.std)
        if keep_samples:
            result['data_samples'] = samples
        return result

    def _keeps(self, samples) -> bool:
        """Whether mmpretrain would return these samples unchanged."""
        if not samples or self.device.type != 'cpu' or self.to_onehot:
            return False
        return type(samples[0]) is DataSample and 'gt_label' in samples[0] and 'gt_score' not in samples[0]


def normalise_in_place(model: torch.nn.Module) -> None:
    """Replace a model's data preprocessor if it is exactly mmpretrain's; the state stays the same."""
    preprocessor = getattr(getattr(model, 'module', model), 'data_preprocessor', None)
    if type(preprocessor) is ClsDataPreprocessor:
        preprocessor.__class__ = InPlaceDataPreprocessor
