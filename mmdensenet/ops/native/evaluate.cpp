// A block with running statistics and the transition behind it, without returning in between: at batch 1 the calls would
// cost as much as a layer. A few images go through all of it before the next ones, so that their features stay in the
// cache, and where only the transition's output is wanted there is never a buffer for more images than these.
#include <cmath>
#include <vector>

#include "matmul.h"
#include "winograd.h"

namespace {

// weight, bias, mean and variance of a norm as a factor and a summand
void affine(const float* const* norm, index_t count, double eps, std::vector<float>& scale, std::vector<float>& shift) {
    scale.resize(count);
    shift.resize(count);
    for (index_t c = 0; c < count; ++c) {
        scale[c] = static_cast<float>(norm[0][c] / std::sqrt(norm[3][c] + eps));
        shift[c] = norm[1][c] - norm[2][c] * scale[c];
    }
}

// A layer as the products need it; the second norm's factor is in the first weights.
struct Prepared {
    std::vector<float> scale, shift, scale2, shift2;
    Memory first, second;
};

}  // namespace

extern "C" {
void norm_relu_conv3x3(const float*, index_t, index_t, index_t, index_t, index_t, const float*, const float*,
                       const float*, index_t, index_t, index_t, float*, index_t, const float*, float*, float*, int);

// x (n*h*w, channels) with its stride. features (n*h*w, channels + depth * growth) or null; out (n*(h/2)*(w/2), reduced),
// what the transition makes of them, or null. tensors has ten pointers a layer: weight, bias, mean and variance of norm1;
// conv1's weight; the same four of norm2; conv2's weight, contiguous or channels last as for norm_relu_conv3x3. Unless out
// is null five follow: the transition's norm and weight.
void evaluate_stage(const float* x, index_t x_stride, index_t n, index_t h, index_t w, index_t channels, index_t depth,
                    index_t width, index_t growth, const float* const* tensors, double eps, index_t inner, index_t taps,
                    float* features, float* out, index_t reduced, int threads) {
    const index_t all = channels + depth * growth, pixels = h * w;
    if (n * pixels == 0) return;
    const index_t most = std::max<index_t>(1, (2 << 20) / (4 * pixels * width)), chunks = (n + most - 1) / most;
    const index_t images = (n + chunks - 1) / chunks;
    const Image any{1, h, w};
    // one chunk needs a layer's weights once, so they may all take the same place
    std::vector<Prepared> prepared(chunks > 1 ? depth : 1);
    for (index_t i = 0; i < static_cast<index_t>(prepared.size()); ++i) {
        const index_t c = chunks > 1 ? channels + i * growth : all;
        prepared[i].first = allocate(packed_size(c, width));
        prepared[i].second = allocate(winograd_size(width, growth));
    }
    Memory y = allocate(images * pixels * width), own = features ? nullptr : allocate(images * pixels * all);
    Prepared transition;
    if (out) {
        affine(tensors + 10 * depth, all, eps, transition.scale, transition.shift);
        transition.first = allocate(packed_size(all, reduced));
        pack_transposed(tensors[10 * depth + 4], nullptr, reduced, all, round_up(all, BLOCK), transition.first.get(), threads);
    }
    for (index_t first = 0; first < n; first += images) {
        const Image image{std::min(images, n - first), h, w};
        const index_t rows = image.n * pixels;
        float* buffer = features ? features + first * pixels * all : own.get();
        const float* given = x + first * pixels * x_stride;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (index_t r = 0; r < rows; ++r) std::memcpy(buffer + r * all, given + r * x_stride, channels * 4);
        for (index_t layer = 0; layer < depth; ++layer) {
            const float* const* mine = tensors + 10 * layer;
            const index_t c = channels + layer * growth;
            Prepared& p = prepared[chunks > 1 ? layer : 0];
            if (first == 0) {
                affine(mine, c, eps, p.scale, p.shift);
                affine(mine + 5, width, eps, p.scale2, p.shift2);
                pack_transposed(mine[4], p.scale2.data(), width, c, round_up(c, BLOCK), p.first.get(), threads);
                if (any.worth_winograd())
                    winograd_weights(mine[9], width, inner, taps, growth, p.second.get(), threads);
            }
            multiply_packed(buffer, all, 0, 0, rows, c, p.scale.data(), p.shift.data(), p.first.get(), width,
                            p.shift2.data(), y.get(), threads);
            if (any.worth_winograd())
                winograd(y.get(), width, image, width, nullptr, nullptr, p.second.get(), growth, buffer + c, all, threads);
            else
                norm_relu_conv3x3(y.get(), width, image.n, h, w, width, nullptr, nullptr, mine[9], inner, taps, growth,
                                  buffer + c, all, nullptr, nullptr, nullptr, threads);
        }
        const index_t pooled = (h / 2) * (w / 2);
        if (out)
            multiply_packed(buffer, all, h, w, image.n * pooled, all, transition.scale.data(), transition.shift.data(),
                            transition.first.get(), reduced, nullptr, out + first * pooled * reduced, threads);
    }
}
}
