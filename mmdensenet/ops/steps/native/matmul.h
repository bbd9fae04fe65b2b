// relu(norm(features)) @ weight^T with weights that are packed already, matmul.cpp.
#pragma once

#include "tile.h"

namespace {

// Floats that a weight (width, channels) takes when pack_transposed, with channels rounded up to BLOCK, has packed it.
INLINE index_t packed_size(index_t channels, index_t width) {
    return round_up(channels, BLOCK) * round_up(width, LANES);
}

// features (count rows, or those of images h x w that are pooled when h > 0; channels), out (count, width), relu(out +
// out_shift) unless that (width) is null.
void multiply_packed(const float* features, index_t stride, index_t h, index_t w, index_t count, index_t channels,
                     const float* scale, const float* shift, const float* panels, index_t width, const float* out_shift,
                     float* out, int threads);

}  // namespace
