"""Export a checkpoint as a file for ONNX Runtime, OpenVINO or torch.export, and compare the file with PyTorch."""

import argparse

from .shared import add_cfg_options, add_config, add_debug, arguments

PRINTS_RESULTS = True
NEEDS = 'mmdensenet.apis.export'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument('checkpoint', help='file or URL in any layout')
    parser.add_argument('--format', choices=('onnx', 'openvino', 'torch-export'), default='onnx', help='(onnx)')
    parser.add_argument('--out', metavar='FILE', help="by default the config's name, in this folder")
    parser.add_argument('--batch', type=int, default=1, metavar='N', help='images at once (1)')
    parser.add_argument('--dynamic', action='store_true', help='any number of images at once')
    parser.add_argument(
        '--input-size', type=int, nargs=2, metavar=('H', 'W'), help='resize images to it after the test pipeline'
    )
    parser.add_argument(
        '--with-preprocess',
        action='store_true',
        help='the graph takes uint8 images, resizes, crops and normalises them',
    )
    parser.add_argument('--int8', action='store_true', help='compute in 8-bit integers (onnx, openvino)')
    parser.add_argument('--symmetric', action='store_true', help='with --int8: the integers that TensorRT takes (onnx)')
    parser.add_argument('--calib', type=int, default=256, metavar='N', help='images that calibrate int8 (256)')
    parser.add_argument('--images', metavar='DIR', help='compare on these images instead of the test set')
    parser.add_argument(
        '--check', type=int, metavar='N', help='compare on N images (200; with --int8 all of the test set)'
    )
    add_cfg_options(parser)
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    import contextlib
    import sys

    from mmdensenet.apis import export_model

    with contextlib.redirect_stdout(sys.stderr):
        done = export_model(**arguments(args))
    print(summary(done))
    if not args.int8 and done.difference > 1e-3:
        sys.exit(f'error: {done.file} does not give the scores of the checkpoint.')


def summary(done) -> str:
    about = done.metadata
    height, width = about.size
    batch = 'N' if about.batch is None else about.batch
    files = [done.file, done.file.with_suffix('.bin')] if done.file.suffix == '.xml' else [done.file]
    size = sum(file.stat().st_size for file in files)
    if about.any_size:
        height, width = 'H', 'W'
    taken = (
        f'uint8 images ({batch}, {height}, {width}, {about.channels}), {"grey" if about.channels == 1 else "RGB"}'
        if about.with_preprocess
        else f'normalised float32 images ({batch}, {about.channels}, {height}, {width}), {about.order}'
    )
    lines = [f'{done.file}: {size / 1e6:.1f} MB, takes {taken}']
    steps = [step['type'] for step in about.pipeline or [] if step['type'] != 'PackInputs']
    if about.pipeline is None:
        lines.append('The test pipeline has steps of its own, so the file does not say how images are prepared.')
    if about.any_size:
        lines.append(
            f'The graph does: {", ".join(step for step in steps if not step.rpartition(".")[2].startswith("Load"))}'
        )
    elif steps:
        lines.append(f'Before that the caller (or `mmdensenet predict --model {done.file}`) does: {", ".join(steps)}')
    if done.why_not_folded:
        lines.append(f'The graph is not folded: {done.why_not_folded}.')
    if done.calibrated_on:
        lines.append(f'Calibrated with {about.calibration} images of {done.calibrated_on}')
    what = 'the same labels' if about.multi_label or about.decisions else 'the same top-1'
    lines.append(
        f'Against PyTorch on {done.images} images: {what} for {100 * done.agreement:.2f} %, '
        f'largest difference of a score {done.difference:.2g}'
    )
    if about.decisions:
        parts = (('sets', done.same_sets), ('marks of images unlike the validation', done.same_flags))
        same = [f'the same {name} for {100 * share:.2f} %' for name, share in parts if share is not None]
        lines.append('; '.join(['The labels are as decided', *same]) + '.')
    if done.accuracy is not None:
        measure = 'Accuracy as decided' if about.decisions else 'Top-1 accuracy'
        if about.multi_label:
            measure = 'Mean area under the ROC curve'
        lines.append(f'{measure}: {100 * done.accuracy:.2f} %, PyTorch {100 * done.torch_accuracy:.2f} %')
    return '\n'.join(lines)
