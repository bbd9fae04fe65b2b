"""Files, labels, groups and parts of the images, before any image is read."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from mmdensenet.datasets.csv_dataset import UNKNOWN
from mmdensenet.datasets.labels import POSITIVE_ABOVE
from mmdensenet.errors import UserError

PARTS = ('train', 'val', 'test')
#: how people call the parts
PART_NAMES = {
    'train': 'train', 'training': 'train', 'tr': 'train',
    'val': 'val', 'valid': 'val', 'validation': 'val', 'dev': 'val',
    'test': 'test', 'testing': 'test', 'holdout': 'test',
    'trainval': 'train', 'train_val': 'train',
}  # fmt: skip


@dataclass
class Samples:
    """N images with labels.

    Attributes:
        root: the folder of the images.
        images: N texts, as the table has them.
        files: N paths below the root.
        classes: C names.
        targets: (N,) classes; or of several labels (N, C) from 0 to 1, and -1 where a label is not known.
        groups: N names of what must stay together, such as patients; None where nothing is known.
        alone: it was said that nothing belongs together.
        parts: N of 'train', 'val', 'test' and '' (not given); None where none is given.
        subgroups: columns to judge by, N texts each.
        facts: lines on what was understood, and why.
        image_column: what the table calls its column of images.
        policies: what labels counted as that the table does not know, by 'missing' and 'uncertain'.
    """

    root: str
    images: list[str]
    files: list[str]
    classes: list[str]
    targets: np.ndarray
    groups: list[str] | None = None
    parts: list[str] | None = None
    subgroups: dict[str, list[str]] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    alone: bool = False
    image_column: str = 'image'
    policies: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def multi_label(self) -> bool:
        return self.targets.ndim == 2

    @property
    def onehot(self) -> np.ndarray:
        """(N, C) of 1 and 0: 1 is positive; a soft label is positive above 0.5."""
        if self.multi_label:
            return (self.targets > POSITIVE_ABOVE).astype(int)
        return np.eye(len(self.classes), dtype=int)[self.targets]

    def take(self, keep: np.ndarray) -> 'Samples':
        """Return the samples at these places."""

        def some(values):
            return None if values is None else [values[i] for i in keep]

        return replace(
            self,
            images=some(self.images),
            files=some(self.files),
            targets=self.targets[keep],
            groups=some(self.groups),
            parts=some(self.parts),
            subgroups={name: some(values) for name, values in self.subgroups.items()},
        )

    def counts(self) -> list[str]:
        """A text for each class or label: how many images have it."""
        if not self.multi_label:
            found = Counter(self.targets.tolist())
            return [f'{name} {found[i]}' for i, name in enumerate(self.classes)]
        unknown = (self.targets == UNKNOWN).sum(0)
        return [
            f'{name} {count}' + (f' ({lack} not known)' if lack else '')
            for name, count, lack in zip(self.classes, self.onehot.sum(0), unknown)
        ]


#: asks for one of the choices, or raises UserError: (question, argument that answers it, choices)
Ask = Callable[[str, str, tuple[str, ...]], str]


def refuse(question: str, key: str, choices: tuple[str, ...]) -> str:
    """Raise the question as an error: there is no user to answer it."""
    raise UserError(f'{question} Say it: {key}={choices[0]}{", or " if choices[1:] else ""}{", ".join(choices[1:])}.')


def listed(names, most: int = 8) -> str:
    """``a, b, c and 5 more``."""
    names = [str(name) for name in names]
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
