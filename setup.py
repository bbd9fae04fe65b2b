"""The ``.mim`` folder that OpenMMLab's launchers look for, and the C++ kernels; pyproject.toml has all the rest."""

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
KERNELS = Path('mmdensenet', 'ops', 'steps', 'native')
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')


class BuildPackage(build_py):
    """Put configs, tools and model-index.yml under ``mmdensenet/.mim``, and the compiled kernels beside their source.

    ``build_py`` is the one command that wheels, ``setup.py develop`` and PEP 660 editable installs all run (the
    ``develop`` command, which other OpenMMLab packages hook into, is not run by current pips). A wheel gets copies; an
    editable install gets links, so that an edited config is the one that is used, and the kernels in the source tree.
    """

    def run(self):
        super().run()
        if self.editable_mode:
            link_mim(ROOT / 'mmdensenet' / '.mim')
            build_kernels(ROOT / KERNELS)
        else:
            copy_mim(Path(self.build_lib) / 'mmdensenet' / '.mim')
            for left in (Path(self.build_lib) / KERNELS).glob('kernels-*.so'):
                left.unlink()
            build_kernels(Path(self.build_lib) / KERNELS)


class PlatformWheel(bdist_wheel):
    """A wheel that carries kernels is for this platform, and for any Python and torch: they have a C interface."""

    def get_tag(self):
        if not any((Path(self.bdist_dir or '') / KERNELS).glob('kernels-*.so')):
            return super().get_tag()
        return 'py3', 'none', sysconfig.get_platform().replace('-', '_').replace('.', '_')


def build_kernels(folder: Path):
    """Without a compiler, or with one that fails, there are no kernels and the package works without."""
    reason = 'MMDENSENET_BUILD_KERNELS=0'
    if os.environ.get('MMDENSENET_BUILD_KERNELS') != '0':
        try:
            spec = importlib.util.spec_from_file_location('build_kernels', ROOT / KERNELS / 'build.py')
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.build_for_package(folder)
            return
        except Exception as error:
            reason = ' '.join(str(error).split())
    print(f'mmdensenet without C++ kernels, plain torch is used: {reason}', file=sys.stderr)


def copy_mim(target: Path):
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in MIM_CONTENT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
        else:
            shutil.copy2(source, target / name)


def link_mim(target: Path):
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        for name in MIM_CONTENT:
            (target / name).symlink_to(os.path.relpath(ROOT / name, target), target_is_directory=(ROOT / name).is_dir())
    except OSError:  # Windows without the right to make links
        copy_mim(target)


setup(cmdclass={'build_py': BuildPackage, 'bdist_wheel': PlatformWheel})
