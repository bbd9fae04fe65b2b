"""Sources of checkpoints other than local files: URLs, and the schemes of mmengine's CheckpointLoader.

Each source fetches a file and passes it to :func:`mmdensenet.checkpoints.checkpoint.load_from_file`; none unpickles it.
"""

import functools
import hashlib
import re
import sys
import tempfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import torch

from mmdensenet.compat.faults import wrapping
from mmdensenet.compat.mmengine import READING, WEIGHTS_ONLY
from mmdensenet.errors import UserError, first_line
from mmdensenet.similar import similar_path

from .checkpoint import as_data, load_from_file


def load_from_url(
    url: str, model_dir=None, map_location=None, progress: bool = True, check_hash: bool = True, file_name=None
) -> Any:
    """Download a checkpoint once into torch's cache, compare it with the hash in its name, and read it.

    The file of a ``file://`` URL is read in place. The arguments are those of ``torch.hub.load_state_dict_from_url``.

    Args:
        url: where the checkpoint is.
        model_dir: folder for the file; by default torch's cache.
        map_location: the device for the tensors.
        progress: show a bar on standard error.
        check_hash: compare the file with the hash in its name, if there is one.
        file_name: name of the file in ``model_dir``; by default that of the URL.

    Returns:
        The checkpoint, as plain data and tensors.

    Raises:
        UserError: if it cannot be downloaded; the message says where to put the file by hand.
    """
    return load_from_file(str(fetch(url, model_dir, progress, check_hash, file_name)), map_location)


def fetch(url: str, model_dir=None, progress: bool = True, check_hash: bool = True, file_name=None) -> Path:
    """The local file of a URL, downloaded if it is not there yet; see :func:`load_from_url`."""
    target = local_copy(url, model_dir, file_name)
    if url.startswith('file://'):
        if not target.is_file():
            wrong = 'is a folder.' if target.is_dir() else f'does not exist.{similar_path(target)}'
            raise UserError(f'{url}: {target} {wrong}')
    elif not target.is_file():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f'{target.parent} cannot be made ({error.strerror})'
            raise UserError(f'{url}: {why}. Let TORCH_HOME name a folder for weights.') from None
        sys.stderr.write(f'Downloading {url} to {target}\n')
        try:
            torch.hub.download_url_to_file(url, str(target), _hash_in(url) if check_hash else None, progress=progress)
        except RuntimeError as error:
            raise UserError(f'{url}: {first_line(error)}. Try again, or put the right file at {target}.') from None
        except (OSError, ValueError, HTTPException) as error:  # a malformed URL or a broken connection too
            raise UserError(
                f'cannot download {url} ({first_line(error)}). Download it elsewhere and put it at {target}.'
            ) from None  # the message has the reason; the network's traceback has sixty lines
    return target


def local_copy(url: str, model_dir=None, file_name: str | None = None) -> Path:
    """The path of a URL's file, downloaded or not.

    Its name is the last part of the URL. Without a hash of the content there it gets a hash of the URL, because many
    URLs end in ``model.pth``.
    """
    if url.startswith('file://'):
        return Path(url2pathname(urlsplit(url).path))
    folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
    name = Path(_last_part(url))
    if file_name is None and _hash_in(url) is None:
        name = Path(f'{name.stem}.{hashlib.sha256(url.encode()).hexdigest()[:16]}{name.suffix}')
    return folder / (file_name or name)


def _last_part(url: str) -> str:
    return url.split('?')[0].rstrip('/').rpartition('/')[2]


def _hash_in(url: str) -> str | None:
    found = re.search(r'-([0-9a-f]{8,64})\.\w+$', _last_part(url))
    # eight digits may be a date
    return found[1] if found and not re.fullmatch(r'(19|20)\d{6}', found[1]) else None


@READING.repaired_by
def read_as_data() -> None:
    """Make every scheme of mmengine's ``CheckpointLoader`` use our reader, also schemes that are registered later."""
    import mmengine.runner.checkpoint as checkpoint_module

    loader = checkpoint_module.CheckpointLoader
    checkpoint_module.load_url = load_from_url  # for http://, https:// and the names of such URLs

    def load_from_openmmlab(filename: str, map_location=None) -> Any:
        names = checkpoint_module.get_external_models()
        name = filename.partition('://')[2]
        name = checkpoint_module.get_deprecated_model_names().get(name, name)
        address = names[name]
        if address.startswith(('http://', 'https://')):
            return checkpoint_module.load_from_http(address, map_location=map_location)
        return load_from_file(str(Path(checkpoint_module._get_mmengine_home(), address)), map_location)

    def load_from_ceph(filename: str, map_location=None, backend: str = 'petrel') -> Any:
        from mmengine.fileio import get_file_backend

        storage = get_file_backend(filename, backend_args={'backend': backend})
        return _load_content(storage.get(filename), filename, map_location)

    def load_from_pavi(filename: str, map_location=None) -> Any:
        from pavi import modelcloud

        model = modelcloud.get(filename.removeprefix('pavi://'))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, 'checkpoint' + Path(model.name).suffix)
            model.download(str(file))
            return load_from_file(str(file), map_location, filename)

    def load_from_local(filename: str, map_location=None) -> Any:
        return load_from_file(filename, map_location)

    def load_from_file_url(filename: str, map_location=None) -> Any:
        return load_from_url(filename, map_location=map_location)

    for prefixes, function in (
        ('', load_from_local),
        ('file://', load_from_file_url),
        ([r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], load_from_ceph),
        ('pavi://', load_from_pavi),
        (['open-mmlab://', 'openmmlab://'], load_from_openmmlab),
    ):
        loader.register_scheme(prefixes, function, force=True)

    @wrapping(loader, '_get_checkpoint_loader')
    def find_safe(find: Callable, cls, path: str) -> Callable:
        return _safe(find(cls, path))


@WEIGHTS_ONLY.repaired_by
def refuse_config_text() -> None:
    from mmengine.infer import BaseInferencer

    @wrapping(BaseInferencer, '_init_model')
    def build_from_config(build: Callable, self, cfg, weights, device='cpu'):
        if not cfg:
            raise UserError(
                f'{weights}: its config is the text of a program, and nothing in a checkpoint is executed: give the '
                "config too, as model=CONFIG.\nTo read the text: torch.load(weights, weights_only=True)['meta']['cfg']."
            )
        return build(self, cfg, weights, device)


def _safe(load: Callable) -> Callable:
    """Wrap a scheme's loader: it returns plain data without executable config text, and raises UserError."""

    @functools.wraps(load)
    def load_data(filename: str, *args, **kwargs) -> Any:
        scheme, separator, name = filename.partition('://')
        try:
            return as_data(load(filename, *args, **kwargs), filename)
        except ImportError as error:
            raise UserError(
                f'{filename} cannot be read: {first_line(error)}. Or copy the file here and give its path.'
            ) from error
        except KeyError as error:
            if separator and error.args == (name,):
                raise UserError(f'{filename}: {scheme} knows no model {name}.') from error
            raise
        except FileNotFoundError as error:
            if separator:
                raise UserError(f'{filename} does not exist, or its scheme {scheme}:// is not known.') from error
            raise

    return load_data


def _load_content(content: bytes, filename: str, map_location) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'checkpoint' + Path(filename).suffix)
        file.write_bytes(memoryview(content))
        return load_from_file(str(file), map_location, filename)
