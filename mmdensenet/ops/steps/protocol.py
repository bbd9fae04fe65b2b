"""The steps of a dense block and of the stem: what every implementation of a step computes.

A step gets "rows": a matrix (M, C), M = N*H*W, with one row per pixel and any row stride (a view of some columns of the
block's buffer). Statistics, scales, shifts and sums are float32 for rows of every dtype but float64, for which they are
float64.

Types and shapes are stated here alone: the implementations name the arguments.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ..norms import extend_norm, new_norm
from ..rows import Shape


class Steps(Protocol):
    """The methods of plain torch, the C++ kernels and the Triton kernels, which the tests compare with each other."""

    #: 'plain', 'native' or 'triton'
    name: str
    #: whether :meth:`evaluate_stage` and :meth:`evaluate_stem` exist
    evaluates_whole = False

    new_norm = staticmethod(new_norm)
    extend_norm = staticmethod(extend_norm)

    @abstractmethod
    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance (C,) of each column of rows (M, C)."""

    @abstractmethod
    def norm_relu_matmul(
        self, features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, measure: bool = True
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """``relu(features * scale + shift) @ weight.t()`` and the statistics of its columns.

        Args:
            features: (M, C).
            scale, shift: (C,), the norm as an affine map.
            weight: (J, C), cast to the features' type.
            measure: compute the statistics.

        Returns:
            (M, J) in the features' type, and mean and biased variance (J,), or None and None.
        """

    @abstractmethod
    def norm_relu_matmul_backward(
        self,
        features: Tensor,
        scale: Tensor,
        shift: Tensor,
        mean: Tensor,
        weight: Tensor,
        grad: Tensor,
        coefficient: Tensor,
        accumulator: Tensor,
        overwrite: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of :meth:`norm_relu_matmul`, except those through the norm's statistics.

        With dz = grad @ weight where the activation is positive, else 0: ``accumulator += coefficient * dz``.

        Args:
            features, scale, shift, weight: as in forward.
            mean: (C,), subtracted from the features before they are summed, so that no digits cancel.
            grad: (M, J), gradient of the result.
            coefficient: (C,).
            accumulator: (M, C), changed in place.
            overwrite: set the accumulator instead of adding to it.

        Returns:
            The weight's gradient (J, C), the sum of dz (C,), and the sum of dz * (features - mean) (C,).
        """

    @abstractmethod
    def norm_relu_conv3x3(
        self,
        rows: Tensor,
        scale: Tensor | None,
        shift: Tensor,
        weight: Tensor,
        shape: Shape,
        out: Tensor,
        mask: Tensor | None = None,
        measure: bool = True,
    ) -> tuple[Tensor | None, Tensor | None]:
        """The 3x3 convolution (padding 1) of ``relu(rows * scale + shift)``, written into ``out``.

        Args:
            rows: (M, J).
            scale: (J,), or None for ones.
            shift: (J,).
            weight: (k, J, 3, 3), cast to the rows' type.
            shape: (N, H, W) with M = N*H*W.
            out: (M, k), written.
            mask: factors (M, k) by which the result is multiplied, for dropout.
            measure: compute the statistics of what is written.

        Returns:
            Mean and biased variance (k,) of the result, or None and None.
        """

    @abstractmethod
    def norm_relu_conv3x3_backward(
        self, rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, weight: Tensor, shape: Shape, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of :meth:`norm_relu_conv3x3`, except those through the norm's statistics.

        Args:
            grad: (M, k), gradient of the convolution's result. The others are as in forward, ``mean`` (J,).

        Returns:
            dz (M, J), the gradient of ``rows * scale + shift``; the weight's gradient (k, J, 3, 3); and the sums (J,)
            of dz and of dz * (rows - mean).
        """

    @abstractmethod
    def norm_relu_conv3x3_backward_into(
        self,
        rows: Tensor,
        scale: Tensor,
        shift: Tensor,
        mean: Tensor,
        weight: Tensor,
        shape: Shape,
        grad: Tensor,
        coefficient: Tensor,
        accumulator: Tensor,
        overwrite: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """:meth:`norm_relu_conv3x3_backward` for layers without a bottleneck, whose dz is as wide as the features.

        It computes ``accumulator += coefficient * dz`` (M, C) as :meth:`norm_relu_matmul_backward` does, by chunks.
        """

    @abstractmethod
    def norm_relu_pool_matmul(
        self, features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, shape: Shape
    ) -> tuple[Tensor, None, None]:
        """The transition: relu(norm), 2x2 average pooling with stride 2, then the 1x1 convolution.

        Pooling and convolution are linear, so pooling first gives the same result with a quarter of the
        multiplications. An odd last row or column of the image is dropped, as by AvgPool2d.

        Returns:
            (N * (H // 2) * (W // 2), J); and None for the statistics, which no norm needs.
        """

    @abstractmethod
    def norm_relu_pool_matmul_backward(
        self,
        features: Tensor,
        scale: Tensor,
        shift: Tensor,
        mean: Tensor,
        weight: Tensor,
        shape: Shape,
        grad: Tensor,
        coefficient: Tensor,
        accumulator: Tensor,
        overwrite: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of :meth:`norm_relu_pool_matmul`; arguments and results as in :meth:`norm_relu_matmul_backward`."""

    @abstractmethod
    def norm_relu_max_pool(self, rows: Tensor, scale: Tensor, shift: Tensor, shape: Shape) -> Tensor:
        """3x3 max pooling (stride 2, padding 1) of ``relu(rows * scale + shift)``.

        From ``(N*H*W, C)`` to ``(N*H'*W', C)``.
        """

    @abstractmethod
    def norm_relu_max_pool_backward(
        self, rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, shape: Shape, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """dz (M, C), the gradient of ``rows * scale + shift``, and the sums (C,) of dz and of dz * (rows - mean)."""

    @abstractmethod
    def batch_norm_backward_sums(self, grad: Tensor, rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """The sums over rows (C,) of grad and of grad * (rows - mean), for grad and rows (M, C)."""

    @abstractmethod
    def batch_norm_backward(
        self,
        grad: Tensor,
        rows: Tensor,
        mean: Tensor,
        rstd: Tensor,
        coefficient: Tensor,
        sum_grad: Tensor,
        sum_centred: Tensor,
        total: int | Tensor,
        add: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """The deferred part of batch norm's backward, (M, C).

        ``coefficient * (grad - sum_grad / total - (rows - mean) * rstd**2 * sum_centred / total) (+ add)``. ``grad``,
        ``rows``, ``add`` and ``out`` are (M, C), the rest (C,), and ``total`` is the number of rows of all ranks.
        ``out`` may be ``grad``.
        """

    def evaluate_stage(
        self,
        x: Tensor,
        shape: Shape,
        layers: Sequence[Sequence[Tensor]],
        transition: Sequence[Tensor] | None,
        eps: float,
        keep_features: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """All layers of a block with running statistics, and its transition, in one call.

        Args:
            x: (M, C0).
            shape: (N, H, W).
            layers: for each layer norm1's weight, bias, running mean and running variance, conv1's weight, and the
                same five of norm2 and conv2.
            transition: the same five of a transition, or None.
            eps: of the norms.
            keep_features: return the block's features too.

        Returns:
            The features (M, C0 + L * k), or None if there is a transition and ``keep_features`` is false; and the
            transition's output (N * (H // 2) * (W // 2), J), or None without a transition.
        """
        raise NotImplementedError

    def evaluate_stem(self, x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The ImageNet stem with running statistics: convolution, norm, ReLU and max pooling in one call.

        Args:
            x: (N, C, H, W) in any memory format.
            weight: (J, C, 7, 7), of a convolution with stride 2 and padding 3.
            scale, shift: (J,), of the norm.

        Returns:
            (N * H' * W', J); H' and W' are a quarter of H and W, rounded up.
        """
        raise NotImplementedError
