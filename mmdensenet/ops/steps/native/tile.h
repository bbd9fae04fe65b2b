// Small matrix products in registers, and what the kernels share: vectors, packing, threads, sums.
//
// A product walks its inner dimension in blocks of 16. The left matrix lies in "blocked" order, [block][row][16], so that
// the distance between rows is a constant and each of its values is one broadcast; the right matrix lies in panels,
// [inner][width], width a multiple of the vector. Missing rows, columns and inner values are zeros.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <omp.h>
#include <utility>

#include "kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, HALF = 7, OUTER = 8;  // 14 x 2 accumulators of 32 registers
#elif defined(__AVX__)
constexpr int LANES = 8, HALF = 3, OUTER = 4;  // 6 x 2 of 16
#else
constexpr int LANES = 4, HALF = 3, OUTER = 4;
#endif
constexpr int TILE = 2 * HALF;  // rows of a product in registers
constexpr int BLOCK = 16;       // inner values per block
constexpr int WIDTH = 2 * LANES;

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float unaligned_vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE inline __attribute__((always_inline))

INLINE vec load(const float* p) { return *reinterpret_cast<const unaligned_vec*>(p); }
INLINE void store(float* p, vec v) { *reinterpret_cast<unaligned_vec*>(p) = v; }

// bfloat16 is read as the float that it begins, and written rounded to the nearest, to the even one of two.
typedef unsigned wide_bits __attribute__((vector_size(LANES * 4)));
typedef unsigned short half_bits __attribute__((vector_size(LANES * 2)));
typedef unsigned short unaligned_half_bits __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

INLINE vec load(const bfloat16* p) {
    const half_bits upper = *reinterpret_cast<const unaligned_half_bits*>(p);
    return reinterpret_cast<vec>(__builtin_convertvector(upper, wide_bits) << 16);
}
INLINE void store(bfloat16* p, vec v) {
#if defined(__AVX512BF16__)
    const half_bits upper = reinterpret_cast<half_bits>(_mm512_cvtneps_pbh(__m512(v)));
#else
    const wide_bits bits = reinterpret_cast<wide_bits>(v);
    // the carry of a NaN's bits could make it a zero
    const wide_bits rounded = v == v ? bits + 0x7fffu + (bits >> 16 & 1u) : bits | 0x400000u;
    const half_bits upper = __builtin_convertvector(rounded >> 16, half_bits);
#endif
    *reinterpret_cast<unaligned_half_bits*>(p) = upper;
}

