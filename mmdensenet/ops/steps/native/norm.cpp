// Passes over rows that batch norm needs: statistics, the sums of its backward, and its backward; of floats, and of bfloat16
// rows, which are computed with as floats.
#include "tile.h"

namespace {

template <class T>
void statistics_of(const T* rows, index_t stride, index_t count, index_t columns, float* mean, float* var, int threads) {
    const index_t task_rows = rows_per_task(count, 256, 1, threads), tasks = (count + task_rows - 1) / task_rows;
    Memory partial = allocate(2 * tasks * columns);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t t = 0; t < tasks; ++t)
        measure_rows(rows + t * task_rows * stride, stride, std::min(task_rows, count - t * task_rows), columns,
                     partial.get() + 2 * t * columns, partial.get() + (2 * t + 1) * columns);
    combine_statistics(
        partial.get(), tasks, columns,
        [&](index_t t) { return double(std::min(task_rows, count - t * task_rows)); }, mean, var);
}

template <class T>
void backward_sums(const T* grad, index_t grad_stride, const T* rows, index_t stride, index_t count, index_t columns,
                   const float* mean, double* total, double* centred, int threads) {
    const index_t task_rows = rows_per_task(count, 256, 1, threads), tasks = (count + task_rows - 1) / task_rows;
    Memory partial = allocate(2 * tasks * columns);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t t = 0; t < tasks; ++t) {
        const index_t start = t * task_rows, stop = std::min(count, start + task_rows);
        for (index_t c = 0; c < columns; c += LANES) {
            const index_t left = columns - c;
            const vec m = load_part(mean + c, left);
            vec a = {}, b = {};
            for (index_t r = start; r < stop; ++r) {
                const vec g = load_part(grad + r * grad_stride + c, left);
                a += g;
                b += g * (load_part(rows + r * stride + c, left) - m);
            }
            store_part(partial.get() + 2 * t * columns + c, a, left);
            store_part(partial.get() + (2 * t + 1) * columns + c, b, left);
        }
    }
    std::fill(total, total + columns, 0);
    std::fill(centred, centred + columns, 0);
    add_partial_sums(partial.get(), tasks, columns, total, centred);
}

template <class T>
void backward_of(const T* grad, index_t grad_stride, const T* rows, index_t stride, index_t count, index_t columns,
              const float* mean, const float* coefficient, const float* offset, const float* slope, const T* add,
              index_t add_stride, T* out, index_t out_stride, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t start = 0; start < count; start += 64)
        for (index_t c = 0; c < columns; c += LANES) {
            const index_t left = columns - c;
            const vec m = load_part(mean + c, left), k = load_part(coefficient + c, left);
            const vec o = load_part(offset + c, left), s = load_part(slope + c, left);
            for (index_t r = start; r < std::min(count, start + 64); ++r) {
                vec value = load_part(grad + r * grad_stride + c, left) * k + o;
                value += (load_part(rows + r * stride + c, left) - m) * s;
                if (add) value += load_part(add + r * add_stride + c, left);
                store_part(out + r * out_stride + c, value, left);
            }
        }
}

}  // namespace

#define STATISTICS(name, T)                                                                          \
    KERNEL(name)(const T* rows, index_t stride, index_t count, index_t columns, float* mean, float* var, \
                 int threads) noexcept {                                                             \
        return status_of([&] { statistics_of(rows, stride, count, columns, mean, var, threads); });  \
    }
STATISTICS(statistics, float)
STATISTICS(statistics_bfloat16, bfloat16)

#define BACKWARD_SUMS(name, T)                                                                                \
    KERNEL(name)(const T* grad, index_t grad_stride, const T* rows, index_t stride, index_t count,            \
                 index_t columns, const float* mean, double* total, double* centred, int threads) noexcept {  \
        return status_of([&] {                                                                                \
            backward_sums(grad, grad_stride, rows, stride, count, columns, mean, total, centred, threads);    \
        });                                                                                                   \
    }
BACKWARD_SUMS(batch_norm_backward_sums, float)
BACKWARD_SUMS(batch_norm_backward_sums_bfloat16, bfloat16)

#define BACKWARD(name, T)                                                                                         \
    KERNEL(name)(const T* grad, index_t grad_stride, const T* rows, index_t stride, index_t count,                \
                 index_t columns, const float* mean, const float* coefficient, const float* offset,               \
                 const float* slope, const T* add, index_t add_stride, T* out, index_t out_stride, int threads)   \
        noexcept {                                                                                                \
        return status_of([&] {                                                                                    \
            backward_of(grad, grad_stride, rows, stride, count, columns, mean, coefficient, offset, slope, add,   \
                        add_stride, out, out_stride, threads);                                                    \
        });                                                                                                       \
    }
BACKWARD(batch_norm_backward, float)
BACKWARD(batch_norm_backward_bfloat16, bfloat16)
