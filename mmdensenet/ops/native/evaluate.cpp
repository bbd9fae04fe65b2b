// The layers of a block with running statistics, without returning in between: at batch 1 the calls would cost as much as
// a layer.
#include <cmath>
#include <vector>

#include "tile.h"

extern "C" {
void norm_relu_matmul(const float*, index_t, index_t, index_t, index_t, index_t, const float*, const float*, const float*,
                      const float*, index_t, const float*, float*, float*, float*, int);
void norm_relu_conv3x3(const float*, index_t, index_t, index_t, index_t, index_t, const float*, const float*,
                       const float*, index_t, index_t, index_t, float*, index_t, const float*, float*, float*, int);

// buffer (n*h*w, stride) whose first `channels` columns are given and the next depth * growth are written. tensors has ten
// pointers a layer: weight, bias, mean and variance of norm1; conv1's weight; the same four of norm2; conv2's weight,
// contiguous or channels last as for norm_relu_conv3x3.
void evaluate_layers(float* buffer, index_t stride, index_t n, index_t h, index_t w, index_t channels, index_t depth,
                     index_t width, index_t growth, const float* const* tensors, double eps, index_t inner, index_t taps,
                     int threads) {
    auto affine = [&](const float* const* norm, index_t count, std::vector<float>& scale, std::vector<float>& shift) {
        scale.resize(count);
        shift.resize(count);
        for (index_t c = 0; c < count; ++c) {
            scale[c] = static_cast<float>(norm[0][c] / std::sqrt(norm[3][c] + eps));
            shift[c] = norm[1][c] - norm[2][c] * scale[c];
        }
    };
    std::vector<float> scale, shift, scale2, shift2;
    Memory y = allocate(n * h * w * width);
    for (index_t layer = 0; layer < depth; ++layer, tensors += 10) {
        const index_t c = channels + layer * growth;
        affine(tensors, c, scale, shift);
        affine(tensors + 5, width, scale2, shift2);
        norm_relu_matmul(buffer, stride, 0, 0, n * h * w, c, scale.data(), shift.data(), tensors[4], scale2.data(), width,
                         shift2.data(), y.get(), nullptr, nullptr, threads);
        norm_relu_conv3x3(y.get(), width, n, h, w, width, nullptr, nullptr, tensors[9], inner, taps, growth,
                          buffer + c, stride, nullptr, nullptr, nullptr, threads);
    }
}
}