// Parts of vectors at the end of a row, where reading or writing further would leave it; what is not there is zero. Maps of
// 12 channels are nothing but such ends, so where the processor has masks they are used.
template <class T>
INLINE vec load_part(const T* p, index_t count) {
    if (count >= LANES) return load(p);
    T part[LANES] = {};
    for (index_t i = 0; i < count; ++i) part[i] = p[i];
    return load(part);
}
template <class T>
INLINE void store_part(T* p, vec v, index_t count) {
    if (count >= LANES) return store(p, v);
    T part[LANES];
    store(part, v);
    for (index_t i = 0; i < count; ++i) p[i] = part[i];
}
#if defined(__AVX512F__)
INLINE vec load_part(const float* p, index_t count) {
    return count >= LANES ? load(p) : vec(_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p));
}
INLINE void store_part(float* p, vec v, index_t count) {
    if (count >= LANES) store(p, v);
    else _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), __m512(v));
}
#elif defined(__AVX2__)
INLINE __m256i first_lanes(index_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vec load_part(const float* p, index_t count) {
    return count >= LANES ? load(p) : vec(_mm256_maskload_ps(p, first_lanes(count)));
}
INLINE void store_part(float* p, vec v, index_t count) {
    if (count >= LANES) store(p, v);
    else _mm256_maskstore_ps(p, first_lanes(count), __m256(v));
}
#endif
#if defined(__AVX512BW__) && defined(__AVX512VL__)
INLINE vec load_part(const bfloat16* p, index_t count) {
    if (count >= LANES) return load(p);
    const half_bits upper = half_bits(_mm256_maskz_loadu_epi16(__mmask16((1u << count) - 1), p));
    return reinterpret_cast<vec>(__builtin_convertvector(upper, wide_bits) << 16);
}
#endif

// As torch's: NaN stays NaN, so that a diverging run is seen.
INLINE vec relu(vec v) { return v < 0.0f ? vec{} : v; }
INLINE vec where_active(vec z, vec d) { return z <= 0.0f ? vec{} : d; }
INLINE vec largest(vec a, vec b) { return a != a ? a : a >= b ? a : b; }

INLINE index_t round_up(index_t n, index_t step) { return (n + step - 1) / step * step; }

struct Free {
    template <class T>
    void operator()(T* p) const {
        std::free(p);
    }
};
template <class T>
using MemoryOf = std::unique_ptr<T[], Free>;
using Memory = MemoryOf<float>;

// Throws std::bad_alloc, so never inside a parallel region.
template <class T = float>
MemoryOf<T> allocate(index_t count) {
    index_t bytes = 0;
    if (__builtin_mul_overflow(std::max<index_t>(count, 1), index_t(sizeof(T)), &bytes) || bytes > PTRDIFF_MAX - 64)
        throw std::bad_alloc();
    T* memory = static_cast<T*>(std::aligned_alloc(64, round_up(bytes, 64)));
    if (!memory) throw std::bad_alloc();
    return MemoryOf<T>(memory);
}

// Memory of each thread, allocated before they start. OpenMP may grant fewer threads than were asked for: a result of all
// of them is taken from those that ran, whose number a thread of
// the region asks for.
template <class T = float>
class PerThread {
    index_t size;
    MemoryOf<T> memory;

public:
    PerThread(int threads, index_t count) : size(round_up(count, 64 / sizeof(T))), memory(allocate<T>(threads * size)) {}

    T* of(int thread) const { return memory.get() + thread * size; }
    T* mine() const { return of(omp_get_thread_num()); }
    T* mine_zeroed() const {
        std::memset(mine(), 0, size * sizeof(T));
        return mine();
    }
};

// The body of a kernel, which may run out of memory.
template <class Body>
int status_of(Body body) noexcept {
    try {
        body();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// acc[r][v] += sum over the 16 inner values of left[r][i] * right[i][v]. Rows 0..S-1 follow a0, the others a1.
template <int R, int S, int NV>
INLINE void multiply_block(vec (&acc)[R][NV], const float* a0, const float* a1, const float* right) {
#pragma GCC unroll 4
    for (int i = 0; i < BLOCK; ++i) {
        vec b[NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) b[v] = load(right + (i * NV + v) * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const float a = r < S ? a0[r * BLOCK + i] : a1[(r - S) * BLOCK + i];
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v) acc[r][v] += a * b[v];
        }
    }
}

template <int R, int NV>
INLINE void clear(vec (&acc)[R][NV]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) acc[r][v] = vec{};
}

// A tile of a product whose left side is blocked, [blocks][R][16]; the panel is [blocks * 16][NV * LANES].
template <int R, int NV>
INLINE void multiply(vec (&acc)[R][NV], const float* left, const float* panel, index_t blocks) {
    clear(acc);
    for (index_t b = 0; b < blocks; ++b)
        multiply_block<R, R, NV>(acc, left + b * R * BLOCK, left, panel + b * BLOCK * NV * LANES);
}

// The sum over rows of an outer product: out[i][c] += sum_r a[r][i] * b[r][c], i < OUTER, c < NV * LANES. The rows come in
// lines, which may lie apart; so may the vectors of b.
struct Lines {
    index_t count, rows, a_apart, b_apart;
};

template <int NV>
INLINE void add_outer(float* out, index_t out_stride, const float* a, index_t a_stride, const float* b, index_t b_stride,
                      index_t vectors_apart, const Lines& lines) {
    vec acc[OUTER][NV];
#pragma GCC unroll 8
    for (int i = 0; i < OUTER; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) acc[i][v] = load(out + i * out_stride + v * LANES);
    for (index_t line = 0; line < lines.count; ++line) {
        const float *left = a + line * lines.a_apart, *right = b + line * lines.b_apart;
        for (index_t r = 0; r < lines.rows; ++r, left += a_stride, right += b_stride) {
            vec x[NV];
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v) x[v] = load(right + v * vectors_apart);
#pragma GCC unroll 8
            for (int i = 0; i < OUTER; ++i)
#pragma GCC unroll 2
                for (int v = 0; v < NV; ++v) acc[i][v] += left[i] * x[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < OUTER; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) store(out + i * out_stride + v * LANES, acc[i][v]);
}

// Mean and sum of squared deviations (around that mean) of some rows, one pair of lines of `partial` per task.
template <class T>
void measure_rows(const T* rows, index_t stride, index_t count, index_t columns, float* mean, float* squares) {
    for (index_t c = 0; c < columns; c += LANES) {
        const index_t left = columns - c;
        vec total = {}, deviations = {};
        for (index_t r = 0; r < count; ++r) total += load_part(rows + r * stride + c, left);
        const vec m = total * (1.0f / count);
        for (index_t r = 0; r < count; ++r) {
            const vec d = load_part(rows + r * stride + c, left) - m;
            deviations += d * d;
        }
        store_part(mean + c, m, left);
        store_part(squares + c, deviations, left);
    }
}

// Chan et al. (1979): the parts' statistics as those of one sample. partial is [tasks][2][columns].
template <class Count>
void combine_statistics(const float* partial, index_t tasks, index_t columns, Count count, float* mean, float* var) {
    for (index_t c = 0; c < columns; ++c) {
        double n = 0, m = 0, s = 0;
        for (index_t t = 0; t < tasks; ++t) {
            const double other = count(t), delta = partial[2 * t * columns + c] - m;
            m += delta * (other / (n + other));
            s += partial[(2 * t + 1) * columns + c] + delta * delta * (n * other / (n + other));
            n += other;
        }
        mean[c] = static_cast<float>(m);
        var[c] = static_cast<float>(s / n);
    }
}

// The sums of all tasks, partial [tasks][2][columns], onto what is there.
template <class Sum>
void add_partial_sums(const float* partial, index_t tasks, index_t columns, Sum* first, Sum* second) {
    for (index_t t = 0; t < tasks; ++t)
        for (index_t c = 0; c < columns; ++c) {
            first[c] += partial[2 * t * columns + c];
            second[c] += partial[(2 * t + 1) * columns + c];
        }
}

// m[i][j] and m[j][i] change places, in log2(LANES) steps: the two values of a pair that are S apart in both directions.
template <int S, int... I>
INLINE void transpose_pair(vec& a, vec& b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
    const vec low = __builtin_shufflevector(a, b, (I & S ? I - S + LANES : I)...);
    b = __builtin_shufflevector(a, b, (I & S ? I + LANES : I + S)...);
#else
    typedef int indices __attribute__((vector_size(LANES * 4)));
    const vec low = __builtin_shuffle(a, b, indices{(I & S ? I - S + LANES : I)...});
    b = __builtin_shuffle(a, b, indices{(I & S ? I + LANES : I + S)...});
#endif
    a = low;
}

template <int S = 1>
INLINE void transpose(vec (&m)[LANES]) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i)
        if (!(i & S)) transpose_pair<S>(m[i], m[i + S], std::make_integer_sequence<int, LANES>());
    if constexpr (2 * S < LANES) transpose<2 * S>(m);
}

