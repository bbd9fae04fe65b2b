// The 3x3 convolution by Winograd's minimal filtering, winograd.cpp.
#pragma once

#include "tile.h"

namespace {

// An image's 2x2 outputs, "tiles", in the order of a scan; the last ones of a line or column may reach beyond the image.
struct Image {
    index_t n, h, w;

    index_t tile_lines() const { return (h + 1) / 2; }
    index_t tile_columns() const { return (w + 1) / 2; }
    index_t tiles() const { return n * tile_lines() * tile_columns(); }
    // 16 products a tile instead of 9 a pixel
    bool worth_winograd() const { return 16 * tiles() < 9 * n * h * w; }
};

// Floats that the transformed weights take.
index_t winograd_size(index_t channels, index_t width);

// weight (width, channels, 3, 3) with its input-channel and tap strides, transformed.
void winograd_weights(const float* weight, index_t channels, index_t channel_stride, index_t tap_stride, index_t width,
                      float* out, int threads);

// out (n*h*w, width) = the convolution of relu(rows * scale + shift); of relu(rows + shift) where scale is null and of the
// rows themselves where shift is null. NaN and infinities make the whole tiles NaN that they belong to.
void winograd(const float* rows, index_t stride, const Image& image, index_t channels, const float* scale,
              const float* shift, const float* weights, index_t width, float* out, index_t out_stride, int threads);

}  // namespace
