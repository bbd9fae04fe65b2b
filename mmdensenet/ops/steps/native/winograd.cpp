// The 3x3 convolution (padding 1) as F(2x2, 3x3) of Lavin and Gray, arXiv:1509.09308: 4x4 pixels, which overlap by two, and
// the filters are transformed, multiplied elementwise over the channels (16 matrix products for four outputs, where the
// convolution itself has 36) and transformed back. The points 0, 1, -1 and infinity need additions alone, and sums of a ninth
// of the length round less: the result is closer to the exact one than the direct convolution's (tests/ops/steps/test_steps.py).
#include "winograd.h"

namespace {

constexpr int PARTS = 16;

index_t padded_channels(index_t channels) { return round_up(channels, BLOCK); }

// One line of B^T d: the difference or sum of two lines of pixels, transformed along the line, to four parts.
INLINE void put_line(float* out, index_t plane, vec a, vec b, vec c, vec d) {
    store(out, a - c);
    store(out + plane, b + c);
    store(out + 2 * plane, c - b);
    store(out + 3 * plane, b - d);
}

// value(p) gives pixel p of 16.
template <class Value>
INLINE void transform_pixels(float* out, index_t plane, Value value) {
    vec lines[3][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) lines[0][x] = value(x), lines[2][x] = value(8 + x);
    put_line(out, plane, lines[0][0] - lines[2][0], lines[0][1] - lines[2][1], lines[0][2] - lines[2][2],
             lines[0][3] - lines[2][3]);
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) lines[1][x] = value(4 + x);
    put_line(out + 4 * plane, plane, lines[1][0] + lines[2][0], lines[1][1] + lines[2][1], lines[1][2] + lines[2][2],
             lines[1][3] + lines[2][3]);
    put_line(out + 8 * plane, plane, lines[2][0] - lines[1][0], lines[2][1] - lines[1][1], lines[2][2] - lines[1][2],
             lines[2][3] - lines[1][3]);
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) lines[0][x] = value(12 + x);
    put_line(out + 12 * plane, plane, lines[1][0] - lines[0][0], lines[1][1] - lines[0][1], lines[1][2] - lines[0][2],
             lines[1][3] - lines[0][3]);
}

struct Place {
    index_t n, y, x;  // of the tile's upper left output

    Place(const Image& image, index_t tile) {
        const index_t columns = image.tile_columns(), lines = image.tile_lines();
        x = 2 * (tile % columns);
        y = 2 * (tile / columns % lines);
        n = tile / (columns * lines);
    }
};

struct Source {
    const float* rows;
    index_t stride;
    const Image& image;
    index_t channels;
    const float *scale, *shift;
};

// The tiles [first, first + count) to parts [16][channels / 16][room][16].
template <bool SCALED, bool SHIFTED>
void transform_tiles(const Source& source, index_t first, index_t count, index_t room, index_t plane, float* out) {
    const Image& image = source.image;
    const index_t channels = source.channels;
    for (index_t t = 0; t < count; ++t) {
        const Place place(image, first + t);
        const float* pixel[16];
        for (int p = 0; p < 16; ++p) {
            const index_t y = place.y + p / 4 - 1, x = place.x + p % 4 - 1;
            const bool inside = y >= 0 && y < image.h && x >= 0 && x < image.w;
            pixel[p] = inside ? source.rows + ((place.n * image.h + y) * image.w + x) * source.stride : nullptr;
        }
        auto transform = [&](index_t c, auto read) {
            const vec scale = SCALED ? read(source.scale + c) : vec{}, shift = SHIFTED ? read(source.shift + c) : vec{};
            transform_pixels(out + (c / BLOCK * room + t) * BLOCK + c % BLOCK, plane, [&](int p) {
                if (!pixel[p]) return vec{};
                const vec value = read(pixel[p] + c);
                if (SCALED) return relu(value * scale + shift);
                return SHIFTED ? relu(value + shift) : value;
            });
        };
        index_t c = 0;
        for (; c + LANES <= channels; c += LANES) transform(c, [](const float* p) { return load(p); });
        if (c < channels) transform(c, [&](const float* p) { return load_part(p, channels - c); });
    }
}

// A group of tiles of one part against one panel.
template <int R, int NV>
INLINE void multiply_part(const float* left, index_t room, const float* panel, index_t blocks, float* out,
                          index_t out_stride) {
    vec acc[R][NV];
    clear(acc);
    for (index_t b = 0; b < blocks; ++b)
        multiply_block<R, R, NV>(acc, left + b * room * BLOCK, left, panel + b * BLOCK * NV * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) store(out + r * out_stride + v * LANES, acc[r][v]);
}