// weight (J, C), its lines times row_scale unless that is null, to panels [C rounded up][columns j], the rest zeros.
void pack_transposed(const float* weight, const float* row_scale, index_t j_count, index_t c_count, index_t c_padded,
                            float* panels, int threads) {
    constexpr index_t LINE = 8 * BLOCK;  // long enough for the processor to see where a thread is going
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (index_t n = 0; n < j_count; n += WIDTH)
        for (index_t line = 0; line < c_padded; line += LINE) {
            const index_t columns = j_count - n > LANES ? WIDTH : LANES;
            for (index_t c = line; c < std::min(line + LINE, c_padded); c += LANES)
                for (index_t j = 0; j < columns; j += LANES) {
                    vec values[LANES];
#pragma GCC unroll 16
                    for (int i = 0; i < LANES; ++i) {
                        const index_t row = n + j + i;
                        values[i] = row < j_count && c < c_count ? load_part(weight + row * c_count + c, c_count - c) : vec{};
                        if (row_scale && row < j_count) values[i] *= row_scale[row];
                    }
                    transpose(values);
                    float* to = panels + n * c_padded + c * columns + j;
#pragma GCC unroll 16
                    for (int i = 0; i < LANES; ++i) store(to + i * columns, values[i]);
                }
        }
}

// Rows of a task: at most so many, a multiple of this, and every thread has as many of them as the others.
INLINE index_t rows_per_task(index_t rows, index_t most, index_t multiple, int threads) {
    const index_t units = (rows + multiple - 1) / multiple, fair = (units + threads - 1) / threads;
    const index_t in_task = std::max<index_t>(1, most / multiple), tasks = (fair + in_task - 1) / in_task;
    return std::max<index_t>(1, (fair + tasks - 1) / std::max<index_t>(1, tasks)) * multiple;
}

}  // namespace
