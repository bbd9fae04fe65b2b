// The ImageNet stem behind its convolution: relu(norm(rows)) and 3x3 max pooling with stride 2 and padding 1.
#include <limits>

#include "tile.h"

namespace {

// Calls visit(position 0..8, row of the image, present) for the window of one output pixel, in the order of the scan.
template <class Visit>
INLINE void window(index_t n, index_t y, index_t x, index_t h, index_t w, Visit visit) {
    for (int p = 0; p < 9; ++p) {
        const index_t iy = 2 * y + p / 3 - 1, ix = 2 * x + p % 3 - 1;
        if (iy >= 0 && iy < h && ix >= 0 && ix < w) visit(p, iy, (n * h + iy) * w + ix);
    }
}

void max_pool(const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t columns, const float* scale,
              const float* shift, float* out, int threads) {
    const index_t half_h = (h + 1) / 2, half_w = (w + 1) / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t line = 0; line < n * half_h; ++line)
        for (index_t x = 0; x < half_w; ++x)
            for (index_t c = 0; c < columns; c += LANES) {
                const index_t left = columns - c;
                const vec a = load_part(scale + c, left), b = load_part(shift + c, left);
                vec most = vec{} - std::numeric_limits<float>::infinity();
                window(line / half_h, line % half_h, x, h, w, [&](int, index_t, index_t row) {
                    const vec z = relu(load_part(rows + row * stride + c, left) * a + b);
                    most = largest(most, z);
                });
                store_part(out + (line * half_w + x) * columns + c, most, left);
            }
}

void max_pool_backward(const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t columns,
                       const float* scale, const float* shift, const float* mean, const float* grad,
                       float* grad_z, double* sum_dz, double* sum_centred, int threads) {
    const index_t half_h = (h + 1) / 2, half_w = (w + 1) / 2;
    const index_t lines = 8, per_image = (h + lines - 1) / lines, tasks = w ? n * per_image : 0;
    Memory partial = allocate(2 * tasks * columns);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t t = 0; t < tasks; ++t) {
        // the lines of the input that are this task's; windows across their edge are visited by both neighbours
        const index_t image = t / per_image, first = t % per_image * lines, last = std::min(h, first + lines);
        std::memset(grad_z + (image * h + first) * w * columns, 0, (last - first) * w * columns * 4);
        for (index_t y = first / 2; y <= std::min(last / 2, half_h - 1); ++y)
            for (index_t x = 0; x < half_w; ++x)
                for (index_t c = 0; c < columns; c += LANES) {
                    const index_t left = columns - c;
                    const vec a = load_part(scale + c, left), b = load_part(shift + c, left);
                    // the first that is the largest, or the last NaN, as torch's pooling; none where relu lets nothing through
                    vec most = vec{}, chosen = vec{} - 1.0f;
                    window(image, y, x, h, w, [&](int p, index_t, index_t row) {
                        const vec value = load_part(rows + row * stride + c, left) * a + b;
                        const auto taken = (value > most) | (value != value);
                        most = taken ? value : most;
                        chosen = taken ? vec{} + static_cast<float>(p) : chosen;
                    });
                    const vec given = load_part(grad + ((image * half_h + y) * half_w + x) * columns + c, left);
                    window(image, y, x, h, w, [&](int p, index_t iy, index_t row) {
                        if (iy < first || iy >= last) return;
                        float* at = grad_z + row * columns + c;
                        store_part(at, load_part(at, left) + (chosen == static_cast<float>(p) ? given : vec{}), left);
                    });
                }
        for (index_t c = 0; c < columns; c += LANES) {
            const index_t left = columns - c;
            const vec m = load_part(mean + c, left);
            vec total = {}, centred = {};
            for (index_t r = (image * h + first) * w; r < (image * h + last) * w; ++r) {
                const vec d = load_part(grad_z + r * columns + c, left);
                total += d;
                centred += d * (load_part(rows + r * stride + c, left) - m);
            }
            store_part(partial.get() + 2 * t * columns + c, total, left);
            store_part(partial.get() + (2 * t + 1) * columns + c, centred, left);
        }
    }
    std::fill(sum_dz, sum_dz + columns, 0);
    std::fill(sum_centred, sum_centred + columns, 0);
    add_partial_sums(partial.get(), tasks, columns, sum_dz, sum_centred);
}

}  // namespace

KERNEL(norm_relu_max_pool)(const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t columns,
                           const float* scale, const float* shift, float* out, int threads) noexcept {
    max_pool(rows, stride, n, h, w, columns, scale, shift, out, threads);
    return 0;
}

KERNEL(norm_relu_max_pool_backward)(const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t columns,
                                    const float* scale, const float* shift, const float* mean, const float* grad,
                                    float* grad_z, double* sum_dz, double* sum_centred, int threads) noexcept {
    return status_of([&] {
        max_pool_backward(rows, stride, n, h, w, columns, scale, shift, mean, grad, grad_z, sum_dz, sum_centred, threads);
    });
}
