"""Make a model from a folder or a table of images, in steps, each of which writes its result."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmdensenet.checkpoints.one_run import alone_in
from mmdensenet.errors import UserError
from mmdensenet.similar import similar_path

from .class_folders import read_class_folders
from .config_step import config_step, place_of, with_paths
from .decide import require_options
from .divide import divide, kept_salt, read_earlier, read_parts, write_samples
from .hand_over import require_hand_over
from .image_names import named_images, require_tabular
from .labelled_table import is_table, read_labelled_table
from .last_steps import decide_folds_step, decide_step, hand_over_step, judge_folds_step, judge_step
from .look import Look, look
from .network import MOST_LARGE, choose_network
from .path_groups import group_by_path
from .prediction_tables import require_readable
from .samples import Ask, refuse
from .train_best import fold_options, train_best
from .work_folder import WorkFolder, fingerprint, hash_table
from .write_config import describe_seconds

#: the key with which group ids are hashed; it is not handed over
SALT = '.group_salt'


@dataclass
class Fitted:
    """The results of :func:`fit`.

    Attributes:
        work_dir: the folder with everything below.
        found: what the first step found: unreadable images, duplicates and so on.
        samples: path of samples.csv.
        config: path of the config.
        checkpoints: paths of the trained weights, one for each fold.
        figures: results of the later steps, by step.
        files: paths of what is handed over, by name, such as 'report' and 'onnx'.
    """

    work_dir: str
    found: dict
    samples: str | None = None
    config: str | None = None
    checkpoints: list[str] = field(default_factory=list)
    figures: dict = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict:
        return asdict(self)


def fit(
    data: str | Path,
    images: str | Path | None = None,
    *,
    path: str | None = None,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    group: str | None = None,
    split: str | None = None,
    uncertain: str | None = None,
    missing: str | None = None,
    subgroups: Sequence[str] = (),
    work_dir: str | Path | None = None,
    weights: str | None = None,
    network: str | None = None,
    minutes: float | None = None,
    folds: int | None = None,
    allow_leak: bool = False,
    dry_run: bool = False,
    operating_point: str | None = None,
    predict: str | Path | None = None,
    ask: Ask = refuse,
    report: Callable[[str], None] = print,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Look at images and labels, divide them, write a config, train, decide, judge, and hand over.

    Called again with the same work directory it goes on where it was; what is another than before is said, and done
    again with all that comes from it.

    Args:
        data: a folder of class folders, with or without train, val and test; or a CSV, TSV or Parquet table.
        images: the folder of the table's images; by default the table's.
        path, label, split: the table's columns of paths, classes and parts, where they are not to be found by names and
            values. ``split`` may also be the samples.csv of an earlier call, whose images stay in their parts.
        group: what stays together, such as the images of a patient: a column of the table, or what the paths say:
            'folder', 'name', 'none' or a regular expression, see
            :func:`mmdensenet.apis.fit.path_groups.group_by_path`.
        labels: columns of labels, one each; or the names of the classes.
        uncertain, missing: what -1 and empty labels count as: 'positive', 'negative' or 'ignore'.
        subgroups: columns, such as sex and site, for each of whose values the model is judged.
        work_dir: by default ``work_dirs/fit_NAME``.
        weights: a file or URL in any layout that :mod:`mmdensenet.convert` knows; 'none' to start anew; by default
            ImageNet's, where the images have 128 pixels or more or ``network`` is one that has them.
        network: a name that :func:`mmdensenet.get_model` takes, such as 'densenet169', 'densenet-bc-l40-k12' and
            'rdnet-tiny', or a config file, of which backbone and neck are taken; by default the weights or the images'
            size decide.
        minutes: that everything may take; by default the schedule is from the number of images.
        folds: cross-validation with so many folds.
        allow_leak: go on where a given split has groups or duplicates in two parts.
        dry_run: stop after the config is written.
        operating_point: see :func:`mmdensenet.apis.fit.decide.decide`.
        predict: a folder or table of unlabelled images, to be predicted.
        ask: answers a question about a policy: (question, argument, choices).
        report: gets each line.
        progress: gets the numbers of images read and of all.

    Returns:
        Paths and figures.

    Raises:
        UserError: for what the user can put right.
    """
    if minutes is not None and not minutes > 0:
        raise UserError(f'minutes={minutes}: give more than 0.')
    for name, values in (('labels', labels), ('subgroups', subgroups)):
        if isinstance(values, str) or len(set(values or ())) < len(values or ()):
            raise UserError(f'{name}={values!r}: give a list of different names.')
    require_options(operating_point)
    data = str(data)
    if not Path(data).exists():
        raise UserError(f'{data} does not exist: give a folder of class folders, or a table.{similar_path(data)}')
    if not (is_table(data) or Path(data).is_dir()):
        raise UserError(f'{data} is neither a folder nor a table (.csv, .tsv, .txt, .parquet).')
    if predict is not None:
        named_images(predict, images, path)
    earlier = None
    if split is not None and Path(split).suffix.lower() == '.csv':
        earlier, split = read_earlier(split), None
    if not dry_run:
        require_hand_over()  # a package that the last step needs is missed now
    if network is not None or weights not in (None, 'none', 'imagenet'):
        choose_network(MOST_LARGE, weights, network)  # what is wrong without regard to the images comes before them
    stem = Path(data).stem if is_table(data) else Path(data).resolve().name
    work = WorkFolder(work_dir or Path('work_dirs', f'fit_{stem}'))
    if work.path.resolve() == Path(data).resolve():
        raise UserError(f'work_dir={work_dir} is the folder of the images: give another.')
    with alone_in(work.path):
        seen = _look(
            data, images, work, report, progress or (lambda done, total: None), weights, network,
            dict(path=path, label=label, labels=labels, group=group, split=split, uncertain=uncertain, missing=missing,
                 subgroups=subgroups, ask=ask),
        )  # fmt: skip
        require_options(operating_point, several=seen.samples.multi_label)
        done = Fitted(str(work.path), seen.result)
        columns = _split(seen, work, report, folds, allow_leak, earlier, done)
        report('\n3. Write a config')
        title = f'A model of the images of {stem}'
        asked = dict(weights=weights, network=network, minutes=minutes)
        done.config = str(config_step(seen, columns, work, report, title=title, **asked))
        if predict is not None:
            predict = named_images(predict, images, seen.samples.image_column, seen.samples.images)
            require_readable(predict, done.config)
        if dry_run:
            report(f'\nNothing is trained yet: read {done.config}, change it, and call again without the dry run.')
            return done
        unread = _train(seen, columns, work, report, done)
        called = dict(image_column=seen.samples.image_column, title=stem)
        options = [fold_options(work / 'config.py', column) for column in columns]
        if folds is None:
            report('\n5. Decide, on the validation part')
            trained = Path(done.checkpoints[0])
            model = decide_step(work, 'split', trained, options[0], operating_point, report, unread)
            done.checkpoints, decisions = [str(model.checkpoint)], model.decisions
            report('\n6. Judge, on the test part')
            judgement, found = judge_step(work, model, options[0], subgroups, report, unread), None
        else:
            report('\n5. Decide, on all images, each scored by the model that has not seen it')
            trained = [Path(file) for file in done.checkpoints]
            models, ensemble = decide_folds_step(work, list(columns), trained, options, operating_point, report, unread)
            model, decisions = models[0], ensemble.decisions
            report('\n6. Judge, on all images, each by the model that has not seen it')
            judgement, found = judge_folds_step(work, models, ensemble, operating_point, subgroups, report)
        done.figures |= dict(decisions=decisions.to_dict(), judgement=judgement.to_dict())
        report('\n7. Hand over')
        done.files = hand_over_step(work, model, judgement, predict, report, folds=found, **called)
        return done


