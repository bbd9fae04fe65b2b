"""The table of tiles, from the measurements of :mod:`benchmarks.tune`."""

import csv
import json
from pathlib import Path


def write_table(file: Path, target: Path | None) -> None:
    """Put the fastest tile of each launch into the table, and which of two ways is the faster."""
    from mmdensenet.ops.steps.triton import tiles as table

    target = target or table.FILE
    whole = json.loads(target.read_text()) if target.exists() else {}
    with file.open(newline='') as lines:
        rows = list(csv.DictReader(lines))
    rows_of: dict[tuple, list[dict]] = {}
    cudnn: dict[tuple, float] = {}
    for row in rows:
        row['microseconds'] = float(row['microseconds'])
        shape = tuple(row['aligned'] == 'True' if key == 'aligned' else int(row[key]) for key in table.SHAPE)
        key = row['chip'], row['kernel'], shape
        if row['tile'] == '"cudnn"':
            cudnn[key] = row['microseconds']
        elif int(row['usable']):
            # the first row is the rule's; what is faster by less than 2 % may be faster by chance
            rows_of[key] = [*rows_of.get(key, []), row]
    fastest = {}
    for key, (rule, *others) in rows_of.items():
        best = min([rule, *others], key=lambda row: row['microseconds'])
        fastest[key] = best if best['microseconds'] < 0.98 * rule['microseconds'] else rule
    for (chip, kernel, shape), row in fastest.items():
        entry = dict(zip(table.SHAPE, shape)) | json.loads(row['tile'])
        add_entry(whole, chip, kernel, entry)
    for (chip, kernel, shape), row in fastest.items():
        entry = dict(zip(table.SHAPE, shape))
        if kernel == 'norm_relu_conv3x3' and (chip, kernel, shape) in cudnn:
            implicit = row['microseconds'] <= cudnn[chip, kernel, shape]
            add_entry(whole, chip, 'conv3x3_way', entry | dict(implicit=implicit))
        parts = [fastest.get((chip, part, shape)) for part in ('grad_input', 'grad_weight')]
        if kernel == 'norm_relu_matmul_backward' and all(parts):
            fused = row['microseconds'] <= sum(part['microseconds'] for part in parts)
            add_entry(whole, chip, 'norm_relu_matmul_backward_way', entry | dict(fused=fused))
    chips = [
        f' {json.dumps(chip)}: {{\n'
        + ',\n'.join(
            f'  {json.dumps(kernel)}: [\n' + ',\n'.join(f'   {json.dumps(entry)}' for entry in entries) + '\n  ]'
            for kernel, entries in sorted(kernels.items())
        )
        + '\n }'
        for chip, kernels in sorted(whole.items())
    ]
    target.write_text('{\n' + ',\n'.join(chips) + '\n}\n')
    print(f'{target}: {len(fastest)} launches')


def add_entry(whole: dict, chip: str, kernel: str, entry: dict) -> None:
    """Add an entry in the place of one with the same shape."""
    from mmdensenet.ops.steps.triton.tiles import SHAPE

    entries = whole.setdefault(chip, {}).setdefault(kernel, [])
    entries[:] = [other for other in entries if any(other[key] != entry[key] for key in SHAPE)] + [entry]
