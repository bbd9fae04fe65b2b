"""Which steps run, in words."""

import platform

import pytest
import torch

import mmdensenet
from mmdensenet.ops import show_engine, steps
from mmdensenet.ops.steps import native
from mmdensenet.ops.steps.native import build, library


@pytest.fixture(autouse=True)
def choose_anew(monkeypatch):
    monkeypatch.delenv('MMDENSENET_KERNELS', raising=False)
    steps._choose.cache_clear()
    yield
    steps._choose.cache_clear()


def test_kernels(native_kernels, capsys):
    variant = library.load().variant
    words = {'avx2': 'AVX2', 'avx512': 'AVX-512', 'avx512_bf16': 'AVX-512 with bfloat16', 'neon': 'NEON'}
    assert show_engine.engine() == f'C++ kernels, {words.get(variant, "for exactly this processor")}'
    assert show_engine.kernel_variant() == variant
    mmdensenet.show_engine()
    assert capsys.readouterr().out.startswith(f'CPU: {show_engine.engine()}\n')


def test_plain_torch(monkeypatch):
    assert show_engine.engine(dtype=torch.float64) == 'plain torch: the C++ kernels are for float32 and bfloat16'
    monkeypatch.setenv('MMDENSENET_KERNELS', 'plain')
    assert show_engine.engine() == 'plain torch: MMDENSENET_KERNELS=plain'
    assert show_engine.kernel_variant() is None


def test_platforms_without_kernels(monkeypatch, caplog):
    monkeypatch.setattr(platform, 'machine', lambda: 'riscv64')
    monkeypatch.setattr(native, 'load', library.load.__wrapped__)
    assert show_engine.engine() == 'plain torch: no kernels for this platform'
    assert not caplog.messages


def test_libraries_that_cannot_be_used_are_named_once(monkeypatch, caplog, tmp_path):
    (tmp_path / 'kernels-0123.so').write_text('no library')
    monkeypatch.setattr(build, 'library_name', lambda: 'kernels-0123.so')
    monkeypatch.setattr(build, 'native_path', lambda: tmp_path / 'none.so')
    monkeypatch.setattr(build, 'FOLDER', tmp_path)
    monkeypatch.setattr(native, 'load', library.load.__wrapped__)
    native._say_once.cache_clear()
    for dtype in (torch.float32, torch.bfloat16):
        assert show_engine.engine(dtype=dtype).startswith('plain torch: the C++ kernels cannot be loaded: ')
    assert len(caplog.messages) == 1 and 'Plain torch is used: the C++ kernels cannot be loaded' in caplog.text
