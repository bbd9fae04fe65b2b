// Included before the kernels by sanitize_kernels.py: the allocation of that number, counted from 1, fails.
#pragma once
#include <stdlib.h>

extern "C" {
__attribute__((weak, visibility("default"))) long allocation_to_fail = 0;
__attribute__((weak, visibility("default"))) long allocations = 0;
}

inline void* counted_aligned_alloc(size_t alignment, size_t size) {
    return ++allocations == allocation_to_fail ? nullptr : aligned_alloc(alignment, size);
}
// the standard library has named it by now
#include <cstdlib>
namespace std {
using ::counted_aligned_alloc;
}
#define aligned_alloc counted_aligned_alloc
