"""Write the README's table of weights and docs/model_zoo.md from configs/metafile.yml: `make model-zoo`."""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN = '<!-- generated from configs/metafile.yml by `make model-zoo` -->'
END = '<!-- end of what is generated -->'
NONE = '\N{EN DASH}'

#: columns of the paper's table of CIFAR and SVHN: header to the end of a config's name
SMALL = {'C10': 'cifar10-noaug', 'C10+': 'cifar10', 'C100': 'cifar100-noaug', 'C100+': 'cifar100', 'SVHN': 'svhn'}

PAGE = """# Model zoo

{begin}

Each row is a config. `mmdensenet train mmdensenet::NAME` trains it, `mmdensenet configs copy NAME` copies it into a
file of yours. *Published* is what others report, with its source; *ours* appears where there is a run of ours with its
log. OpenMMLab converted its weights from torchvision's. configs/metafile.yml has the same data for programs.

- Parameters: of the whole classifier.
- FLOPs: counted as OpenMMLab does for its four models. They are the multiply-adds of convolutions, two for each value
  of a norm's input, and one for each value of an activation's or a pooling's; without the classifier.
- Multiply-adds: of convolutions and the linear layer for one image, with transitions that convolve before they pool.

Tests compare these counts with the model that each config builds.

## The paper's networks

Published error rates of table 2 of arXiv:1608.06993; + means with augmentation. Parameters are those with ten classes.
Each cell has a config in the tables below.

{paper}

{sections}
{end}
"""


def rows() -> list[dict]:
    return yaml.safe_load((ROOT / 'configs/metafile.yml').read_text(encoding='utf-8'))['Models']


def table(header: list[str], lines: list[list[str]]) -> str:
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in [header, ['---'] * len(header), *lines])


def title(row: dict) -> str:
    """'DenseNet-BC, L=100, k=12' of densenet-bc-l100-k12_..., 'DenseNet-264 (k=48)', 'RDNet-large (384 px)'."""
    model = row['Name'].partition('_')[0]
    if model.startswith('rdnet-'):
        name, *parts = model.removeprefix('rdnet-').split('-')
        family = 'RDNet'
    else:
        name, *parts = model.removeprefix('densenet').split('-')
        family = 'DenseNet'
    if name:
        said = [f'{p} px' if p.isdigit() else p.replace('k', 'k=') if p[0] == 'k' else p for p in parts]
        return f'{family}-{name}' + (f' ({", ".join(said)})' if said else '')
    kind = 'DenseNet-BC' if 'bc' in parts else 'DenseNet'
    return ', '.join(
        [kind, *(f'{part[0].upper() if part[0] == "l" else part[0]}={part[1:]}' for part in parts if part != 'bc')]
    )


def giga(count: int, digits: int) -> str:
    return f'{count / 1e9:.{digits}f} G'


def metric(row: dict, key: str, name: str) -> str:
    """A metric as it is published: 'Top 1 Accuracy' also of a row that has the error, in percent."""
    for result in row.get(key, ()):
        metrics = result['Metrics']
        error = name.replace('Accuracy', 'Error')
        if name in metrics or error in metrics:
            value = metrics[name] if name in metrics else round(100 - metrics[error], 2)
            spread = str(result.get('Spread', '')).partition(',')[0]
            return f'{value:.2f}' + (f' ± {spread}' if spread else '')
    return NONE


def error(row: dict) -> str:
    accuracy = metric(row, 'Results', 'Top 1 Accuracy')
    return NONE if accuracy == NONE else f'{100 - float(accuracy):.2f}'


def note(row: dict) -> str:
    """What a run of ours did otherwise than its config says, in brackets."""
    return ''.join(f' ({result["Note"]})' for result in row.get('Ours', ()) if 'Note' in result)


def readme_table(models: list[dict]) -> str:
    """The models whose weights are at hand."""
    return table(
        ['model', 'parameters', 'FLOPs', 'top-1 %', 'top-5 %', 'config', 'weights'],
        [
            [
                title(row),
                f'{row["Metadata"]["Parameters"]:,}',
                giga(row['Metadata']['FLOPs'], 2),
                metric(row, 'Results', 'Top 1 Accuracy'),
                metric(row, 'Results', 'Top 5 Accuracy'),
                f'[{row["Name"]}]({row["Config"]})',
                f'[download]({row["Weights"]})',
            ]
            for row in models
            if 'Weights' in row
        ],
    )


def paper_table(models: list[dict]) -> str:
    """Table 2 of the paper: a line for each architecture, a column for each data set."""
    small: dict[str, dict[str, dict]] = {}
    for row in models:
        name, _, data = row['Name'].rpartition('_')
        if data in SMALL.values():
            small.setdefault(name, {})[data] = row
    lines = []
    for columns in small.values():
        errors = [error(columns[data]) if data in columns else NONE for data in SMALL.values()]
        if set(errors) != {NONE}:
            ten = columns.get('cifar10') or next(iter(columns.values()))
            lines.append([title(ten), f'{ten["Metadata"]["Parameters"]:,}', *errors])
    return table(['error %, published', 'parameters', *SMALL], lines)


def section(models: list[dict]) -> str:
    """The table of one data set; with a column for our runs if there is one."""
    header = ['config', 'parameters', 'FLOPs', 'multiply-adds', 'published, %', 'source', 'ours, %', 'weights']
    lines = []
    for row in models:
        results = row.get('Results', ())
        published = '; '.join(
            ', '.join(f'{name.lower().replace(" ", "-", 1)} {value:.2f}' for name, value in result['Metrics'].items())
            for result in results
        )
        lines.append(
            [
                f'`{row["Name"]}`',
                f'{row["Metadata"]["Parameters"]:,}',
                giga(row['Metadata']['FLOPs'], 3),
                giga(row['Metadata']['Multiply-Adds'], 3),
                published,
                '; '.join(result['Source'] for result in results),
                f'top-1 accuracy {metric(row, "Ours", "Top 1 Accuracy")}{note(row)}' if 'Ours' in row else '',
                f"[OpenMMLab's]({row['Weights']})" if 'Weights' in row else '',
            ]
        )
    filled = [any(line[column] for line in lines) for column in range(len(header))]
    shown = [[cell or NONE for cell, used in zip(line, filled) if used] for line in lines]
    return table([name for name, used in zip(header, filled) if used], shown)


def page(models: list[dict]) -> str:
    sections = []
    for data in dict.fromkeys(row['Metadata']['Training Data'] for row in models):
        rows_of_data = [row for row in models if row['Metadata']['Training Data'] == data]
        sections.append(f'## {data}\n\n{section(rows_of_data)}\n')
    return PAGE.format(begin=BEGIN, paper=paper_table(models), sections='\n'.join(sections), end=END)


def contents() -> dict[Path, str]:
    """What README.md and docs/model_zoo.md have to be."""
    models = rows()
    readme = ROOT / 'README.md'
    before, _, rest = readme.read_text(encoding='utf-8').partition(BEGIN)
    after = rest.partition(END)[2]
    return {
        readme: f'{before}{BEGIN}\n\n{readme_table(models)}\n\n{END}{after}',
        ROOT / 'docs/model_zoo.md': page(models),
    }


if __name__ == '__main__':
    for file, text in contents().items():
        file.write_text(text, encoding='utf-8')
        print(f'wrote {file.relative_to(ROOT)}', file=sys.stderr)
