"""Write the README's results tables and docs/model_zoo.md from configs/metafile.yml: `make model-zoo`."""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN = '<!-- generated from configs/metafile.yml by `make model-zoo` -->'
END = '<!-- end of what is generated -->'
NONE = '\N{EN DASH}'

#: columns of the README's table of CIFAR and SVHN: header to the end of a config's name
SMALL = {'C10': 'cifar10-noaug', 'C10+': 'cifar10', 'C100': 'cifar100-noaug', 'C100+': 'cifar100', 'SVHN': 'svhn'}

PAGE = """# Model zoo

{begin}

Each row is a config. The counts are tested against the model that the config builds. *Published* is what others report,
with its source; *ours* is a run of ours whose log is at hand, and stays empty until there is one. OpenMMLab's weights
were converted from torchvision's by OpenMMLab. The same facts, for programs, are in configs/metafile.yml.

- Parameters are those of the whole classifier.
- FLOPs: counted as OpenMMLab does, whose published figures those of its four models are: multiply-adds of convolutions,
  two for each value that a norm gets, one for each that an activation or a pooling gets; without the classifier.
- Multiply-adds: convolutions and the linear layer, for one image, each transition's convolution before its pooling.

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


def error(row: dict, key: str) -> str:
    accuracy = metric(row, key, 'Top 1 Accuracy')
    return NONE if accuracy == NONE else f'{100 - float(accuracy.split()[0]):.2f}'


def note(row: dict) -> str:
    """What a run of ours did otherwise than its config says, in brackets."""
    return ''.join(f' ({result["Note"]})' for result in row.get('Ours', ()) if 'Note' in result)


def weights(row: dict) -> str:
    return f'[download]({row["Weights"]})' if 'Weights' in row else NONE


def readme_tables(models: list[dict]) -> str:
    imagenet = [row for row in models if row['Metadata']['Training Data'] == 'ImageNet-1k' and 'Results' in row]
    large = table(
        ['model', 'parameters', 'FLOPs', 'top-1 %, published', 'top-5 %, published']
        + ['top-1 %, ours', 'config', 'weights'],
        [
            [
                title(row),
                f'{row["Metadata"]["Parameters"]:,}',
                giga(row['Metadata']['FLOPs'], 2),
                metric(row, 'Results', 'Top 1 Accuracy'),
                metric(row, 'Results', 'Top 5 Accuracy'),
                metric(row, 'Ours', 'Top 1 Accuracy'),
                f'[{row["Name"].split("_")[1]}]({row["Config"]})',
                weights(row),
            ]
            for row in imagenet
        ],
    )
    small: dict[str, dict[str, dict]] = {}
    for row in models:
        name, _, data = row['Name'].rpartition('_')
        if data in SMALL.values():
            small.setdefault(name, {})[data] = row
    lines = []
    for columns in small.values():
        first = next(iter(columns.values()))
        ten = columns.get('cifar10', first)
        cells = [
            f'[{error(columns[data], "Results").replace(NONE, "config")}]({columns[data]["Config"]})'
            if data in columns
            else NONE
            for data in SMALL.values()
        ]
        ours = [
            f'{head} {error(row, "Ours")}{note(row)}'
            for head, data in SMALL.items()
            for row in models
            if 'Ours' in row
            and row['Name'].partition('_')[0] == first['Name'].partition('_')[0]
            and row['Name'].rpartition('_')[2] in (data, f'{data}-folder')
        ]
        lines.append([title(first), f'{ten["Metadata"]["Parameters"]:,}', *cells, ', '.join(ours) or NONE])
    cifar = table(['error %, published', 'parameters', *SMALL, 'error %, ours'], lines)
    demo = next(row for row in models if row['Name'].endswith('_digits'))
    digits = (
        f'`make demo`, [{title(demo)}]({demo["Config"]}) with {demo["Metadata"]["Parameters"]:,} parameters on '
        f"scikit-learn's digits: {metric(demo, 'Ours', 'Top 1 Accuracy')} % top-1, ours."
    )
    return f'{large}\n\n{cifar}\n\n{digits}'


def page(models: list[dict]) -> str:
    sections = []
    for data in dict.fromkeys(row['Metadata']['Training Data'] for row in models):
        lines = []
        for row in models:
            if row['Metadata']['Training Data'] != data:
                continue
            results = row.get('Results', ())
            published = '; '.join(
                ', '.join(
                    f'{name.lower().replace(" ", "-", 1)} {value:.2f}' for name, value in result['Metrics'].items()
                )
                for result in results
            )
            lines.append(
                [
                    f'`{row["Name"]}`',
                    f'{row["Metadata"]["Parameters"]:,}',
                    giga(row['Metadata']['FLOPs'], 3),
                    giga(row['Metadata']['Multiply-Adds'], 3),
                    published or NONE,
                    '; '.join(result['Source'] for result in results) or NONE,
                    f'top-1 accuracy {metric(row, "Ours", "Top 1 Accuracy")}{note(row)}' if 'Ours' in row else '',
                    f"[OpenMMLab's]({row['Weights']})" if 'Weights' in row else NONE,
                ]
            )
        header = [
            'config',
            'parameters',
            'FLOPs',
            'multiply-adds',
            'published, %',
            'source',
            'ours, %',
            'weights',
        ]
        sections.append(f'## {data}\n\n{table(header, lines)}\n')
    return PAGE.format(begin=BEGIN, sections='\n'.join(sections), end=END)


def contents() -> dict[Path, str]:
    """What README.md and docs/model_zoo.md have to be."""
    models = rows()
    readme = ROOT / 'README.md'
    before, _, rest = readme.read_text(encoding='utf-8').partition(BEGIN)
    after = rest.partition(END)[2]
    return {
        readme: f'{before}{BEGIN}\n\n{readme_tables(models)}\n\n{END}{after}',
        ROOT / 'docs/model_zoo.md': page(models),
    }


if __name__ == '__main__':
    for file, text in contents().items():
        file.write_text(text, encoding='utf-8')
        print(f'wrote {file.relative_to(ROOT)}', file=sys.stderr)