def _look(data, images, work: WorkFolder, report, progress, weights, network, options: dict) -> Look:
    report(f'1. Look at {data}')
    if is_table(data):
        samples, absent = read_labelled_table(data, None if images is None else str(images), **options)
    else:
        for name in ('path', 'label', 'split', 'uncertain', 'missing', 'subgroups'):
            if options[name]:
                raise UserError(f'{name}={options[name]}: is for a table, and {data} is a folder.')
        if images is not None:
            raise UserError(f'images={images}: is for a table, and {data} is a folder.')
        samples, absent = read_class_folders(data, options['labels'], options['group'], options['ask']), []
    require_tabular(samples.files, samples.root, is_read=True)
    seen = look(samples, absent, work, progress, weights, network)
    if seen.samples.groups is None and not seen.samples.alone:  # DICOM files that name no patient
        skip = 0 if is_table(data) else 1 + (samples.parts is not None)
        group_by_path(seen.samples, None, skip, options['ask'], images_are_read=True)
    made_of = dict(
        data=os.path.basename(os.path.normpath(data)),
        images=fingerprint([[p['file'], p['digest']] for p in seen.pictures]),
        labels=fingerprint(samples.classes, seen.samples.targets.tolist()),
        classes=samples.classes,
        groups=fingerprint(seen.samples.groups),
        parts=fingerprint(seen.samples.parts),
    )
    work.report_changes('look', made_of, report)
    for line in seen.lines():
        report(f'  {line}')
    work.write('look', made_of, seen.result)
    return seen


