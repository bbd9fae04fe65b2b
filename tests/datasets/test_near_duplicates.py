import cv2
import numpy as np
from own_images import picture

from mmdensenet.datasets.near_duplicates import connected, near_pairs, perceptual_hash, thumbnail


def prepared(images):
    return np.array([perceptual_hash(i) for i in images], np.uint64), np.array([thumbnail(i) for i in images])


def test_copies_that_are_saved_again_are_found_and_nothing_else():
    rng = np.random.default_rng(0)
    images = [picture(rng, ['disc'], 96) for _ in range(200)]
    jpeg = cv2.imdecode(cv2.imencode('.jpg', images[3], [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)
    smaller = cv2.resize(images[7], (64, 64), interpolation=cv2.INTER_AREA)
    brighter = (images[9].astype(float) * 1.1 + 4).clip(0, 255).astype(np.uint8)
    pairs = near_pairs(*prepared([*images, jpeg, smaller, brighter]))
    assert pairs.tolist() == [[3, 200], [7, 201], [9, 202]]


def test_pairs_are_those_of_a_comparison_of_all_with_all():
    rng = np.random.default_rng(1)
    hashes = rng.integers(1, 2**63, 300).astype(np.uint64)
    for i in range(100):  # 0 to 9 bits away from another
        flips = rng.choice(64, i % 10, replace=False)
        hashes[200 + i] = hashes[i] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    same = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), (300, 1, 1))
    expected = [[i, j] for i in range(300) for j in range(i + 1, 300) if int(hashes[i] ^ hashes[j]).bit_count() <= 4]
    assert len(expected) >= 50
    assert near_pairs(hashes, same).tolist() == expected


def test_images_of_one_value_are_not_alike():
    flat = [np.full((8, 8), value, np.uint8) for value in (0, 3, 255)]
    assert near_pairs(*prepared(flat)).tolist() == []
    assert near_pairs(np.zeros(0, np.uint64), np.zeros((0, 16, 16), np.uint8)).shape == (0, 2)


def test_connected():
    number = connected(5, np.array([[0, 3], [3, 4]]))
    assert number[0] == number[3] == number[4]
    assert len(set(number.tolist())) == 3
