"""JPEG files to read in benchmarks: photographs of 500 x 375 and images of 32 x 32, real where there are some."""

import shutil
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
#: where real images may be: below these folders, of the sizes
SOURCES = {
    'photographs': ('data/imagenet/val', 'data/imagenet/train', 'data/val'),
    'small': ('data/cifar10_jpeg/train', 'data/cifar10_jpeg/test'),
}
#: width, height
SIZES = {'photographs': (500, 375), 'small': (32, 32)}
QUALITY = 90
CLASSES = 4


def write_images(kind: str, count: int, folder: Path, sources: tuple[str, ...] | None = None) -> tuple[int, str]:
    """Write ``folder/CLASS/NUMBER.jpg``, ``count`` in all.

    Real photographs that are smaller are enlarged (bicubic), larger ones made smaller, and cut to the size; small ones
    are copied as they are. Where there are none, images are made: noise of all scales, as photographs have it.

    Returns:
        The mean number of bytes, and what the images are.
    """
    import cv2

    files = _real(count, SOURCES[kind] if sources is None else sources)
    width, height = SIZES[kind]
    generator = np.random.default_rng(0)
    sizes = []
    for number in range(count):
        target = folder / f'class{number % CLASSES}' / f'{number:05}.jpg'
        target.parent.mkdir(parents=True, exist_ok=True)
        if files and kind == 'small':
            shutil.copyfile(files[number], target)
        else:
            image = _cut(cv2.imread(str(files[number])), width, height) if files else _made(generator, width, height)
            cv2.imwrite(str(target), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        sizes.append(target.stat().st_size)
    return int(
        np.mean(sizes)
    ), f'real, from {files[0].parents[1].name}' if files else 'made, for there are no real ones'


def _real(count: int, sources: tuple[str, ...]) -> list[Path]:
    """So many images spread evenly over the first source that has as many, else none."""
    for source in sources:
        files = sorted(path for path in (ROOT / source).glob('*/*') if path.suffix.lower() in ('.jpg', '.jpeg'))
        if len(files) >= count:
            return [files[i * len(files) // count] for i in range(count)]
    return []


def _cut(image: np.ndarray, width: int, height: int) -> np.ndarray:
    import cv2

    scale = max(width / image.shape[1], height / image.shape[0])
    if scale != 1:
        size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _made(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8: noise whose amplitude is that of its scale."""
    import cv2

    image = np.full((height, width, 3), 127.0, np.float32)
    cells = 2
    while cells < max(width, height):
        noise = generator.standard_normal((cells, cells, 3)).astype(np.float32) * 90 / cells
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        cells *= 2
    return np.clip(image, 0, 255).astype(np.uint8)
