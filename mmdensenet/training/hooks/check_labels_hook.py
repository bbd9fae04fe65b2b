"""Labels are checked before the first step, not by an index error on a GPU."""

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.models.classifiers import BaseClassifier

from mmdensenet.datasets.labels import source_of, unlabelled_parts
from mmdensenet.datasets.wrappers import leaves
from mmdensenet.errors import UserError
from mmdensenet.registry import HOOKS


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Compare every label of the data set with the number of classes of the head, before training and testing.

    Training a classifier needs labels in all parts, and so does its validation.

    Raises:
        UserError: for a part without labels, naming it; and for the first label outside 0 .. num_classes - 1, naming
            the file and the key to change.
    """

    def before_train(self, runner) -> None:
        self._require_labels(runner)
        self._check(runner, runner.train_dataloader.dataset, 'train_dataloader')
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader.dataset, 'val_dataloader')

    def before_test(self, runner) -> None:
        self._check(runner, runner.test_dataloader.dataset, 'test_dataloader')

    def _require_labels(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(model, BaseClassifier):  # pre-training needs none
            return
        loops = dict(train=runner.train_loop, val=runner.val_loop)
        for key, loop in loops.items():
            without = [] if loop is None else unlabelled_parts(loop.dataloader.dataset)
            if without:
                raise UserError(
                    f'{key}_dataloader: the data set {source_of(without[0])} has no labels. Give one with labels'
                    + ('.' if key == 'train' else ', or train without validation with validate=False.')
                )

    def _check(self, runner, dataset, key: str) -> None:
        model = runner.model
        while is_model_wrapper(model) or (not hasattr(model, 'head') and hasattr(model, 'module')):
            model = model.module
        num_classes = getattr(getattr(model, 'head', None), 'num_classes', None)
        if num_classes is None or not is_main_process():
            return
        for leaf in leaves(dataset):
            self._check_leaf(leaf, key, num_classes)

    def _check_leaf(self, dataset, key: str, num_classes: int) -> None:
        for index in range(len(dataset) if hasattr(dataset, 'get_cat_ids') else 0):
            try:
                labels = dataset.get_cat_ids(index)
            except (KeyError, TypeError, NotImplementedError):  # a data set without labels
                return
            wrong = [label for label in labels if not 0 <= label < num_classes]
            if wrong:
                info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
                raise UserError(
                    f'{info.get("img_path", f"sample {index}")} ({key}) has label {wrong[0]}, but the head has '
                    f'{num_classes} classes, 0 to {num_classes - 1}. Correct the label, or set model.head.num_classes.'
                )
