// A block with running statistics and the transition behind it, without returning in between: at batch 1 the calls would
// cost as much as a layer. A few images go through all of it before the next ones, so that their features stay in the
// cache, and where only the transition's output is wanted there is never a buffer for more images than these.
#include <cmath>

#include "matmul.h"
#include "winograd.h"

namespace {

// weight, bias, mean and variance of a norm as a factor and a summand
void affine(const float* const* norm, index_t count, double eps, float* scale, float* shift) {
    for (index_t c = 0; c < count; ++c) {
        scale[c] = static_cast<float>(norm[0][c] / std::sqrt(norm[3][c] + eps));
        shift[c] = norm[1][c] - norm[2][c] * scale[c];
    }
}

// A layer as the products need it; the second norm's factor is in the first weights.
struct Prepared {
    Memory scale, shift, scale2, shift2, first, second;
};

void evaluate_chunks(const float* x, index_t stride, index_t n, index_t h, index_t w, index_t channels, index_t depth,
                     index_t width, index_t growth, const float* const* tensors, index_t channel_stride,
                     index_t tap_stride, double eps, float* features, float* out, index_t reduced, int threads) {
    const index_t all = channels + depth * growth, pixels = h * w;
    if (n * pixels == 0) return;
    const index_t most = std::max<index_t>(1, (2 << 20) / (4 * pixels * width)), chunks = (n + most - 1) / most;
    const index_t images = (n + chunks - 1) / chunks;
    const Image any{1, h, w};
    // one chunk needs a layer's weights once, so they may all take the same place
    const index_t places = chunks > 1 ? depth : 1;
    const std::unique_ptr<Prepared[]> prepared(new Prepared[places]);
    for (index_t i = 0; i < places; ++i) {
        const index_t c = chunks > 1 ? channels + i * growth : all;
        for (Memory* norm1 : {&prepared[i].scale, &prepared[i].shift}) *norm1 = allocate(c);
        for (Memory* norm2 : {&prepared[i].scale2, &prepared[i].shift2}) *norm2 = allocate(width);
        prepared[i].first = allocate(packed_size(c, width));
        prepared[i].second = allocate(winograd_size(width, growth));
    }
    Memory y = allocate(images * pixels * width), own = features ? nullptr : allocate(images * pixels * all);
    Prepared transition;
    if (out) {
        transition.scale = allocate(all);
        transition.shift = allocate(all);
        affine(tensors + 10 * depth, all, eps, transition.scale.get(), transition.shift.get());
        transition.first = allocate(packed_size(all, reduced));
        pack_transposed(tensors[10 * depth + 4], nullptr, reduced, all, round_up(all, BLOCK), transition.first.get(), threads);
    }
    for (index_t first = 0; first < n; first += images) {
        const Image image{std::min(images, n - first), h, w};
        const index_t rows = image.n * pixels;
        float* buffer = features ? features + first * pixels * all : own.get();
        const float* given = x + first * pixels * stride;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (index_t r = 0; r < rows; ++r) std::memcpy(buffer + r * all, given + r * stride, channels * 4);
        for (index_t layer = 0; layer < depth; ++layer) {
            const float* const* mine = tensors + 10 * layer;
            const index_t c = channels + layer * growth;
            Prepared& p = prepared[chunks > 1 ? layer : 0];
            if (first == 0) {
                affine(mine, c, eps, p.scale.get(), p.shift.get());
                affine(mine + 5, width, eps, p.scale2.get(), p.shift2.get());
                pack_transposed(mine[4], p.scale2.get(), width, c, round_up(c, BLOCK), p.first.get(), threads);
                if (any.worth_winograd())
                    winograd_weights(mine[9], width, channel_stride, tap_stride, growth, p.second.get(), threads);
            }
            multiply_packed(buffer, all, 0, 0, rows, c, p.scale.get(), p.shift.get(), p.first.get(), width,
                            p.shift2.get(), y.get(), threads);
            if (any.worth_winograd())
                winograd(y.get(), width, image, width, nullptr, nullptr, p.second.get(), growth, buffer + c, all, threads);
            else
                convolve_directly(y.get(), width, image, width, nullptr, nullptr, mine[9], channel_stride, tap_stride, growth,
                                  buffer + c, all, threads);
        }
        const index_t pooled = (h / 2) * (w / 2);
        if (out)
            multiply_packed(buffer, all, h, w, image.n * pooled, all, transition.scale.get(), transition.shift.get(),
                            transition.first.get(), reduced, nullptr, out + first * pooled * reduced, threads);
    }
}

}  // namespace

KERNEL(evaluate_stage)(const float* x, index_t stride, index_t n, index_t h, index_t w, index_t channels, index_t depth,
                       index_t width, index_t growth, const float* const* tensors, index_t channel_stride,
                       index_t tap_stride, double eps, float* features, float* out, index_t reduced,
                       int threads) noexcept {
    return status_of([&] {
        evaluate_chunks(x, stride, n, h, w, channels, depth, width, growth, tensors, channel_stride, tap_stride, eps,
                        features, out, reduced, threads);
    });
}
