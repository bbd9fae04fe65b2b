// relu(norm(features)) @ weight^T and its backward, without storing relu(norm(features)); plain (one row of features per
// row of the product) or behind a 2x2 average pooling (four rows).
#include "matmul.h"

namespace {

// The rows of features behind each row of the product.
struct Rows {
    const float* features;
    index_t stride, h, w;  // h, w: size of the image that is pooled

    template <int P>
    index_t source(index_t row, int p) const {
        if (P == 1) return row;
        const index_t half_w = w / 2, half_h = h / 2;
        const index_t x = row % half_w, y = row / half_w % half_h, n = row / (half_w * half_h);
        return (n * h + 2 * y + p / 2) * w + 2 * x + p % 2;
    }
};

// relu(features * scale + shift), averaged over the P sources, for one row; put(first channel, vector). With `to` further
// than the columns, zeros follow up to there.
template <int P, class Put>
INLINE void activate_row(const Rows& rows, index_t row, const float* scale, const float* shift, index_t columns, index_t to,
                         Put put) {
    const float* source[P];
    for (int p = 0; p < P; ++p) source[p] = rows.features + rows.template source<P>(row, p) * rows.stride;
    index_t c = 0;
    for (; c + LANES <= columns; c += LANES) {
        const vec a = load(scale + c), b = load(shift + c);
        vec z = relu(load(source[0] + c) * a + b);
        for (int p = 1; p < P; ++p) z += relu(load(source[p] + c) * a + b);
        put(c, P == 1 ? z : z * 0.25f);
    }
    if (c < columns) {
        const index_t left = columns - c;
        const vec a = load_part(scale + c, left), b = load_part(shift + c, left);
        vec z = relu(load_part(source[0] + c, left) * a + b);
        for (int p = 1; p < P; ++p) z += relu(load_part(source[p] + c, left) * a + b);
        put(c, P == 1 ? z : z * 0.25f);
        c += LANES;
    }
    for (; c < to; c += LANES) put(c, vec{});
}

template <int R, int NV>
INLINE void shift_and_relu(vec (&acc)[R][NV], const float* shift, index_t columns) {
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
        const vec b = load_part(shift + v * LANES, columns - v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[r][v] = relu(acc[r][v] + b);
    }
}

// One tile of the product's rows against every panel of the weights.
template <int R>
void forward_tile(const float* left, const float* panels, index_t blocks, index_t width, const float* out_shift, float* out,
                  index_t valid) {
    for (index_t n = 0; n < width; n += WIDTH) {
        const index_t columns = width - n;
        const float* panel = panels + n * blocks * BLOCK;
        if (columns > LANES) {
            vec acc[R][2];
            multiply<R, 2>(acc, left, panel, blocks);
            if (out_shift) shift_and_relu(acc, out_shift + n, columns);
            for (int r = 0; r < valid; ++r) {
                store(out + r * width + n, acc[r][0]);
                store_part(out + r * width + n + LANES, acc[r][1], columns - LANES);
            }
        } else {
            vec acc[R][1];
            multiply<R, 1>(acc, left, panel, blocks);
            if (out_shift) shift_and_relu(acc, out_shift + n, columns);
            for (int r = 0; r < valid; ++r) store_part(out + r * width + n, acc[r][0], columns);
        }
    }
}

template <int P>
void forward(const Rows& rows, index_t count, index_t channels, const float* scale, const float* shift,
             const float* panels, index_t width, const float* out_shift, float* out, float* mean, float* var,
             int threads) {
    const index_t blocks = (channels + BLOCK - 1) / BLOCK, padded = blocks * BLOCK;
    const index_t task_rows = rows_per_task(count, 8 * TILE, TILE, threads);
    const index_t tasks = (count + task_rows - 1) / task_rows;
    Memory partial = allocate(mean ? 2 * tasks * width : 1);
    const PerThread<> of_threads(threads, TILE * padded);
#pragma omp parallel num_threads(threads)
    {
        float* left = of_threads.mine_zeroed();
#pragma omp for schedule(static)
        for (index_t t = 0; t < tasks; ++t) {
            const index_t start = t * task_rows, stop = std::min(count, start + task_rows);
            for (index_t first = start; first < stop; first += TILE) {
                const index_t valid = std::min<index_t>(TILE, stop - first);
                const int height = valid > HALF ? TILE : HALF;
                // to the end of the block: the zeros there would be elsewhere when the height changes, and what another
                // row left in their place may be NaN, which zero weights do not undo
                for (index_t r = 0; r < valid; ++r)
                    activate_row<P>(rows, first + r, scale, shift, channels, padded, [&](index_t c, vec z) {
                        store(left + (c / BLOCK * height + r) * BLOCK + c % BLOCK, z);
                    });
                // rows are short and far apart: the processor does not see the next ones coming
                for (index_t r = first + TILE; r < std::min(first + 2 * TILE, stop); ++r)
                    for (int p = 0; p < P; ++p) {
                        const float* next = rows.features + rows.template source<P>(r, p) * rows.stride;
                        for (index_t c = 0; c < channels; c += 16) __builtin_prefetch(next + c, 0, 2);
                    }
                if (height == TILE)
                    forward_tile<TILE>(left, panels, blocks, width, out_shift, out + first * width, valid);
                else
                    forward_tile<HALF>(left, panels, blocks, width, out_shift, out + first * width, valid);
            }
            if (mean)
                measure_rows(out + start * width, width, stop - start, width, partial.get() + 2 * t * width,
                             partial.get() + (2 * t + 1) * width);
        }
    }
    if (mean)
        combine_statistics(
            partial.get(), tasks, width,
            [&](index_t t) { return double(std::min(count, (t + 1) * task_rows) - t * task_rows); }, mean, var);
}

struct Backward {
    Rows rows;
    index_t channels, width;
    const float *scale, *shift, *mean, *coefficient;
    float* accumulator;
    index_t accumulator_stride;
    bool overwrite;
};

// dz for one tile of rows and one panel of channels: masked, summed, and added to the accumulator.
template <int P, int R, int NV>
INLINE void input_grad_panel(const Backward& b, const float* left, const float* panel, index_t blocks,
                             const index_t* sources, index_t valid, index_t c, float* sums) {
    for (index_t i = 0; i < valid * P; ++i) {  // what the end will read; its rows are far apart
        const float* f = b.rows.features + sources[i] * b.rows.stride + c;
        const float* g = b.accumulator + sources[i] * b.accumulator_stride + c;
        for (int v = 0; v < NV; ++v) {
            __builtin_prefetch(f + v * LANES);
            __builtin_prefetch(g + v * LANES, 1);
        }
    }
    vec acc[R][NV];
    multiply<R, NV>(acc, left, panel, blocks);
    for (int v = 0; v < NV; ++v) {
        const index_t at = c + v * LANES, columns = b.channels - at;
        if (columns <= 0) break;
        const vec scale = load_part(b.scale + at, columns), shift = load_part(b.shift + at, columns);
        const vec mean = load_part(b.mean + at, columns), coefficient = load_part(b.coefficient + at, columns);
        vec total = {}, centred = {};
        for (index_t r = 0; r < valid; ++r) {
            const vec grad = P == 1 ? acc[r][v] : acc[r][v] * 0.25f;
            for (int p = 0; p < P; ++p) {
                const index_t source = sources[r * P + p];
                const vec f = load_part(b.rows.features + source * b.rows.stride + at, columns);
                const vec d = where_active(f * scale + shift, grad);
                total += d;
                centred += d * (f - mean);
                float* out = b.accumulator + source * b.accumulator_stride + at;
                store_part(out, b.overwrite ? coefficient * d : load_part(out, columns) + coefficient * d, columns);
            }
        }
        store(sums + at, load(sums + at) + total);
        store(sums + b.channels + WIDTH + at, load(sums + b.channels + WIDTH + at) + centred);
    }
}

template <int P, int R>
void input_grad_tile(const Backward& b, const float* left, const float* panels, index_t first, index_t valid,
                     float* sums) {
    const index_t blocks = (b.width + BLOCK - 1) / BLOCK;
    index_t sources[R * P];
    for (index_t r = 0; r < valid; ++r)
        for (int p = 0; p < P; ++p) sources[r * P + p] = b.rows.template source<P>(first + r, p);
    for (index_t c = 0; c < b.channels; c += WIDTH) {
        const float* panel = panels + c * blocks * BLOCK;
        if (b.channels - c > LANES)
            input_grad_panel<P, R, 2>(b, left, panel, blocks, sources, valid, c, sums);
        else
            input_grad_panel<P, R, 1>(b, left, panel, blocks, sources, valid, c, sums);
    }
}

template <int P>
void backward(const Backward& b, index_t count, const float* weight, const float* grad, float* grad_weight,
              double* sum_dz, double* sum_centred, int threads) {
    const index_t blocks = (b.width + BLOCK - 1) / BLOCK, padded_width = blocks * BLOCK;
    const index_t padded = round_up(b.channels, WIDTH), outer = round_up(b.width, OUTER);
    // weight (J, C) to panels [J rounded up][32 or 16 channels]
    Memory panels = allocate(padded_width * padded);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t c = 0; c < b.channels; c += WIDTH) {
        const index_t columns = b.channels - c > LANES ? WIDTH : LANES;
        for (index_t j = 0; j < padded_width; ++j)
            for (index_t i = 0; i < columns; ++i)
                panels.get()[c * padded_width + j * columns + i] =
                    j < b.width && c + i < b.channels ? weight[j * b.channels + c + i] : 0;
    }
    const index_t task_rows = rows_per_task(count, b.channels > 512 ? 4 * TILE : 8 * TILE, TILE, threads);
    const index_t tasks = (count + task_rows - 1) / task_rows;
    const index_t sums_size = 2 * (b.channels + WIDTH);
    const PerThread<> parts(threads, outer * padded), lefts(threads, TILE * padded_width), zs(threads, task_rows * padded);
    const PerThread<> all_grads(threads, task_rows * outer), task_sums(threads, sums_size);
    const PerThread<double> all_sums(threads, 2 * b.channels);
    int team = 1;
#pragma omp parallel num_threads(threads)
    {
#pragma omp master
        team = omp_get_num_threads();
        float *part = parts.mine_zeroed(), *left = lefts.mine_zeroed(), *z = zs.mine_zeroed();
        float *grads = all_grads.mine_zeroed(), *sums = task_sums.mine();
        double* my_sums = all_sums.mine_zeroed();
#pragma omp for schedule(static)
        for (index_t t = 0; t < tasks; ++t) {
            const index_t start = t * task_rows, stop = std::min(count, start + task_rows);
            for (index_t r = start; r < stop; ++r) {
                float* row = z + (r - start) * padded;
                activate_row<P>(b.rows, r, b.scale, b.shift, b.channels, 0, [&](index_t c, vec v) { store(row + c, v); });
                std::memcpy(grads + (r - start) * outer, grad + r * b.width, b.width * 4);
            }
            std::memset(sums, 0, sums_size * 4);
            for (index_t first = start; first < stop; first += TILE) {
                const index_t valid = std::min<index_t>(TILE, stop - first);
                const int height = valid > HALF ? TILE : HALF;
                for (index_t r = 0; r < valid; ++r)
                    for (index_t j = 0; j < b.width; j += BLOCK) {
                        const index_t values = std::min<index_t>(BLOCK, b.width - j);
                        float* to = left + (j / BLOCK * height + r) * BLOCK;
                        std::memcpy(to, grad + (first + r) * b.width + j, values * 4);
                        std::memset(to + values, 0, (BLOCK - values) * 4);  // as in forward
                    }
                if (height == TILE)
                    input_grad_tile<P, TILE>(b, left, panels.get(), first, valid, sums);
                else
                    input_grad_tile<P, HALF>(b, left, panels.get(), first, valid, sums);
            }
            for (index_t c = 0; c < b.channels; ++c) {
                my_sums[c] += sums[c];
                my_sums[b.channels + c] += sums[b.channels + WIDTH + c];
            }
            for (index_t c = 0; c < b.channels; c += WIDTH)
                for (index_t j = 0; j < outer; j += OUTER) {
                    const Lines lines{1, stop - start, 0, 0};
                    float* out = part + j * padded + c;
                    if (b.channels - c > LANES)
                        add_outer<2>(out, padded, grads + j, outer, z + c, padded, LANES, lines);
                    else
                        add_outer<1>(out, padded, grads + j, outer, z + c, padded, LANES, lines);
                }
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t j = 0; j < b.width; ++j)
        for (index_t c = 0; c < b.channels; ++c) {
            float total = 0;
            for (int t = 0; t < team; ++t) total += parts.of(t)[j * padded + c];
            grad_weight[j * b.channels + c] = total;
        }
    for (index_t c = 0; c < b.channels; ++c) {
        sum_dz[c] = sum_centred[c] = 0;
        for (int t = 0; t < team; ++t) {
            sum_dz[c] += all_sums.of(t)[c];
            sum_centred[c] += all_sums.of(t)[b.channels + c];
        }
    }
}

void multiply_packed(const float* features, index_t stride, index_t h, index_t w, index_t count, index_t channels,
                     const float* scale, const float* shift, const float* panels, index_t width, const float* out_shift,
                     float* out, int threads) {
    const Rows rows{features, stride, h, w};
    if (h > 0)
        forward<4>(rows, count, channels, scale, shift, panels, width, out_shift, out, nullptr, nullptr, threads);
    else
        forward<1>(rows, count, channels, scale, shift, panels, width, out_shift, out, nullptr, nullptr, threads);
}

}  // namespace

