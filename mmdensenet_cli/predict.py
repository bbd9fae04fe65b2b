"""Predict the classes of images."""

import argparse
import json

from .shared import add_debug

PRINTS_RESULTS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'images',
        nargs='+',
        metavar='IMAGE',
        help='file, folder, pattern, URL, .npy array, or a .csv or .txt list of them',
    )
    parser.add_argument('--model', required=True, help='config file, a name such as densenet121, or an exported file')
    parser.add_argument('--checkpoint', help="file or URL in any layout; by default the model zoo's weights")
    parser.add_argument('--topk', type=int, default=5, metavar='K', help='show the K best classes (5)')
    parser.add_argument('--json', action='store_true', help='print one JSON list with all scores of the best K')
    parser.add_argument(
        '--show', nargs='?', const='predictions', metavar='DIR', help='write annotated pictures to DIR (predictions)'
    )
    parser.add_argument(
        '--dicom-sr', metavar='FOLDER', help='write a DICOM structured report for each study of DICOM images to FOLDER'
    )
    parser.add_argument('--batch-size', type=int, default=32, metavar='N', help='images at once (32)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1; by default the GPU if there is one')
    add_debug(parser)
    parser.instead = {'--config': 'A config is --model here.', '--weights': 'Weights are --checkpoint.'}


def run(args: argparse.Namespace) -> None:
    import contextlib
    import sys

    from mmdensenet.apis import open_inferencer
    from mmdensenet.apis.image_lists import expand
    from mmdensenet.apis.summary import summarise
    from mmdensenet.errors import UserError
    from mmdensenet.results.decided import plain_decision
    from mmdensenet.results.decisions import UNCALIBRATED
    from mmdensenet.results.scores import best_classes

    if args.topk < 1:
        raise UserError(f'--topk {args.topk}: give 1 or more.')
    if args.dicom_sr:
        from mmdensenet.apis.dicom_sr import identify, require_highdicom, write_dicom_sr

        require_highdicom()
    with contextlib.redirect_stdout(sys.stderr):  # logs of libraries must not be in the results
        images = [image for item in args.images for image in expand(item)]  # before a model is loaded
        inferencer = open_inferencer(args.model, args.checkpoint, args.device)
        is_long = 0 < args.batch_size < len(images) or sys.stderr.isatty()
        if is_long and hasattr(inferencer.model, '_config'):  # an exported file is no model
            summarise(inferencer.model, args.checkpoint, images=f'{len(images):,}')
        results = inferencer(images, args.batch_size, show_dir=args.show)
    records = [
        dict(
            img_path=result['img_path'], predictions=best_classes(result['pred_scores'], inferencer.classes, args.topk)
        )
        | ({} if inferencer.decisions is None else dict(decision=plain_decision(result, inferencer.classes)))
        for result in results
    ]
    written = []
    if args.dicom_sr:
        identity = identify(inferencer, args.model, args.checkpoint)
        written = write_dicom_sr(args.dicom_sr, results, inferencer, identity)
    notes = [UNCALIBRATED] if inferencer.decisions is None else inferencer.decisions.lines()
    print('\n'.join(notes), file=sys.stderr)
    if args.json:
        print(json.dumps(records, indent=1))
        return
    for record in records:
        print(record['img_path'])
        for entry in record['predictions']:
            print(f'  {entry["score"]:.4f}  {entry.get("class", entry["label"])}')
        if 'decision' in record:
            print(f'  decided: {_in_words(record["decision"])}')
    if written:
        print(f'Structured reports of {len(written)} studies are in {args.dicom_sr}')
    if args.show:
        print(f'The pictures are in {args.show}')


def _in_words(decision: dict) -> str:
    """'cat; set: cat, dog; unlike the validation images'."""
    label = decision.get('class', decision['label'])
    parts = [', '.join(map(str, label)) or 'none' if isinstance(label, list) else str(label)]
    if 'conformal_set' in decision:
        parts.append('set: ' + (', '.join(map(str, decision['conformal_set'])) or 'empty'))
    if decision.get('ood'):
        parts.append('unlike the validation images')
    return '; '.join(parts)
