"""Deletes old checkpoints after the new one is saved; mmengine's CheckpointHook deletes them before.

A checkpoint names the files to delete once it is saved, so that a run that is killed in between deletes them when it
resumes.
"""

import os.path as osp
from collections.abc import Callable

from mmengine.dist import barrier, is_main_process

from mmdensenet.compat.faults import wrapping
from mmdensenet.compat.mmengine import DELETING

#: keys of the message hub, which is in each checkpoint
_OUTDATED, _OUTDATED_BEST = 'outdated_ckpt', 'outdated_best_ckpts'


def delete_last(save: Callable, hook, runner, step, meta) -> None:
    """``CheckpointHook._save_checkpoint_with_step``: delete the outdated checkpoint after the new one is saved."""
    outdated = None
    if hook.max_keep_ckpts > 0 and len(hook.keep_ckpt_ids) == hook.max_keep_ckpts and hook.keep_ckpt_ids[-1] != step:
        outdated = hook.keep_ckpt_ids.popleft()
        runner.message_hub.update_info(_OUTDATED, outdated)
    if hasattr(runner, 'call_hook'):
        runner.call_hook('before_collective_save')  # on all ranks; save_checkpoint saves on the first only
    save(hook, runner, step, meta)
    if outdated is not None:
        _remove(hook, _path_of_step(hook, outdated))


def keep_previous_best(save: Callable, hook, runner, metrics) -> None:
    """``CheckpointHook._save_best_checkpoint``: delete the previous best after the new best is saved."""
    if not hook.save_best:
        return
    single = len(hook.key_indicators) == 1
    paths = {'': hook.best_ckpt_path} if single else dict(hook.best_ckpt_path_dict)
    runner.message_hub.update_info(_OUTDATED_BEST, [path for path in paths.values() if path])
    # mmengine deletes the files that it finds here
    if single:
        hook.best_ckpt_path = None
    else:
        hook.best_ckpt_path_dict.update(dict.fromkeys(paths))
    saved = False
    try:
        save(hook, runner, metrics)
        saved = True
    finally:
        for key, previous in paths.items():
            current = hook.best_ckpt_path if single else hook.best_ckpt_path_dict[key]
            if not saved or current is None:
                if single:
                    hook.best_ckpt_path = previous
                else:
                    hook.best_ckpt_path_dict[key] = previous
            elif previous and previous != current:
                _remove(hook, previous)


def remove_outdated(hook, runner) -> None:
    """Delete what the hook was about to delete when the resumed run was killed."""
    step = runner.message_hub.runtime_info.get(_OUTDATED)
    if hook.max_keep_ckpts > 0 and isinstance(step, int) and step not in hook.keep_ckpt_ids:
        _remove(hook, _path_of_step(hook, step))
    if hook.save_best:
        bests = [hook.best_ckpt_path] if len(hook.key_indicators) == 1 else list(hook.best_ckpt_path_dict.values())
        for path in runner.message_hub.runtime_info.get(_OUTDATED_BEST) or ():
            if isinstance(path, str) and path not in bests and osp.basename(path).startswith('best_'):
                _remove(hook, path)


def _path_of_step(hook, step: int) -> str:
    return hook.file_backend.join_path(hook.out_dir, hook.filename_tmpl.format(step))


def _remove(hook, path: str) -> None:
    barrier()  # with DeepSpeed every rank writes a part of the new checkpoint
    # a checkpoint says which best one to delete: delete nothing outside of this run's own folder
    folder = path.rpartition('/')[0] if '://' in path else osp.dirname(osp.abspath(path))
    own = hook.out_dir.rstrip('/') if '://' in path else osp.abspath(hook.out_dir)
    if not is_main_process() or folder != own:
        return
    if hook.file_backend.isfile(path):
        hook.file_backend.remove(path)
    elif hook.file_backend.isdir(path):  # DeepSpeed's checkpoints are folders
        hook.file_backend.rmtree(path)


@DELETING.repaired_by
def delete_checkpoints_last() -> None:
    from mmengine.hooks import CheckpointHook

    wrapping(CheckpointHook, '_save_checkpoint_with_step')(delete_last)
    wrapping(CheckpointHook, '_save_best_checkpoint')(keep_previous_best)