// The products [16][room][padded width] back to 2x2 outputs.
void transform_back(const float* products, index_t plane, index_t padded_width, const Image& image, index_t first,
                    index_t count, index_t width, float* out, index_t out_stride) {
    for (index_t t = 0; t < count; ++t) {
        const Place place(image, first + t);
        float* at = out + ((place.n * image.h + place.y) * image.w + place.x) * out_stride;
        const bool right = place.x + 1 < image.w, below = place.y + 1 < image.h;
        for (index_t o = 0; o < width; o += LANES) {
            const float* from = products + t * padded_width + o;
            vec upper[4], lower[4];
#pragma GCC unroll 4
            for (int x = 0; x < 4; ++x) {
                const vec b = load(from + (4 + x) * plane), c = load(from + (8 + x) * plane);
                upper[x] = load(from + x * plane) + (b + c);
                lower[x] = (b - c) - load(from + (12 + x) * plane);
            }
            const index_t left = width - o;
            store_part(at + o, upper[0] + (upper[1] + upper[2]), left);
            if (right) store_part(at + out_stride + o, (upper[1] - upper[2]) - upper[3], left);
            if (!below) continue;
            float* next = at + image.w * out_stride + o;
            store_part(next, lower[0] + (lower[1] + lower[2]), left);
            if (right) store_part(next + out_stride, (lower[1] - lower[2]) - lower[3], left);
        }
    }
}

index_t winograd_size(index_t channels, index_t width) {
    return PARTS * padded_channels(channels) * round_up(width, LANES);
}

void winograd_weights(const float* weight, index_t channels, index_t channel_stride, index_t tap_stride, index_t width,
                      float* out, int threads) {
    const index_t flat = 9 * channels, flat_padded = round_up(flat, BLOCK), padded = padded_channels(channels);
    const index_t part = padded * round_up(width, LANES);
    Memory turned = allocate(flat_padded * round_up(width, LANES));
    pack_transposed(weight, nullptr, width, flat, flat_padded, turned.get(), threads);
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (index_t n = 0; n < width; n += WIDTH)
        for (index_t i = 0; i < padded; ++i) {
            const index_t columns = width - n > LANES ? WIDTH : LANES;
            const float* from = turned.get() + n * flat_padded;
            for (index_t v = 0; v < columns; v += LANES) {
                float* to = out + n * padded + i * columns + v;
                // lines of G g: g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2
                vec lines[4][3];
                for (int x = 0; x < 3; ++x) {
                    vec g[3] = {};
                    for (int y = 0; y < 3; ++y)
                        if (i < channels) g[y] = load(from + (i * channel_stride + (3 * y + x) * tap_stride) * columns + v);
                    const vec ends = g[0] + g[2];
                    lines[0][x] = g[0];
                    lines[1][x] = 0.5f * (ends + g[1]);
                    lines[2][x] = 0.5f * (ends - g[1]);
                    lines[3][x] = g[2];
                }
                for (int y = 0; y < 4; ++y) {
                    const vec ends = lines[y][0] + lines[y][2];
                    store(to + (4 * y + 0) * part, lines[y][0]);
                    store(to + (4 * y + 1) * part, 0.5f * (ends + lines[y][1]));
                    store(to + (4 * y + 2) * part, 0.5f * (ends - lines[y][1]));
                    store(to + (4 * y + 3) * part, lines[y][2]);
                }
            }
        }
}

void winograd(const float* rows, index_t stride, const Image& image, index_t channels, const float* scale,
              const float* shift, const float* weights, index_t width, float* out, index_t out_stride, int threads) {
    const index_t padded = padded_channels(channels), blocks = padded / BLOCK, padded_width = round_up(width, LANES);
    const index_t tiles = image.tiles();
    // what is transformed stays in the second-level cache
    const index_t in_cache = std::max<index_t>(TILE, (256 << 10) / (PARTS * 4 * padded));
    const index_t room = rows_per_task(tiles, in_cache, TILE, threads), tasks = (tiles + room - 1) / room;
    // some floats apart, so that the same place of all parts is not in the same set of the cache
    const index_t plane = room * padded + BLOCK, part = padded * padded_width, products_plane = room * padded_width + BLOCK;
    const Source source{rows, stride, image, channels, scale, shift};
    const PerThread<> inputs(threads, PARTS * plane), outputs(threads, PARTS * products_plane);
#pragma omp parallel num_threads(threads)
    {
        float *transformed = inputs.mine_zeroed(), *products = outputs.mine();
#pragma omp for schedule(static)
        for (index_t task = 0; task < tasks; ++task) {
            const index_t first = task * room, count = std::min(room, tiles - first);
            if (scale)
                transform_tiles<true, true>(source, first, count, room, plane, transformed);
            else if (shift)
                transform_tiles<false, true>(source, first, count, room, plane, transformed);
            else
                transform_tiles<false, false>(source, first, count, room, plane, transformed);
            for (int p = 0; p < PARTS; ++p)
                for (index_t n = 0; n < width; n += WIDTH) {
                    const float* panel = weights + p * part + n * padded;
                    for (index_t t = 0; t < count; t += TILE) {
                        const float* left = transformed + p * plane + t * BLOCK;
                        float* to = products + p * products_plane + t * padded_width + n;
                        const bool half = count - t <= HALF, narrow = width - n <= LANES;
                        if (half && narrow) multiply_part<HALF, 1>(left, room, panel, blocks, to, padded_width);
                        else if (half) multiply_part<HALF, 2>(left, room, panel, blocks, to, padded_width);
                        else if (narrow) multiply_part<TILE, 1>(left, room, panel, blocks, to, padded_width);
                        else multiply_part<TILE, 2>(left, room, panel, blocks, to, padded_width);
                    }
                }
            transform_back(products, products_plane, padded_width, image, first, count, width, out, out_stride);
        }
    }
}

}  // namespace
