"""Converted weights on real images: tools/test.py beside torchvision's own code.

    python tests/scripts/real_input.py calibrate data/imagenet/val theirs.pth
    python tools/convert_checkpoint.py theirs.pth ours.safetensors --verify
    python tools/test.py configs/densenet121_4xb256_in1k.py ours.safetensors --out predictions.pkl
    python tests/scripts/real_input.py compare theirs.pth ours.safetensors predictions.pkl

Random weights as they are predict one or two classes for everything: `calibrate` sets the batch norms, and the spread
of the classifier's inputs, from a quarter of the images.
"""

import pickle
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from PIL import Image

import mmdensenet  # before anything imports torchvision

CONFIG = Path(__file__).resolve().parents[2] / 'configs/densenet121_4xb256_in1k.py'


def calibrate(folder: str, out: str) -> None:
    from torchvision import transforms
    from torchvision.models import densenet121

    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    files = sorted(Path(folder).rglob('*.JPEG'))[::4]
    batches = [
        torch.stack([prepare(Image.open(file).convert('RGB')) for file in files[i : i + 32]])
        for i in range(0, len(files), 32)
    ]
    torch.manual_seed(0)
    model = densenet121(weights=None)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the average over all batches
    with torch.no_grad():
        for batch in batches:
            model.train()(batch)
        features = torch.cat([model.eval().features(batch).relu().mean((2, 3)) for batch in batches])
        weight = torch.randn(1000, features.shape[1]) * features.shape[1] ** -0.5 / features.std(0).clamp_min(1e-3)
        model.classifier.weight.copy_(weight)
        model.classifier.bias.copy_(-weight @ features.mean(0))
        print(f'{model.classifier(features).argmax(1).unique().numel()} classes for {len(files)} images')
    torch.save(model.state_dict(), out)


def compare(theirs: str, ours: str, predictions: str) -> None:
    """The same tensors, those of the config's test pipeline, through torchvision's model and ours."""
    from mmpretrain.registry import DATASETS
    from torchvision.models import densenet121

    with open(predictions, 'rb') as file:  # written by tools/test.py a moment ago
        tested = pickle.load(file)
    cfg = Config.fromfile(CONFIG)
    model = mmdensenet.get_model(cfg, ours)
    reference = densenet121(weights=None).eval()
    reference.load_state_dict(torch.load(theirs, weights_only=True))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    same = direct = 0
    largest = scores = spread = 0.0
    found = set()
    with torch.no_grad():
        for start in range(0, len(dataset), 50):
            samples = [dataset[i] for i in range(start, min(start + 50, len(dataset)))]
            images = model.data_preprocessor(dict(inputs=torch.stack([s['inputs'] for s in samples])))['inputs']
            expected, actual = reference(images), model(images)
            for i in range(len(samples)):
                label = expected[i].argmax().item()
                found.add(label)
                same += tested[start + i]['pred_label'].item() == label
                direct += actual[i].argmax().item() == label
                scores = max(scores, (tested[start + i]['pred_score'] - expected[i].softmax(0)).abs().max().item())
            largest = max(largest, (actual - expected).abs().max().item())
            spread = max(spread, expected.abs().max().item())
    print(f'tools/test.py and torchvision: the same class for {same} of {len(dataset)} images ({len(found)} classes)')
    print(f'scores differ by at most {scores:.2g}; logits, which reach {spread:.3g}, by at most {largest:.2g}')
    sys.exit(not (same == direct == len(dataset) and largest < 1e-4))


if __name__ == '__main__':
    {'calibrate': calibrate, 'compare': compare}[sys.argv[1]](*sys.argv[2:])
