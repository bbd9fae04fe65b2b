"""One training step of a small network, or one launch of each long kernel: a program for sanitizers and profilers.

compute-sanitizer --tool memcheck python -m benchmarks.one_step
ncu --set full python -m benchmarks.one_step --kernels
"""

import argparse

#: the longest of a step of 121 at batch 256
LONGEST = (
    'norm_relu_matmul_backward',
    'norm_relu_conv3x3',
    'batch_norm_sums',
    'norm_relu_matmul',
    'batch_norm_backward',
)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.one_step', description=__doc__.split('\n\n')[0])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda')
    parser.add_argument('--kernels', action='store_true', help='launch the long kernels, each at its largest size')
    args = parser.parse_args()
    if args.kernels:
        launch(args.device)
    else:
        step(args.device)


def step(device: str) -> None:
    """Forward and backward of two blocks with a transition, ragged sizes, in every type that the kernels serve."""
    import torch

    from mmdensenet.models import DenseNet

    for dtype in (torch.float32,) if device == 'cpu' else (torch.bfloat16, torch.float16, torch.float32):
        arch = dict(growth_rate=12, depths=[2, 2], init_channels=24)
        model = DenseNet(arch, stem='cifar', engine='fused').to(device).train()
        images = torch.randn(2, 3, 9, 7, device=device)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            (features,) = model(images)
        features.float().square().mean().backward()
        if device == 'cuda':
            torch.cuda.synchronize()
        gradients = [parameter.grad for parameter in model.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        print(f'{dtype}: mean {features.float().mean().item():.6f}, {len(gradients)} gradients', flush=True)


def launch(device: str) -> None:
    """Each kernel twice: the first launch compiles."""
    from .tune_cases import cases, launcher

    for kernel in LONGEST:
        case = cases(kernel, dry=device == 'cpu')[0]
        run, _ = launcher(case, device)
        for _ in range(2):
            run()
        print(case, flush=True)


if __name__ == '__main__':
    main()
