"""Small pictures whose labels can be learnt, in folders and tables as people have them, with faults on request."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

SHAPES = ('disc', 'square', 'cross')


def picture(rng: np.random.Generator, shapes: Sequence[str], side: int = 64, colour: bool = False) -> np.ndarray:
    """(side, side) or (side, side, 3) uint8: shapes at random places over noise."""
    image = rng.normal(90, 22, (side, side)).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), 1.0) + rng.normal(0, 6, image.shape).astype(np.float32)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    image += 12 * (rng.uniform(-1, 1) * ramp[:, None] + rng.uniform(-1, 1) * ramp[None])
    for shape in shapes:
        radius = int(side * rng.uniform(0.12, 0.18))
        x, y = rng.integers(radius + 1, side - radius - 1, 2).tolist()
        value = float(rng.uniform(150, 200))
        if shape == 'disc':
            cv2.circle(image, (x, y), radius, value, -1)
        elif shape == 'square':
            cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), value, max(1, side // 24))
        else:
            cv2.line(image, (x - radius, y), (x + radius, y), value, max(1, side // 20))
            cv2.line(image, (x, y - radius), (x, y + radius), value, max(1, side // 20))
    image = image.clip(0, 255).astype(np.uint8)
    return np.stack([image, np.roll(image, 1, 0), 255 - image], -1) if colour else image


def write(file: Path, image: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), image)
    return file


def class_folders(root: Path, each: int, classes: Sequence[str] = SHAPES, side: int = 64, seed: int = 0, **kwargs):
    """``root/CLASS/N.png``."""
    rng = np.random.default_rng(seed)
    for name in classes:
        for number in range(each):
            write(root / name / f'{number:03d}.png', picture(rng, [name], side, **kwargs))
    return root


def table(file: Path, header: Sequence[str], rows: Sequence[Sequence], mark: str = ',') -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('\n'.join(mark.join(map(str, row)) for row in [header, *rows]) + '\n', encoding='utf-8')
    return file


def nih(root: Path, count: int, side: int = 64, seed: int = 0, per_patient: int = 3) -> Path:
    """NIH ChestX-ray14: lists of labels, several folders of images, patients with several, a list of test images."""
    rng = np.random.default_rng(seed)
    rows, tests = [], []
    for i in range(count):
        found = [name for name in SHAPES if rng.random() < 0.35]
        patient = i // per_patient
        name = f'{patient:08d}_{i % per_patient:03d}.png'
        write(root / f'images_{1 + i % 2:03d}' / 'images' / name, picture(rng, found, side))
        age, sex = int(rng.integers(20, 90)), 'MF'[patient % 2]
        rows.append([name, '|'.join(found) or 'No Finding', i % per_patient, patient, age, sex, 'PA'])
        if patient % 5 == 0:
            tests.append(name)
    header = [
        'Image Index',
        'Finding Labels',
        'Follow-up #',
        'Patient ID',
        'Patient Age',
        'Patient Gender',
        'View Position',
    ]
    (root / 'test_list.txt').write_text('\n'.join(tests) + '\n')
    return table(root / 'Data_Entry_2017.csv', header, rows)


def chexpert(root: Path, count: int, side: int = 64, seed: int = 0) -> Path:
    """CheXpert: a column per label with 1, 0, -1 and blanks, patients in the paths, which begin above the images."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        found = [name for name in SHAPES if rng.random() < 0.4]
        path = f'train/patient{i // 2:05d}/study1/view{1 + i % 2}_frontal.png'
        write(root / path, picture(rng, found, side))
        labels = ['1.0' if name in found else '0.0' for name in SHAPES]
        if i % 9 == 4:
            labels[i % 3] = '-1.0'
        if i % 11 == 5:
            labels[i % 3] = ''
        rows.append([f'CheXpert-v1.0-small/{path}', 'Female' if i % 3 else 'Male', 40 + i % 30, 'Frontal', *labels])
    return table(root / 'train.csv', ['Path', 'Sex', 'Age', 'Frontal/Lateral', *SHAPES], rows)


def ham10000(root: Path, count: int, side: int = 64, seed: int = 0) -> Path:
    """HAM10000: ids without ending in two folders, lesions with several images, one column of classes."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        name = SHAPES[(i // 2) % 3]
        image = f'ISIC_{24306 + i:07d}'
        write(root / f'HAM10000_images_part_{1 + i % 2}' / f'{image}.jpg', picture(rng, [name], side, colour=True))
        rows.append([f'HAM_{i // 2:07d}', image, name, 'histo' if i % 2 else 'consensus', 30 + i % 50, 'male', 'back'])
    header = ['lesion_id', 'image_id', 'dx', 'dx_type', 'age', 'sex', 'localization']
    return table(root / 'HAM10000_metadata.csv', header, rows)


def rsna(root: Path, count: int, side: int = 64, seed: int = 0) -> Path:
    """RSNA pneumonia: an id that is the patient and the file, one row per box, so that images repeat."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        name = f'{i:04d}a6f6-b013-4a0f'
        write(root / 'stage_2_train_images' / f'{name}.png', picture(rng, ['disc'] if i % 3 == 0 else [], side))
        boxes = [[i, i + 1, 20, 20, 1], [i + 2, i, 9, 9, 1]] if i % 3 == 0 else [['', '', '', '', 0]]
        rows += [[name, *box] for box in boxes]
    return table(root / 'stage_2_train_labels.csv', ['patientId', 'x', 'y', 'width', 'height', 'Target'], rows)


def kaggle(root: Path, count: int, side: int = 64, seed: int = 0) -> Path:
    """id and label, both numbers; ids without ending."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        write(root / 'train' / f'{i}.png', picture(rng, [SHAPES[i % 2]], side))
        rows.append([i, i % 2])
    return table(root / 'train.csv', ['id', 'label'], rows)


def labelled(folder: Path, header: Sequence[str], row, count: int = 12, ask=None, **options):
    """The samples of a table with ``row(i)`` for each i, beside small images ``i.png``."""
    from mmdensenet.apis.fit.labelled_table import read_labelled_table
    from mmdensenet.apis.fit.samples import refuse

    for i in range(count):
        write(folder / f'{i}.png', np.zeros((4, 4), np.uint8))
    file = table(folder / 'labels.csv', header, [row(i) for i in range(count)])
    return read_labelled_table(str(file), None, ask=ask or refuse, **options)[0]
