"""The random number generators of a process as plain data, and seeds for single samples."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from mmdensenet.errors import UserError


def get_random_state() -> dict:
    """The state of this process's generators (Python, numpy, torch, each GPU) as tensors and numbers."""
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
    """Restore a state that :func:`get_random_state` returned; its tensors may be on any device.

    Raises:
        UserError: if it is no such state.
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
    """Seed Python's, numpy's and torch's CPU generators from numbers such as seed, epoch and index.

    Unlike torch.manual_seed it does not seed the GPUs' generators, which belong to the model.
    """
    seed = int.from_bytes(hashlib.blake2b(repr(words).encode(), digest_size=8).digest(), 'little')
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    torch.default_generator.manual_seed(seed)


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """A context that restores the CPU generators at its end."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
