"""README.txt of a work directory: what each file is, and the next three commands."""

from pathlib import Path

from mmdensenet.results.decisions import UNCALIBRATED, Decisions

#: what files are, by name or pattern; those with names of images or state of training are not for others
FILES = [
    ('report.html', 'the report: figures, curves, errors and suspicious labels with pictures; opens without network'),
    ('model.onnx', 'the model with its preprocessing, names, temperature and thresholds, for `mmdensenet predict`'),
    ('model_card.md', 'the model card; what only you know is marked (author)'),
    ('predictions.csv', 'probabilities of the images of the test part, called as in your table'),
    ('submission.csv', 'probabilities of the images without labels'),
    ('suspicious.csv', 'labels that are likely wrong, the most suspicious first: look at them'),
    ('checklist-*.md', 'a checklist for authors'),
    ('*_before*', 'of an earlier call, whose data or options were others'),
    ('samples.csv', 'what was understood of your data: image, labels, part, group (hashed)'),
    ('.group_salt', 'what groups are hashed with: without it nobody can guess them, so pass it on to nobody'),
    ('*.py', 'the config: edit it, and `mmdensenet train` takes it; it holds paths of this machine'),
    ('config.json', 'what the config was made of; it holds paths of this machine'),
    ('*.json', 'results of the steps, so that the same command goes on where it was'),
    ('pictures.jsonl', 'what was found of each image; it has their names'),
    ('*.npz', 'scores of the validation and the test part; they have the paths of images'),
    ('*.pth', 'weights and state of training; they hold paths of this machine, so pass on model.onnx instead'),
    ('training*', 'weights, log and curves of the training; weights and log hold paths of this machine'),
    ('vis_data', 'curves of the training'),
    ('2*_*', 'a log of a training; it holds paths of this machine'),
]


#: the same of a cross-validation, where it is otherwise
OF_FOLDS = {
    'model.onnx': 'the ensemble: the mean of the probabilities of {models} models, with preprocessing, names and '
    'thresholds, for `mmdensenet predict`',
    'predictions.csv': 'probabilities of your images, called as in your table, each by the model that has not seen it',
    '*.npz': 'scores of the held-out folds and of those that chose the epochs; they have the paths of images',
}


def write_readme(
    folder: Path, config: Path, checkpoint: Path, decisions: Decisions | None, models: int | None = None
) -> None:
    """Write README.txt on the files that are there.

    Args:
        models: of a cross-validation, of whose models ``checkpoint`` is the first.
    """
    lines = ['What is in this folder', '']
    told: set[str] = set()
    for pattern, what in FILES:
        names = sorted(path.name for path in folder.glob(pattern) if path.name not in told)
        told |= set(names)
        if names:
            shown = names[0] if len(names) == 1 else f'{names[0]} and {len(names) - 1} more like it'
            what = OF_FOLDS.get(pattern, what).format(models=models) if models else what
            lines.append(f'  {shown}\n      {what}')
    model = 'model.onnx' if 'model.onnx' in told else f'{config.name} --checkpoint {inside(folder, checkpoint)}'
    lines += [
        '',
        *([UNCALIBRATED] if decisions is None else decisions.lines()),
        'Research use only. This is no medical device.',
        '',
        'The next three commands, in this folder:',
        '',
        f'  mmdensenet predict IMAGES --model {model}',
        f'  mmdensenet serve {model}',
        f'  mmdensenet report {config.name} {inside(folder, checkpoint)} --checklist claim',
    ]
    if models:  # the report of an ensemble is that in the folder
        lines[-1] = f'  mmdensenet report {config.name} {inside(folder, checkpoint)} --out first_model.html'
    (folder / 'README.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')


def inside(folder: Path, path: Path) -> str:
    """The path as seen from the folder; of another place its name only."""
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return path.name
