// The ImageNet stem in evaluation: 7x7 convolution with stride 2 and padding 3, norm, ReLU, 3x3 max pooling with stride 2
// and padding 1. The maps in between are the largest of the network; here they never have more than three lines.
#include <limits>

#include "tile.h"

namespace {

constexpr int TAPS = 7, HELD = 8;  // lines of the image that are kept, more than a convolution reads

struct Images {
    const float* values;
    index_t n, channels, h, w;
    index_t image_stride, channel_stride, line_stride, column_stride;

    index_t lines() const { return (h + 1) / 2; }  // of the convolution's result
    index_t columns() const { return (w + 1) / 2; }
};

// R pixels of a line against one panel. Pixels are `apart`, and the values under one line of taps are contiguous.
template <int R, int NV, class Put>
INLINE void convolve_pixels(const float* const (&lines)[TAPS], index_t apart, index_t inner, const float* panel, Put put) {
    vec acc[R][NV];
    clear(acc);
    for (const float* line : lines)
        for (index_t i = 0; i < inner; ++i, panel += NV * LANES) {
            vec b[NV];
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v) b[v] = load(panel + v * LANES);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
                for (int v = 0; v < NV; ++v) acc[r][v] += line[r * apart + i] * b[v];
        }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) put(r, acc[r]);
}

// A thread's lines: of the image, with zeros around it, and of the convolution's result, each as long as it is needed.
struct HeldLines {
    const Images& images;
    index_t width, padded, room, line_size;
    float *given, *convolved;

    static index_t room_of(const Images& images) { return round_up(images.columns(), TILE); }
    static index_t line_size_of(const Images& images) { return (2 * room_of(images) + TAPS) * images.channels; }
    static index_t given_size(const Images& images) { return HELD * line_size_of(images); }
    static index_t convolved_size(const Images& images, index_t width) {
        return 3 * room_of(images) * round_up(width, LANES);
    }

    // given: zeros
    HeldLines(const Images& images, index_t width, float* given, float* convolved)
        : images(images), width(width), padded(round_up(width, LANES)), room(room_of(images)),
          line_size(line_size_of(images)), given(given), convolved(convolved) {}

    float* given_line(index_t y) { return given + ((y + HELD) % HELD) * line_size; }
    float* line(index_t y) { return convolved + ((y + 3) % 3) * room * padded; }

    void take(index_t n, index_t y) {
        float* to = given_line(y) + 3 * images.channels;
        if (y < 0 || y >= images.h) {
            std::memset(to, 0, images.w * images.channels * 4);
            return;
        }
        const float* from = images.values + n * images.image_stride + y * images.line_stride;
        for (index_t x = 0; x < images.w; ++x)
            for (index_t c = 0; c < images.channels; ++c)
                to[x * images.channels + c] = from[x * images.column_stride + c * images.channel_stride];
    }

    void convolve(index_t y, const float* panels, const float* scale, const float* shift) {
        const float* lines[TAPS];
        const index_t inner = TAPS * images.channels, apart = 2 * images.channels;
        for (index_t n = 0; n < width; n += WIDTH)
            for (index_t x = 0; x < images.columns(); x += TILE) {
                for (int tap = 0; tap < TAPS; ++tap) lines[tap] = given_line(2 * y - 3 + tap) + x * apart;
                auto put = [&](int r, auto& acc) {
                    for (int v = 0; v < static_cast<int>(sizeof(acc) / sizeof(vec)); ++v) {
                        const index_t c = n + v * LANES;
                        if (c < width)
                            store(line(y) + (x + r) * padded + c,
                                  relu(acc[v] * load_part(scale + c, width - c) + load_part(shift + c, width - c)));
                    }
                };
                const float* panel = panels + n * inner * TAPS;
                if (width - n > LANES)
                    convolve_pixels<TILE, 2>(lines, apart, inner, panel, put);
                else
                    convolve_pixels<TILE, 1>(lines, apart, inner, panel, put);
            }
    }

    // Line y of the pooling from the lines 2y - 1 to 2y + 1 of the convolution's result.
    void pool(index_t y, float* out) {
        const index_t last = std::min(2 * y + 1, images.lines() - 1), columns = images.columns();
        for (index_t x = 0; x < (columns + 1) / 2; ++x)
            for (index_t c = 0; c < width; c += LANES) {
                vec most = vec{} - std::numeric_limits<float>::infinity();
                for (index_t iy = std::max<index_t>(0, 2 * y - 1); iy <= last; ++iy)
                    for (index_t ix = std::max<index_t>(0, 2 * x - 1); ix <= std::min(2 * x + 1, columns - 1); ++ix) {
                        const vec z = load(line(iy) + ix * padded + c);
                        most = largest(most, z);
                    }
                store_part(out + x * width + c, most, width - c);
            }
    }
};

void evaluate(const Images& images, const float* weight, index_t width, const float* scale, const float* shift, float* out,
              int threads) {
    const index_t n = images.n, channels = images.channels, inner = TAPS * channels;
    // panels [line of taps][tap of the line][channel][32 or 16 columns]
    Memory panels = allocate(TAPS * inner * round_up(width, LANES));
    for (index_t o = 0; o < round_up(width, LANES); ++o) {
        const index_t n0 = o / WIDTH * WIDTH, columns = width - n0 > LANES ? WIDTH : LANES;
        for (index_t tap = 0; tap < TAPS * TAPS; ++tap)
            for (index_t c = 0; c < channels; ++c)
                panels[n0 * TAPS * inner + (tap * channels + c) * columns + o - n0] =
                    o < width ? weight[(o * channels + c) * TAPS * TAPS + tap] : 0;
    }
    const index_t lines = (images.lines() + 1) / 2, columns = (images.columns() + 1) / 2;
    const index_t task_lines = rows_per_task(n * lines, 32, 1, threads), tasks = (n * lines + task_lines - 1) / task_lines;
    const PerThread<> given(threads, HeldLines::given_size(images));
    const PerThread<> convolved_lines(threads, HeldLines::convolved_size(images, width));
#pragma omp parallel num_threads(threads)
    {
        HeldLines held(images, width, given.mine_zeroed(), convolved_lines.mine());
#pragma omp for schedule(static)
        for (index_t t = 0; t < tasks; ++t) {
            index_t taken = 0, convolved = 0;  // the lines before are there, of the image and of the convolution
            for (index_t i = t * task_lines; i < std::min((t + 1) * task_lines, n * lines); ++i) {
                const index_t y = i % lines;
                if (y == 0 || i == t * task_lines) {
                    convolved = std::max<index_t>(0, 2 * y - 1);
                    taken = 2 * convolved - 3;
                }
                for (; convolved <= std::min(2 * y + 1, images.lines() - 1); ++convolved) {
                    for (; taken <= 2 * convolved + 3; ++taken) held.take(i / lines, taken);
                    held.convolve(convolved, panels.get(), scale, shift);
                }
                held.pool(y, out + i * columns * width);
            }
        }
    }
}

}  // namespace

KERNEL(evaluate_stem)(const float* images, index_t n, index_t channels, index_t h, index_t w, index_t image_stride,
                      index_t channel_stride, index_t line_stride, index_t column_stride, const float* weight,
                      index_t width, const float* scale, const float* shift, float* out, int threads) noexcept {
    return status_of([&] {
        evaluate(Images{images, n, channels, h, w, image_stride, channel_stride, line_stride, column_stride}, weight,
                 width, scale, shift, out, threads);
    });
}
