"""The steps of the fused dense block and stem as Triton kernels, for CUDA GPUs.

Importing this package imports Triton: only do so for tensors that are on a GPU. All matrices are rows, (M, C) with
M = N*H*W, contiguous channels and any row stride; features are fp32, bf16 or fp16, statistics and sums fp32.
"""

import torch
from triton import knobs

from ..protocol import Steps
from . import conv, matmul, matmul_backward, norm, norm_backward, pool


class TritonSteps(Steps):
    name = 'triton'

    batch_norm_backward = staticmethod(norm_backward.batch_norm_backward)
    batch_norm_backward_sums = staticmethod(norm_backward.batch_norm_backward_sums)
    extend_norm = staticmethod(norm.extend_norm)
    new_norm = staticmethod(norm.new_norm)
    norm_relu_conv3x3 = staticmethod(conv.norm_relu_conv3x3)
    norm_relu_conv3x3_backward = staticmethod(conv.norm_relu_conv3x3_backward)
    norm_relu_conv3x3_backward_into = staticmethod(conv.norm_relu_conv3x3_backward_into)
    norm_relu_matmul = staticmethod(matmul.norm_relu_matmul)
    norm_relu_matmul_backward = staticmethod(matmul_backward.norm_relu_matmul_backward)
    norm_relu_max_pool = staticmethod(pool.norm_relu_max_pool)
    norm_relu_max_pool_backward = staticmethod(pool.norm_relu_max_pool_backward)
    norm_relu_pool_matmul = staticmethod(matmul.norm_relu_pool_matmul)
    norm_relu_pool_matmul_backward = staticmethod(matmul_backward.norm_relu_pool_matmul_backward)
    statistics = staticmethod(norm.statistics)


triton_steps = TritonSteps()


def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernels cannot compute with features of this dtype on this device, or None if they can."""
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f'the Triton kernels compute in float32, bfloat16 and float16, not {str(dtype).removeprefix("torch.")}'
    if knobs.runtime.interpret:
        return None
    if device.type != 'cuda' or torch.version.hip is not None:
        return 'the Triton kernels need a CUDA GPU'
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return f'the Triton kernels need compute capability 8.0, the GPU has {major}.{minor}'
    return None
