// The 3x3 convolution (padding 1) of relu(norm(rows)) and its backward. A task is a band of lines of one image: its input,
// with a border of one pixel, is written to a buffer in the cache, [16 channels][pixel][16], and convolved directly.
#include "winograd.h"

namespace {

// Images without pixels are none.
Image images_of(index_t n, index_t h, index_t w) { return {h * w ? n : 0, h, w}; }

// Lines [first, last) of image n; its buffer has lines first - 1 to last and columns -1 to w.
struct Band {
    index_t n, first, last, w;

    index_t pixels() const { return (last - first + 2) * (w + 2); }
    index_t row(index_t y, index_t x, index_t h) const { return (n * h + y) * w + x; }
    // of the pixel's upper left neighbour
    index_t corner(index_t y, index_t x) const { return (y - first) * (w + 2) + x; }
};

struct Bands {
    index_t lines, per_image, count;

    Bands(const Image& image, index_t channels, int threads) {
        const index_t in_cache = std::max<index_t>(1, (256 << 10) / (4 * channels * (image.w + 2)) - 2);
        // every thread gets several bands, of at least two lines, which share a tile where lines are short
        const index_t fair = std::max<index_t>(2, image.n * image.h / (4 * threads));
        lines = std::max<index_t>(1, std::min(std::min(in_cache, fair), image.h));
        per_image = std::max<index_t>(1, (image.h + lines - 1) / lines);
        lines = (image.h + per_image - 1) / per_image;
        count = image.n * per_image;
    }
    Band operator()(index_t task, const Image& image) const {
        const index_t first = task % per_image * lines;
        return {task / per_image, std::min(first, image.h), std::min(first + lines, image.h), image.w};
    }
};

// Fills a band's buffer: value(row of the image, first channel) gives a vector; the border outside the image is zero.
template <class Value>
void fill(float* buffer, const Band& band, const Image& image, index_t channels, Value value) {
    const index_t pixels = band.pixels(), w = band.w + 2;
    for (index_t c = 0; c < channels; c += BLOCK) {
        float* block = buffer + c * pixels;
        for (index_t y = band.first - 1; y <= band.last; ++y) {
            float* line = block + (y - band.first + 1) * w * BLOCK;
            if (y < 0 || y >= image.h) {
                std::memset(line, 0, w * BLOCK * 4);
                continue;
            }
            std::memset(line, 0, BLOCK * 4);
            std::memset(line + (w - 1) * BLOCK, 0, BLOCK * 4);
            for (index_t x = 0; x < band.w; ++x)
                for (int i = 0; i < BLOCK; i += LANES)
                    store(line + (x + 1) * BLOCK + i, value(band.row(y, x, image.h), c + i));
        }
    }
}

// One tile of 2 * S pixels (two runs of S, or one when twice is false) against one panel.
template <int S, int NV, class Put>
INLINE void tile(const float* buffer, index_t pixels, index_t line, index_t a, index_t b, bool twice,
                 const float* panel, index_t blocks, Put put) {
    auto run = [&](auto& acc, auto rows) {
        constexpr int R = decltype(rows)::value;
        clear(acc);
        for (index_t block = 0; block < blocks; ++block)
            for (int tap = 0; tap < 9; ++tap) {
                const float* at = buffer + (block * pixels + tap / 3 * line + tap % 3) * BLOCK;
                multiply_block<R, S, NV>(acc, at + a * BLOCK, at + b * BLOCK,
                                         panel + (block * 9 + tap) * BLOCK * NV * LANES);
            }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) put(r, acc[r]);
    };
    if (twice) {
        vec acc[2 * S][NV];
        run(acc, std::integral_constant<int, 2 * S>());
    } else {
        vec acc[S][NV];
        run(acc, std::integral_constant<int, S>());
    }
}

