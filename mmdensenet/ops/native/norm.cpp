// Passes over rows that batch norm needs: statistics, the sums of its backward, and its backward.
#include "tile.h"

extern "C" {

// mean and biased var (columns) of rows (count, columns) with their stride
void statistics(const float* rows, index_t stride, index_t count, index_t columns, float* mean, float* var, int threads) {
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

// sums over rows of grad and of grad * (rows - mean)
void batch_norm_backward_sums(const float* grad, index_t grad_stride, const float* rows, index_t stride, index_t count,
                              index_t columns, const float* mean, double* total, double* centred, int threads) {
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
    for (index_t c = 0; c < columns; ++c) {
        total[c] = centred[c] = 0;
        for (index_t t = 0; t < tasks; ++t) {
            total[c] += partial[2 * t * columns + c];
            centred[c] += partial[(2 * t + 1) * columns + c];
        }
    }
}

// out = coefficient * grad + offset + (rows - mean) * slope (+ add)
void batch_norm_backward(const float* grad, index_t grad_stride, const float* rows, index_t stride, index_t count,
                         index_t columns, const float* mean, const float* coefficient, const float* offset,
                         const float* slope, const float* add, index_t add_stride, float* out, index_t out_stride,
                         int threads) {
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
}
