// The elementwise passes of a block over some bfloat16 rows, beside torch's own products and convolutions in that type, for
// which processors have instructions: activations before them, and all that follows their gradients in one pass.
#include "tile.h"

namespace {

void consume(const bfloat16* grad, const bfloat16* z, const bfloat16* rows, index_t stride, index_t count, index_t columns,
             const float* mean, const float* coefficient, bfloat16* out, index_t out_stride, bool overwrite, float* total,
             float* centred, int threads) {
    const index_t task_rows = rows_per_task(count, 64, 1, threads), tasks = (count + task_rows - 1) / task_rows;
    Memory partial = allocate(2 * tasks * columns);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t t = 0; t < tasks; ++t) {
        const index_t start = t * task_rows, stop = std::min(count, start + task_rows);
        for (index_t c = 0; c < columns; c += LANES) {
            const index_t left = columns - c;
            const vec m = load_part(mean + c, left);
            const vec k = coefficient ? load_part(coefficient + c, left) : vec{} + 1.0f;
            vec a = {}, b = {};
            for (index_t r = start; r < stop; ++r) {
                const vec d = where_active(load_part(z + r * columns + c, left), load_part(grad + r * columns + c, left));
                bfloat16* at = out + r * out_stride + c;
                store_part(at, overwrite || !coefficient ? d * k : load_part(at, left) + d * k, left);
                a += d;
                b += d * (load_part(rows + r * stride + c, left) - m);
            }
            store_part(partial.get() + 2 * t * columns + c, a, left);
            store_part(partial.get() + (2 * t + 1) * columns + c, b, left);
        }
    }
    add_partial_sums(partial.get(), tasks, columns, total, centred);
}

}  // namespace

KERNEL(activate_bfloat16)(const bfloat16* rows, index_t stride, index_t count, index_t columns, const float* scale,
                          const float* shift, bfloat16* out, int threads) noexcept {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t start = 0; start < count; start += 16)
        for (index_t c = 0; c < columns; c += LANES) {
            const index_t left = columns - c;
            const vec a = scale ? load_part(scale + c, left) : vec{} + 1.0f, b = load_part(shift + c, left);
            for (index_t r = start; r < std::min(count, start + 16); ++r)
                store_part(out + r * columns + c, relu(load_part(rows + r * stride + c, left) * a + b), left);
        }
    return 0;
}

KERNEL(consume_bfloat16)(const bfloat16* grad, const bfloat16* z, const bfloat16* rows, index_t stride, index_t count,
                         index_t columns, const float* mean, const float* coefficient, bfloat16* out,
                         index_t out_stride, int overwrite, float* total, float* centred, int threads) noexcept {
    return status_of([&] {
        consume(grad, z, rows, stride, count, columns, mean, coefficient, out, out_stride, overwrite, total, centred,
                threads);
    });
}