// The convolution of a band's buffer with all panels; put(row, first channel, vectors) takes each result.
template <int S, class Put>
void convolve_runs(const float* buffer, const Band& band, const Image& image, const float* panels, index_t blocks,
                   index_t width, Put put) {
    const index_t per_line = (band.w + S - 1) / S, runs = (band.last - band.first) * per_line;
    // a last run that would leave the line starts earlier and computes some pixels again
    auto y_of = [&](index_t run) { return band.first + run / per_line; };
    auto x_of = [&](index_t run) { return std::min(run % per_line * S, band.w - S); };
    for (index_t n = 0; n < width; n += WIDTH) {
        const float* panel = panels + n * blocks * 9 * BLOCK;
        for (index_t run = 0; run < runs; run += 2) {
            const bool twice = run + 1 < runs;
            const index_t second = twice ? run + 1 : run;
            const index_t row_a = band.row(y_of(run), x_of(run), image.h);
            const index_t row_b = band.row(y_of(second), x_of(second), image.h);
            const index_t a = band.corner(y_of(run), x_of(run)), b = band.corner(y_of(second), x_of(second));
            auto place = [&](int r, auto& acc) { put(r < S ? row_a + r : row_b + r - S, n, acc); };
            if (width - n > LANES)
                tile<S, 2>(buffer, band.pixels(), band.w + 2, a, b, twice, panel, blocks, place);
            else
                tile<S, 1>(buffer, band.pixels(), band.w + 2, a, b, twice, panel, blocks, place);
        }
    }
}

template <class Put>
void convolve(const float* buffer, const Band& band, const Image& image, const float* panels, index_t blocks,
              index_t width, Put put) {
    const index_t runs = (band.w + HALF - 1) / HALF;
    switch ((band.w + runs - 1) / runs) {
#if defined(__AVX512F__)
        case 7: return convolve_runs<7>(buffer, band, image, panels, blocks, width, put);
        case 6: return convolve_runs<6>(buffer, band, image, panels, blocks, width, put);
        case 5: return convolve_runs<5>(buffer, band, image, panels, blocks, width, put);
        case 4: return convolve_runs<4>(buffer, band, image, panels, blocks, width, put);
#endif
        case 3: return convolve_runs<3>(buffer, band, image, panels, blocks, width, put);
        case 2: return convolve_runs<2>(buffer, band, image, panels, blocks, width, put);
        default: return convolve_runs<1>(buffer, band, image, panels, blocks, width, put);
    }
}

template <class Vectors>
INLINE void put_columns(float* out, Vectors& acc, index_t columns) {
    constexpr int NV = sizeof(acc) / sizeof(vec);
    for (int v = 0; v < NV; ++v)
        if (columns > v * LANES) store_part(out + v * LANES, acc[v], columns - v * LANES);
}

// Panels [output columns][16 inner][tap][16][columns] of weight(output, inner, tap).
template <class Weight>
void pack(index_t outputs, index_t inner, float* panels, int threads, Weight weight) {
    const index_t blocks = (inner + BLOCK - 1) / BLOCK;
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (index_t n = 0; n < outputs; n += WIDTH)
        for (index_t b = 0; b < blocks; ++b) {
            const index_t columns = outputs - n > LANES ? WIDTH : LANES;
            float* block = panels + n * blocks * 9 * BLOCK + b * 9 * BLOCK * columns;
            for (index_t o = 0; o < columns; ++o)
                for (index_t i = 0; i < BLOCK; ++i)
                    for (index_t tap = 0; tap < 9; ++tap)
                        block[(tap * BLOCK + i) * columns + o] =
                            n + o < outputs && b * BLOCK + i < inner ? weight(n + o, b * BLOCK + i, tap) : 0;
        }
}

// For images so small that Winograd's tiles would be mostly border.
void convolve_directly(const float* rows, index_t stride, const Image& image, index_t channels, const float* scale,
                       const float* shift, const float* weight, index_t channel_stride, index_t tap_stride, index_t width,
                       float* out, index_t out_stride, int threads) {
    const index_t blocks = (channels + BLOCK - 1) / BLOCK, padded = blocks * BLOCK;
    Memory panels = allocate(padded * 9 * round_up(width, LANES));
    pack(width, channels, panels.get(), threads,
         [&](index_t o, index_t i, index_t tap) { return weight[o * channels * 9 + i * channel_stride + tap * tap_stride]; });
    const Bands bands(image, padded, threads);
    const PerThread<> buffers(threads, (bands.lines + 2) * (image.w + 2) * padded);
#pragma omp parallel num_threads(threads)
    {
        float* buffer = buffers.mine();
#pragma omp for schedule(static)
        for (index_t t = 0; t < bands.count; ++t) {
            const Band band = bands(t, image);
            if (band.first == band.last) continue;
            fill(buffer, band, image, padded, [&](index_t row, index_t c) {
                const index_t left = channels - c;
                if (left <= 0) return vec{};
                const vec value = load_part(rows + row * stride + c, left);
                if (!shift) return value;
                const vec b = load_part(shift + c, left);
                return relu(scale ? value * load_part(scale + c, left) + b : value + b);
            });
            convolve(buffer, band, image, panels.get(), blocks, width, [&](index_t row, index_t o, auto& acc) {
                put_columns(out + row * out_stride + o, acc, width - o);
            });
        }
    }
}

