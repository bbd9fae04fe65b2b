// Which variants of the kernels this processor can run. Compiled for every processor of its kind.
#include <cstring>

extern "C" __attribute__((visibility("default"))) int runs(const char* variant) noexcept {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                      __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    if (!std::strcmp(variant, "avx2")) return avx2;
    if (!std::strcmp(variant, "avx512")) return avx512;
    if (!std::strcmp(variant, "avx512_bf16"))
        return avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
    if (!std::strcmp(variant, "neon")) return 1;
#endif
    return !std::strcmp(variant, "native");  // its file's name says for which processor it is
}
