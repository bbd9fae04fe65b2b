// The interface of the kernels, and its only source: interface.py reads the declarations below and calls them by it, a
// definition that differs does not compile. Each group of arguments stands on a line of its own, here and in the calls.
//
// The sources are compiled once per instruction set; VARIANT, which the command line defines, is in the symbols' names.
// Nothing is thrown: a kernel returns 0, or 1 where memory could not be allocated; its results are then undefined.
//
// Rows are a matrix (count, channels), one row per pixel, whose channels are contiguous and whose rows are `stride` values
// apart; where an image's size is given, count = n*h*w. What has no stride is contiguous. `threads` is how many to use at
// most: OpenMP may grant fewer. Sums over rows are float64.
#pragma once

#include <cstddef>

using index_t = std::ptrdiff_t;

// The upper half of a float's bits.
struct bfloat16 {
    unsigned short bits;
};

#define JOIN_NAMES(name, variant) name##__##variant
#define WITH_VARIANT(name, variant) JOIN_NAMES(name, variant)
#define KERNEL(name) extern "C" __attribute__((visibility("default"))) int WITH_VARIANT(name, VARIANT)

// mean and biased var (columns) of the rows
KERNEL(statistics)(
    const float* rows, index_t stride, index_t count, index_t columns,
    float* mean, float* var,
    int threads) noexcept;
KERNEL(statistics_bfloat16)(
    const bfloat16* rows, index_t stride, index_t count, index_t columns,
    float* mean, float* var,
    int threads) noexcept;

// out (count, width) = relu(features * scale + shift) @ weight^T; weight (width, channels). With h > 0 the product has a
// row for each 2x2 pixels of images h x w, (n * (h / 2) * (w / 2) = count), whose activations are averaged. mean and biased
// var (width) of out, or null.
KERNEL(norm_relu_matmul)(
    const float* features, index_t stride, index_t h, index_t w, index_t count, index_t channels,
    const float* scale, const float* shift,
    const float* weight, index_t width,
    float* out, float* mean, float* var,
    int threads) noexcept;

// dz = grad @ weight where the activation is positive, else 0. accumulator, with rows like the features', = coefficient * dz
// (+ what is there, unless overwrite); grad_weight (width, channels); the sums (channels) of dz and dz * (features - mean).
KERNEL(norm_relu_matmul_backward)(
    const float* features, index_t stride, index_t h, index_t w, index_t count, index_t channels,
    const float* scale, const float* shift, const float* mean,
    const float* weight, index_t width,
    const float* grad, const float* coefficient,
    float* accumulator, index_t accumulator_stride, int overwrite,
    float* grad_weight, double* sum_dz, double* sum_centred,
    int threads) noexcept;

// out (n*h*w, width) = the 3x3 convolution, padding 1, of relu(rows * scale + shift); scale may be null for ones, and shift
// too where the rows themselves are convolved. weight (width, channels, 3, 3) with its input-channel and tap strides:
// contiguous (9, 1) or channels last (1, channels). mask (n*h*w, width) multiplies out, or null; mean and biased var (width)
// of out, or null.
KERNEL(norm_relu_conv3x3)(
    const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t channels,
    const float* scale, const float* shift,
    const float* weight, index_t channel_stride, index_t tap_stride, index_t width,
    float* out, index_t out_stride,
    const float* mask,
    float* mean, float* var,
    int threads) noexcept;

// grad (n*h*w, width). grad_z (n*h*w, channels): the convolution's gradient where the activation is positive, else 0;
// grad_weight with the weight's strides; the sums (channels) of grad_z and grad_z * (rows - mean).
KERNEL(norm_relu_conv3x3_backward)(
    const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t channels,
    const float* scale, const float* shift, const float* mean,
    const float* weight, index_t channel_stride, index_t tap_stride, index_t width,
    const float* grad, index_t grad_stride,
    float* grad_z, float* grad_weight, double* sum_dz, double* sum_centred,
    int threads) noexcept;

