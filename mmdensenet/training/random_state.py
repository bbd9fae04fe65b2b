"""The random number generators of a process as plain data, and seeds for single samples."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from mmdensenet.errors import UserError


def get_random_state() -> dict:
    """State of Python's, numpy's, torch's and each GPU's generator of this process, as tensors and numbers."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return dict(
        python=dict(version=version, words=torch.tensor(words), gauss=gauss),
        numpy=dict(
            words=torch.from_numpy(keys.astype(np.int64)), position=position, has_gauss=has_gauss, cached=cached
        ),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    )


def set_random_state(state: dict) -> None:
    """Put the generators into a state that :func:`get_random_state` returned, on any device.

    Raises:
        UserError: if it is not such a state.
    """
    try:
        python, numpy = state['python'], state['numpy']
        random.setstate((python['version'], tuple(python['words'].tolist()), python['gauss']))
        words = np.asarray(numpy['words'].tolist(), dtype=np.uint32)
        np.random.set_state(('MT19937', words, numpy['position'], numpy['has_gauss'], numpy['cached']))
        torch.set_rng_state(state['torch'].cpu())
        if torch.cuda.is_available():
            for device, value in zip(range(torch.cuda.device_count()), state['cuda']):
                torch.cuda.set_rng_state(value.cpu(), device)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise UserError(f"the checkpoint's random state is not one of mmdensenet's ({error}).") from error


def seed_everything(*words: int) -> None:
    """Seed Python's, numpy's and torch's CPU generator from numbers such as seed, epoch and index.

    torch.manual_seed would also seed the GPUs, whose generators belong to the model.
    """
    seed = int.from_bytes(hashlib.blake2b(repr(words).encode(), digest_size=8).digest(), 'little')
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    torch.default_generator.manual_seed(seed)


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """What is drawn inside leaves the CPU generators as they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