void convolve_and_measure(const float* rows, index_t stride, const Image& image, index_t channels, const float* scale,
                          const float* shift, const float* weight, index_t channel_stride, index_t tap_stride,
                          index_t width, float* out, index_t out_stride, const float* mask, float* mean, float* var,
                          int threads) {
    if (image.worth_winograd()) {
        Memory weights = allocate(winograd_size(channels, width));
        winograd_weights(weight, channels, channel_stride, tap_stride, width, weights.get(), threads);
        winograd(rows, stride, image, channels, scale, shift, weights.get(), width, out, out_stride, threads);
    } else {
        convolve_directly(rows, stride, image, channels, scale, shift, weight, channel_stride, tap_stride, width, out,
                          out_stride, threads);
    }
    if (!mask && !mean) return;
    const index_t count = image.n * image.h * image.w, task_rows = rows_per_task(count, 256, TILE, threads);
    const index_t tasks = (count + task_rows - 1) / task_rows;
    Memory partial = allocate(mean ? 2 * tasks * width : 1);
    auto rows_of = [&](index_t t) { return std::min(task_rows, count - t * task_rows); };
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t t = 0; t < tasks; ++t) {
        const index_t start = t * task_rows;
        if (mask)
            for (index_t r = start; r < start + rows_of(t); ++r)
                for (index_t o = 0; o < width; ++o) out[r * out_stride + o] *= mask[r * width + o];
        if (mean)
            measure_rows(out + start * out_stride, out_stride, rows_of(t), width, partial.get() + 2 * t * width,
                         partial.get() + (2 * t + 1) * width);
    }
    if (mean) combine_statistics(partial.get(), tasks, width, [&](index_t t) { return double(rows_of(t)); }, mean, var);
}