// A block with running statistics, and the transition behind it. x (n*h*w, channels). tensors: of each layer weight, bias,
// mean and variance of norm1; conv1's weight; the same four of norm2; conv2's weight with its strides as in
// norm_relu_conv3x3; then, unless out is null, the transition's norm and weight. features (n*h*w, channels + depth * growth)
// or null; out (n * (h / 2) * (w / 2), reduced), the transition's, or null.
KERNEL(evaluate_stage)(
    const float* x, index_t stride, index_t n, index_t h, index_t w, index_t channels,
    index_t depth, index_t width, index_t growth,
    const float* const* tensors, index_t channel_stride, index_t tap_stride, double eps,
    float* features,
    float* out, index_t reduced,
    int threads) noexcept;

// The ImageNet stem with running statistics: 7x7 convolution with stride 2 and padding 3, norm, ReLU, 3x3 max pooling with
// stride 2 and padding 1. images (n, channels, h, w) with their strides; weight (width, channels, 7, 7); scale and shift
// (width) of the norm; out (n * ((h + 3) / 4) * ((w + 3) / 4), width).
KERNEL(evaluate_stem)(
    const float* images, index_t n, index_t channels, index_t h, index_t w,
    index_t image_stride, index_t channel_stride, index_t line_stride, index_t column_stride,
    const float* weight, index_t width,
    const float* scale, const float* shift,
    float* out,
    int threads) noexcept;

// out (n * ((h + 1) / 2) * ((w + 1) / 2), columns) = 3x3 max pooling with stride 2 and padding 1 of relu(rows * scale + shift)
KERNEL(norm_relu_max_pool)(
    const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t columns,
    const float* scale, const float* shift,
    float* out,
    int threads) noexcept;

// grad like forward's out. grad_z (n*h*w, columns), the gradient of rows * scale + shift; the sums (columns) of grad_z and
// grad_z * (rows - mean).
KERNEL(norm_relu_max_pool_backward)(
    const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t columns,
    const float* scale, const float* shift, const float* mean,
    const float* grad,
    float* grad_z, double* sum_dz, double* sum_centred,
    int threads) noexcept;

// the sums (columns) of grad and of grad * (rows - mean)
KERNEL(batch_norm_backward_sums)(
    const float* grad, index_t grad_stride,
    const float* rows, index_t stride, index_t count, index_t columns,
    const float* mean,
    double* total, double* centred,
    int threads) noexcept;
KERNEL(batch_norm_backward_sums_bfloat16)(
    const bfloat16* grad, index_t grad_stride,
    const bfloat16* rows, index_t stride, index_t count, index_t columns,
    const float* mean,
    double* total, double* centred,
    int threads) noexcept;

// out = coefficient * grad + offset + (rows - mean) * slope (+ add, unless that is null); out may be grad.
KERNEL(batch_norm_backward)(
    const float* grad, index_t grad_stride,
    const float* rows, index_t stride, index_t count, index_t columns,
    const float* mean, const float* coefficient, const float* offset, const float* slope,
    const float* add, index_t add_stride,
    float* out, index_t out_stride,
    int threads) noexcept;
KERNEL(batch_norm_backward_bfloat16)(
    const bfloat16* grad, index_t grad_stride,
    const bfloat16* rows, index_t stride, index_t count, index_t columns,
    const float* mean, const float* coefficient, const float* offset, const float* slope,
    const bfloat16* add, index_t add_stride,
    bfloat16* out, index_t out_stride,
    int threads) noexcept;

// out (count, columns) = relu(rows * scale + shift); scale may be null for ones
KERNEL(activate_bfloat16)(
    const bfloat16* rows, index_t stride, index_t count, index_t columns,
    const float* scale, const float* shift,
    bfloat16* out,
    int threads) noexcept;

// What follows from the gradient (count, columns) of relu's result z (count, columns): dz is it where z is positive, else 0.
// out = coefficient * dz (+ what is there, unless overwrite), or dz where coefficient is null. The sums (columns) of dz and
// dz * (rows - mean) are added to total and centred.
KERNEL(consume_bfloat16)(
    const bfloat16* grad, const bfloat16* z,
    const bfloat16* rows, index_t stride, index_t count, index_t columns,
    const float* mean, const float* coefficient,
    bfloat16* out, index_t out_stride, int overwrite,
    float* total, float* centred,
    int threads) noexcept;
