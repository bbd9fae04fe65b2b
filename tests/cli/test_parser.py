"""An unknown option names what to write instead."""

import pytest

from mmdensenet_cli.main import main


@pytest.mark.parametrize(
    ('arguments', 'hints'),
    [
        ('train c.py --max-epochs 3', ['--cfg-options train_cfg.max_epochs=3']),
        ('train --epochs 3 c.py', ['--cfg-options train_cfg.max_epochs=3']),
        ('train c.py --lr=0.1 --amp', ['--cfg-options optim_wrapper.optimizer.lr=0.1']),
        ('train c.py --batch-size 8 --seed 1', ['--cfg-options train_dataloader.batch_size=8 randomness.seed=1']),
        ('train c.py --workers --amp', ['--cfg-options train_dataloader.num_workers=VALUE']),
        ('train c.py --workdir w', ['Did you mean --work-dir instead of --workdir?']),
        (
            'train c.py --lr 1 --no-valdate',
            ['Did you mean --no-validate', '--cfg-options optim_wrapper.optimizer.lr=1'],
        ),
        ('test c.py x.pth --batch-size 8', ['--cfg-options test_dataloader.batch_size=8']),
        ('report c.py x.pth --workers 0', ['--cfg-options test_dataloader.num_workers=0']),
        ('export c.py x.pth --batch-size 8', ['Did you mean --batch instead of --batch-size?']),
        ('visualize cam c.py x.pth a.jpg --method a --layr b', ['Did you mean --layer instead of --layr?']),
        ('complexity c.py --batch-size 8', ['Did you mean --batch instead of --batch-size?']),
        ('decide c.py x.pth --workers 0', ['--cfg-options val_dataloader.num_workers=0']),
        ('visualize data c.py --batch-size 8', ['--cfg-options train_dataloader.batch_size=8']),
        ('visualize schedule c.py --max-epochs 8', ['--cfg-options train_cfg.max_epochs=8']),
        ('verify c.py --data-root x', ['--cfg-options train_dataloader.dataset.data_root=x']),
        ('train c.py --device cpu', ['CUDA_VISIBLE_DEVICES']),
        ('test c.py x.pth --device=cpu --fp16', ['CUDA_VISIBLE_DEVICES', '--amp']),
        (
            'test --config c.py --checkpoint x.pth',
            ['Give config without --config', 'Give checkpoint without --checkpoint'],
        ),
        ('visualize cam --config c.py x.pth a.jpg', ['Give config without --config']),
        ('predict a.jpg --model m --config c.py', ['A config is --model here']),
        ('serve c.py --weights x.pth', ['Weights are --checkpoint']),
        ('train c.py --frobnicate', []),
        ('visualize', ['COMMAND is one of data, schedule, curves,']),
        ('configs', ['COMMAND is one of list, copy.']),
        ('train c.py d.py', []),
    ],
)
def test_unknown_options(arguments, hints, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    said = capsys.readouterr().err
    message, *lines = said[said.index('error: ') :].splitlines()
    assert 'unrecognized arguments: ' in message or 'are required: ' in message
    assert len(lines) == len(hints) and all(hint in line for hint, line in zip(hints, lines)), lines