void convolve_backward(const float* rows, index_t stride, const Image& image, index_t channels, const float* scale,
                       const float* shift, const float* mean, const float* weight, index_t channel_stride,
                       index_t tap_stride, index_t width, const float* grad, index_t grad_stride, float* grad_z,
                       float* grad_weight, double* sum_dz, double* sum_centred, int threads) {
    const index_t h = image.h, w = image.w;
    const index_t blocks = (width + BLOCK - 1) / BLOCK, padded = blocks * BLOCK;
    const index_t outer = round_up(channels, std::max(OUTER, LANES));
    Memory panels = allocate(blocks * BLOCK * 9 * round_up(channels, LANES));
    // the gradient is the convolution with the taps turned round
    pack(channels, width, panels.get(), threads,
         [&](index_t o, index_t i, index_t tap) { return weight[i * channels * 9 + o * channel_stride + (8 - tap) * tap_stride]; });
    const Bands bands(image, std::max(channels, padded), threads);
    const PerThread<> parts(threads, 9 * outer * padded), buffers(threads, (bands.lines + 2) * (w + 2) * padded);
    const PerThread<> us(threads, bands.lines * w * outer);
    const PerThread<double> all_sums(threads, 2 * channels);
    int team = 1;
#pragma omp parallel num_threads(threads)
    {
#pragma omp master
        team = omp_get_num_threads();
        float *part = parts.mine_zeroed(), *buffer = buffers.mine(), *u = us.mine_zeroed();
        double* my_sums = all_sums.mine_zeroed();
#pragma omp for schedule(static)
        for (index_t t = 0; t < bands.count; ++t) {
            const Band band = bands(t, image);
            if (band.first == band.last) continue;
            fill(buffer, band, image, padded, [&](index_t row, index_t c) {
                return width - c <= 0 ? vec{} : load_part(grad + row * grad_stride + c, width - c);
            });
            convolve(buffer, band, image, panels.get(), blocks, channels,
                     [&](index_t row, index_t o, auto& acc) {
                         put_columns(grad_z + row * channels + o, acc, channels - o);
                     });
            const index_t start = band.row(band.first, 0, h), count = (band.last - band.first) * w;
            for (index_t c = 0; c < channels; c += LANES) {
                const index_t left = channels - c;
                const vec a = load_part(scale + c, left), b = load_part(shift + c, left), m = load_part(mean + c, left);
                vec total = {}, centred = {};
                for (index_t r = 0; r < count; ++r) {
                    const vec y = load_part(rows + (start + r) * stride + c, left), z = y * a + b;
                    float* at = grad_z + (start + r) * channels + c;
                    const vec d = where_active(z, load_part(at, left));
                    store_part(at, d, left);
                    store(u + r * outer + c, relu(z));
                    total += d;
                    centred += d * (y - m);
                }
                for (index_t i = 0; i < std::min<index_t>(LANES, left); ++i) {
                    my_sums[c + i] += total[i];
                    my_sums[channels + c + i] += centred[i];
                }
            }
            // u's pixel meets the gradient of the pixel that it is the tap's neighbour of
            const index_t pixels = band.pixels();
            for (int tap = 0; tap < 9; ++tap) {
                const index_t offset = (2 - tap / 3) * (w + 2) + 2 - tap % 3;
                const Lines lines{band.last - band.first, w, w * outer, (w + 2) * BLOCK};
                for (index_t c = 0; c < channels; c += OUTER)
                    for (index_t o = 0; o < width; o += WIDTH) {
                        float* out = part + (tap * outer + c) * padded + o;
                        const float* g = buffer + (o / BLOCK * pixels + offset) * BLOCK + o % BLOCK;
                        if (width - o > LANES)
                            add_outer<2>(out, padded, u + c, outer, g, BLOCK,
                                         LANES == BLOCK ? pixels * BLOCK : LANES, lines);
                        else
                            add_outer<1>(out, padded, u + c, outer, g, BLOCK, 0, lines);
                    }
            }
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t o = 0; o < width; ++o)
        for (index_t c = 0; c < channels; ++c)
            for (int tap = 0; tap < 9; ++tap) {
                float total = 0;
                for (int t = 0; t < team; ++t) total += parts.of(t)[(tap * outer + c) * padded + o];
                grad_weight[o * channels * 9 + c * channel_stride + tap * tap_stride] = total;
            }
    for (index_t c = 0; c < channels; ++c) {
        sum_dz[c] = sum_centred[c] = 0;
        for (int t = 0; t < team; ++t) {
            sum_dz[c] += all_sums.of(t)[c];
            sum_centred[c] += all_sums.of(t)[channels + c];
        }
    }
}

}  // namespace

KERNEL(norm_relu_conv3x3)(const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t channels,
                          const float* scale, const float* shift, const float* weight, index_t channel_stride,
                          index_t tap_stride, index_t width, float* out, index_t out_stride, const float* mask,
                          float* mean, float* var, int threads) noexcept {
    return status_of([&] {
        convolve_and_measure(rows, stride, images_of(n, h, w), channels, scale, shift, weight, channel_stride, tap_stride,
                             width, out, out_stride, mask, mean, var, threads);
    });
}

KERNEL(norm_relu_conv3x3_backward)(const float* rows, index_t stride, index_t n, index_t h, index_t w, index_t channels,
                                   const float* scale, const float* shift, const float* mean, const float* weight,
                                   index_t channel_stride, index_t tap_stride, index_t width, const float* grad,
                                   index_t grad_stride, float* grad_z, float* grad_weight, double* sum_dz,
                                   double* sum_centred, int threads) noexcept {
    return status_of([&] {
        convolve_backward(rows, stride, images_of(n, h, w), channels, scale, shift, mean, weight, channel_stride, tap_stride,
                          width, grad, grad_stride, grad_z, grad_weight, sum_dz, sum_centred, threads);
    });
}
