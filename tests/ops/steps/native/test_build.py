"""Compiling the kernels: once per source, never half, and a compiler that fails is named."""

import pytest

from mmdensenet.ops.steps.native import build


@pytest.fixture
def compiled(monkeypatch, tmp_path) -> list:
    """What is compiled, into a cache of the test; nothing is."""
    calls = []

    def compile_library(path, variants):
        calls.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(' '.join(variants))

    monkeypatch.setattr(build, 'compile_library', compile_library)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return calls


def test_the_package_library_is_compiled_once(compiled, tmp_path):
    folder = tmp_path / 'package'
    folder.mkdir()
    outdated = folder / 'kernels-0123.so'
    outdated.touch()
    target = build.build_for_package(folder)
    assert target == folder / build.library_name() and target.read_text() == ' '.join(build.variants())
    assert not outdated.exists()
    build.build_for_package(folder)
    build.build_for_package(tmp_path / 'another')
    assert len(compiled) == 1


def test_a_cache_that_cannot_be_written(compiled, tmp_path, monkeypatch):
    file = tmp_path / 'no folder'
    file.touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(file))
    monkeypatch.setattr(build, 'cache_folder', lambda: file / 'mmdensenet')
    assert build.build_for_package(tmp_path / 'package').exists()
    assert compiled[-1].parent == tmp_path / 'package'


def test_a_user_without_a_home(compiled, tmp_path, monkeypatch):
    def home():
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(build.Path, 'home', home)
    with pytest.raises(OSError, match='set HOME or XDG_CACHE_HOME'):
        build.cache_folder()
    assert build.build_for_package(tmp_path / 'package').exists()


def test_names_follow_the_source(tmp_path, monkeypatch):
    before = build.library_name()
    for file in (*build.FOLDER.glob('*.cpp'), *build.FOLDER.glob('*.h')):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(build, 'FOLDER', tmp_path)
    build._digest.cache_clear()
    assert build.library_name() == before
    (tmp_path / 'tile.h').write_text((tmp_path / 'tile.h').read_text() + '\n')
    build._digest.cache_clear()
    assert build.library_name() != before
    build._digest.cache_clear()


@pytest.mark.parametrize(
    ('compiler', 'message'),
    [('no-such-compiler', 'there is no no-such-compiler: install a C'), ('false', r'false failed:')],
)
def test_compilers_that_fail(compiler, message, tmp_path):
    with pytest.raises(RuntimeError, match=message):
        build.compile_library(tmp_path / 'kernels.so', build.NATIVE, compiler)
    assert not list(tmp_path.iterdir())


def test_no_variants_for_this_machine(tmp_path):
    with pytest.raises(RuntimeError, match='the C\\+\\+ kernels are for Linux on x86_64 and aarch64; elsewhere'):
        build.compile_library(tmp_path / 'kernels.so', {})
