// All kernels as one translation unit, with internal linkage but for kernels.h: the library has them once per instruction
// set, and whatever the linker merged could hold instructions that the processor lacks.
#include "norm.cpp"
#include "matmul.cpp"
#include "winograd.cpp"
#include "conv3x3.cpp"
#include "pool.cpp"
#include "stem.cpp"
#include "evaluate.cpp"
#include "bfloat16.cpp"