KERNEL(norm_relu_matmul)(const float* features, index_t stride, index_t h, index_t w, index_t count, index_t channels,
                         const float* scale, const float* shift, const float* weight, index_t width, float* out,
                         float* mean, float* var, int threads) noexcept {
    return status_of([&] {
        Memory panels = allocate(packed_size(channels, width));
        pack_transposed(weight, nullptr, width, channels, round_up(channels, BLOCK), panels.get(), threads);
        const Rows rows{features, stride, h, w};
        if (h > 0)
            forward<4>(rows, count, channels, scale, shift, panels.get(), width, nullptr, out, mean, var, threads);
        else
            forward<1>(rows, count, channels, scale, shift, panels.get(), width, nullptr, out, mean, var, threads);
    });
}

KERNEL(norm_relu_matmul_backward)(const float* features, index_t stride, index_t h, index_t w, index_t count,
                                  index_t channels, const float* scale, const float* shift, const float* mean,
                                  const float* weight, index_t width, const float* grad, const float* coefficient,
                                  float* accumulator, index_t accumulator_stride, int overwrite, float* grad_weight,
                                  double* sum_dz, double* sum_centred, int threads) noexcept {
    return status_of([&] {
        const Backward b{{features, stride, h, w}, channels,    width,       scale,
                         shift,                    mean,        coefficient, accumulator,
                         accumulator_stride,       overwrite != 0};
        if (h > 0)
            backward<4>(b, count, weight, grad, grad_weight, sum_dz, sum_centred, threads);
        else
            backward<1>(b, count, weight, grad, grad_weight, sum_dz, sum_centred, threads);
    });
}
