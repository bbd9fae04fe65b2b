"""Keys of a config that name metrics are compared with what validation reports, before the first step."""

import pytest
from helpers import assert_equal, load_weights

from mmdensenet.apis import train_model
from mmdensenet.errors import UserError

PER_CLASS = "val_evaluator = dict(_delete_=True, type='SingleLabelMetric', items=('precision',), average=None)"
BEST = 'default_hooks.checkpoint.save_best'


def refusal(config, work_dir, **options) -> str:
    with pytest.raises(UserError) as caught:
        train_model(str(config), work_dir=str(work_dir), **options)
    assert not list(work_dir.glob('*.pth')) and not (work_dir / 'run.json').exists(), 'before the first step'
    return str(caught.value)


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (
            "default_hooks = dict(checkpoint=dict(save_best='accuracy'))",
            f"{BEST}='accuracy' is none of the metrics that are reported. Choose one of accuracy/top1.",
        ),
        (
            "default_hooks = dict(checkpoint=dict(save_best=['accuracy/top1', 'top5_acc']))",
            f"{BEST}='top5_acc' is none of the metrics that are reported. Choose one of accuracy/top1.",
        ),
        (
            'val_evaluator = dict(topk=(1, 20))',
            'val_evaluator: topk=(1, 20), and the model has 10 classes: set val_evaluator.topk=(1,).',
        ),
        ('val_evaluator = dict(topk=0)', 'val_evaluator: topk=(0,): give whole numbers of 1 or more.'),
        (
            'val_evaluator = dict(thrs=(0.5, 50))',
            'val_evaluator: thrs=50: scores are fractions of 1, and none is above it.',
        ),
        (
            "custom_hooks = [dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience=-1)]",
            'EarlyStoppingHook.patience=-1 would stop at once: give 0 or more.',
        ),
        (
            "custom_hooks = [dict(type='EarlyStoppingHook', monitor='loss')]",
            "EarlyStoppingHook.monitor='loss' is none of the metrics that are reported. Choose one of accuracy/top1.",
        ),
        (
            "param_scheduler = dict(_delete_=True, type='ReduceOnPlateauLR')",
            "ReduceOnPlateauLR.monitor='loss' is none of the metrics that are reported. Choose one of accuracy/top1.",
        ),
        (
            "param_scheduler = dict(_delete_=True, type='ReduceOnPlateauLR', monitor='accuracy/top1')",
            "ReduceOnPlateauLR takes a falling accuracy/top1 for progress (rule='less', the default): set "
            "rule='greater'.",
        ),
        (
            "default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', rule='less'))",
            f"{BEST}='accuracy/top1' with the rule 'less' takes the worst for the best: set rule='greater'.",
        ),
        (
            "custom_hooks = [dict(type='EarlyStoppingHook', monitor='top1_error')]",  # mmengine sees 'top'
            "EarlyStoppingHook.monitor='top1_error' with the rule 'greater' takes the worst for the best: set "
            "rule='less'.",
        ),
        (
            f'{PER_CLASS}\n',
            f"{BEST}='single-label/precision_classwise' is one value per class, not one number. No metric here is "
            'one number: leave it out.',
        ),
        (
            "val_evaluator = dict(_delete_=True, type='Accuracy', prefix='share', topk=(1,))\n"
            "custom_hooks = [dict(type='EarlyStoppingHook', monitor='accuracy/top1', rule='greater')]",
            "EarlyStoppingHook.monitor='accuracy/top1' is none of the metrics that are reported. Choose one of "
            'share/top1.',
        ),
        (
            "val_evaluator = dict(_delete_=True, type='mmpretrain.ConfusionMatrix')",
            f"{BEST}='auto' is 'confusion_matrix/result' here: set rule='greater' or 'less', whichever is better.",
        ),
        (
            "train_cfg = dict(_delete_=True, by_epoch=False, max_iters=6, val_interval=3)\n",
            'param_scheduler: MultiStepLR counts epochs and the training iterations: give it by_epoch=False and its '
            'values in iterations, or convert_to_iter_based=True.',
        ),
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused(short_config, tmp_path, extra, message):
    assert refusal(short_config(extra), tmp_path / 'work') == message


def test_nothing_watches_a_training_without_validation(short_config, tmp_path):
    config = short_config("custom_hooks = [dict(type='EarlyStoppingHook', monitor='accuracy/top1')]")
    message = refusal(config, tmp_path / 'work', validate=False)
    assert message.startswith(
        "EarlyStoppingHook.monitor='accuracy/top1' is watched, and the training does not validate"
    )


def test_what_fits_is_not_refused_and_the_check_changes_nothing(short_config, tmp_path, monkeypatch):
    """All that the config names is there; with and without the check the weights are the same to the bit."""
    config = short_config(
        """
model = dict(backbone=dict(drop_rate=0.2))
randomness = dict(seed=3)
default_hooks = dict(checkpoint=dict(save_best=['accuracy/top1', 'single-label/precision']))
val_evaluator = dict(_delete_=True, type='Evaluator', metrics=[
    dict(type='Accuracy', topk=(1,)), dict(type='SingleLabelMetric')])
val_evaluator = val_evaluator['metrics']
custom_hooks = [dict(type='EarlyStoppingHook', monitor='single-label/recall', rule='greater', patience=9)]
param_scheduler = dict(_delete_=True, type='ReduceOnPlateauLR', monitor='accuracy/top1', rule='greater')
"""
    )
    weights = []
    for name in ('with', 'without'):
        if name == 'without':
            monkeypatch.setattr('mmdensenet.training.hooks.CheckKeysHook.before_train', lambda self, runner: None)
        train_model(str(config), work_dir=str(tmp_path / name))
        weights.append(load_weights(tmp_path / name / 'epoch_2.pth'))
        assert list((tmp_path / name).glob('best_single-label_precision_epoch_*.pth'))
    assert_equal(*weights)
