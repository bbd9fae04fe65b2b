"""Converts weights from file to file."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from mmdensenet.checkpoints.checkpoint import load_from_file
from mmdensenet.checkpoints.checkpoint_file import replacing, sha256
from mmdensenet.checkpoints.checkpoint_meta import DECISIONS
from mmdensenet.checkpoints.checkpoint_sources import load_from_url, local_copy
from mmdensenet.checkpoints.writing import save_whole
from mmdensenet.errors import UserError, first_line
from mmdensenet.similar import similar_path
from mmdensenet.terminal import waiting
from mmdensenet.version import __version__

from .convert import Report, convert_state_dict
from .layouts import to_torchvision


def read_checkpoint(path: str) -> dict:
    """Read a file or URL as data: ``.safetensors``, or what ``torch.load(weights_only=True)`` reads.

    Args:
        path: file or URL.

    Returns:
        The tensors by name, or the checkpoint's dict that has them below a key such as 'state_dict'.

    Raises:
        UserError: for anything else, saying why; for a file that does not exist.
    """
    if '://' in path:
        loaded = load_from_url(path, map_location='cpu')
    elif not Path(path).expanduser().is_file():
        if Path(path).expanduser().is_dir():
            raise UserError(f'{path} is a folder: give a file in it.')
        raise UserError(f'{path} does not exist.{similar_path(path)}')
    else:
        loaded = load_from_file(path, map_location='cpu')
    if not isinstance(loaded, dict):
        raise UserError(f'{path} holds a {type(loaded).__name__}, not tensors by name.')
    return loaded


def convert_checkpoint(
    source: str,
    target: str,
    *,
    in_channels: int | None = None,
    num_classes: int | None = None,
    partial: bool = False,
    prefix: str | None = None,
    to: str = 'mmdensenet',
    verify: Sequence[str] | None = None,
) -> Report:
    """Convert a file of any known layout, and write it with its provenance.

    Args:
        source: file or URL.
        target: ``.safetensors`` (provenance in the metadata), or ``.pth`` (``dict(meta=..., state_dict=...)``).
        in_channels, num_classes, partial, prefix: see :func:`convert_state_dict`.
        to: 'mmdensenet', or 'torchvision' for torchvision's names.
        verify: compare the logits with those of the source's library: on these images, or on random input for an
            empty list. None does not.

    Returns:
        What was found, used, left and missing.

    Raises:
        UserError: for an unusable source or target, and for logits that differ.
    """
    suffix = Path(target).suffix
    if suffix not in ('.safetensors', '.pth', '.pt'):
        raise UserError(f'{target}: the name must end in .safetensors, .pth or .pt.')
    if '://' not in source and Path(source).expanduser().resolve() == Path(target).expanduser().resolve():
        raise UserError(f'{target} is the source itself: choose another name.')
    checkpoint = read_checkpoint(source)
    try:
        converted, report = convert_state_dict(
            checkpoint, in_channels=in_channels, num_classes=num_classes, partial=partial, prefix=prefix
        )
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    meta = checkpoint.get('meta')
    if isinstance(meta, dict) and DECISIONS in meta:
        report.notes.append('its decisions (temperature, thresholds) are left out: make them with `mmdensenet decide`')
    report.source = source
    report.sha256 = sha256(local_copy(source) if '://' in source else Path(source).expanduser())
    if verify is not None:
        from .verify_conversion import verify_conversion

        with waiting("comparing with the file's library"):
            report.verified = verify_conversion(checkpoint, report, verify)
    if to == 'torchvision':
        try:
            converted = to_torchvision(converted)
        except ValueError as error:
            raise UserError(f'{source}: {error}.') from error
    write(converted, target, provenance(report, in_channels, to))
    return report


def provenance(report: Report, in_channels: int | None, to: str) -> dict:
    """The provenance in a converted file, in plain types."""
    return dict(
        mmdensenet_version=__version__,
        source=report.source if '://' in report.source else Path(report.source).name,
        sha256=report.sha256,
        source_layout=report.layout.name,
        source_library=report.library or 'unknown',
        layout=to,
        architecture=report.architecture.name,
        backbone=report.architecture.backbone(in_channels),
        num_classes=report.architecture.num_classes,
        notes=report.notes,
    )


def write(state_dict: dict, target: str, meta: dict) -> None:
    """Write the file atomically."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if not target.endswith('.safetensors'):
        save_whole(dict(meta=meta, state_dict=state_dict), target)
        return
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in meta.items()}
    with replacing(Path(target)) as beside:
        try:
            # copied, because the format has no tensors that share memory
            tensors = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state_dict.items()}
            save_file(tensors, beside, dict(texts, format='pt'))
        except SafetensorError as error:
            raise UserError(f'cannot write {target}: {first_line(error)}. Make room, or give another.') from None