def _split(
    seen: Look, work: WorkFolder, report, folds, allow_leak: bool, earlier: dict | None, done: Fitted
) -> dict[str, list[str]]:
    report('\n2. Split')
    file = work / 'samples.csv'
    made_of = dict(
        folds=folds,
        earlier=earlier and fingerprint(earlier),
        images=fingerprint(seen.samples.images, seen.samples.parts, seen.samples.groups),
    )
    work.report_changes('split', dict(made_of), report)
    before = read_parts(file)
    if earlier is not None:
        given = len(next(iter(earlier.values())))
        if given != (folds or 1):
            kinds = ['one split' if number == 1 else f'{number} folds' for number in (given, folds or 1)]
            raise UserError(f'split: the earlier samples.csv has {kinds[0]}, and this call {kinds[1]}: give the same.')
        before = (before or {}) | earlier
        if seen.samples.parts is not None:
            report('  the parts are those of the earlier samples.csv, not those that are given')
            seen.samples.parts = None
        if not set(earlier) & set(seen.samples.images):
            raise UserError(
                f'split: the earlier samples.csv has none of these images, such as {seen.samples.images[0]}.'
            )
    columns, lines = divide(seen, before, folds=folds, allow_leak=allow_leak)
    for line in lines:
        report(f'  {line}')
    salt = b'' if seen.samples.groups is None else kept_salt(work / SALT)
    write_samples(file, seen.samples, columns, salt)
    work.write('split', made_of, dict(lines=lines))
    done.samples = str(file)
    return columns


def _train(seen: Look, columns, work: WorkFolder, report, done: Fitted) -> tuple[str, ...]:
    """Return the columns of samples.csv that the config does not read: for others nothing is trained again."""
    report('\n4. Train')
    config = work / 'config.py'
    text = config.read_text(encoding='utf-8')
    unread = tuple(name for name in seen.samples.subgroups if repr(name) not in text)
    made_of = dict(
        config=fingerprint(with_paths(text, place_of(seen, work), ['samples', 'images'])),  # wherever they are
        images=fingerprint([p['digest'] for p in seen.pictures]),  # an image may be another under its old name
        samples=hash_table(work / 'samples.csv', unread),
    )
    before = work.read('config')
    if before is not None and 'weights_file' in before['made_of']:
        made_of['weights_file'] = before['made_of']['weights_file']
    names = ['training'] if 'split' in columns else [f'training_{column}' for column in columns]
    if before is not None and work.done(names[0], made_of) is None:
        report(f'  about {describe_seconds(before["result"]["seconds"] * len(names))}')
    for name, column in zip(names, columns):
        if len(names) > 1:
            report(f'  {column}:')
        result = train_best(work, config, name, fold_options(config, column), made_of, report)
        done.checkpoints.append(str(work / result['checkpoint']))
        done.figures[name] = result
    return unread
