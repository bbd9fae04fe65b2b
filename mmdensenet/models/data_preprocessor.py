"""mmpretrain's normalisation in place: the same numbers from one new tensor instead of three."""

import threading

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.structures import DataSample

_local = threading.local()


class InPlaceDataPreprocessor(ClsDataPreprocessor):
    """``ClsDataPreprocessor``, which subtracts the mean and divides by the standard deviation in place.

    For uint8 batches (N, C, H, W), of which the float tensor is always a new one. Where padding or batch augmentations
    come after the normalisation it is left to mmpretrain. Labels of images that stay on the CPU are left where they
    are; mmpretrain joins them, moves them and gives each sample its own again.
    """

    @property
    def _enable_normalize(self) -> bool:
        return self.__dict__['_enable_normalize'] and not getattr(_local, 'later', False)

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
        left = self._are_in_place(samples)
        _local.later = True
        try:
            result = super().forward(dict(data, data_samples=None) if left else data, training)
        finally:
            _local.later = False
        result['inputs'].sub_(self.mean).div_(self.std)
        if left:
            result['data_samples'] = samples
        return result

    def _are_in_place(self, samples) -> bool:
        if not samples or self.device.type != 'cpu' or self.to_onehot:
            return False
        return type(samples[0]) is DataSample and 'gt_label' in samples[0] and 'gt_score' not in samples[0]


def normalise_in_place(model: torch.nn.Module) -> None:
    """Give a model that has exactly mmpretrain's preprocessor this one, which has the same state."""
    preprocessor = getattr(getattr(model, 'module', model), 'data_preprocessor', None)
    if type(preprocessor) is ClsDataPreprocessor:
        preprocessor.__class__ = InPlaceDataPreprocessor
