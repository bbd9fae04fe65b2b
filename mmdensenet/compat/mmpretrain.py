"""Faults of mmpretrain's data sets and transforms, repaired when somebody imports them."""

import functools

from .faults import Fault

FOLDERS = Fault(
    what='CustomDataset numbers class folders in alphabetical order whatever metainfo.classes says, refuses a part '
    'that lacks a folder of metainfo.classes, and takes hidden folders for classes',
    versions='mmpretrain 1.2.0',
    until='mmpretrain numbers folders by their names in metainfo.classes',
    targets=('mmpretrain.datasets.custom:CustomDataset._find_samples',),
    owner='mmpretrain.datasets.custom',
)


@FOLDERS.repaired_by
def number_folders_by_name() -> None:
    from mmpretrain.datasets.custom import CustomDataset

    find = CustomDataset._find_samples

    @functools.wraps(find)
    def find_by_name(self) -> list:
        from mmdensenet.datasets.class_lists import number_folders, require_no_hidden

        if not self.with_label:
            return find(self)
        stated = self._metainfo.pop('classes', None)
        try:
            samples = find(self)
        finally:
            if stated is not None:
                self._metainfo['classes'] = stated
        folders = list(self.folder_to_idx)
        require_no_hidden(folders, self.img_prefix)
        if stated is None:
            return samples
        self.folder_to_idx = number_folders(folders, stated, self.img_prefix)
        return [(path, self.folder_to_idx[folders[label]]) for path, label in samples]

    CustomDataset._find_samples = find_by_name
