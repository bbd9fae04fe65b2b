// Calls one kernel with arguments from a file and writes the memory that it was given to another: for processors that are
// emulated (test_neon.py). Included behind kernels.cpp and linked statically.
//
// The input: the kernel's name, its number of arguments, and for each its kind and its value: 'i' an integer (8 bytes),
// 'd' a double, 'p' memory (its size, then its bytes; size -1 is a null pointer), 'l' a list of pointers (their number,
// then each like 'p'). The output: the status, then the bytes of all memory in order.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels.h"

using Word = long long;

namespace {

struct Block {
    void* memory;
    Word size;
};
std::vector<Block> blocks;
std::FILE* input;

template <class T>
T get() {
    T value;
    if (std::fread(&value, sizeof value, 1, input) != 1) std::abort();
    return value;
}

// exactly as large as said
Word get_memory() {
    const Word size = get<Word>();
    if (size < 0) return 0;
    void* memory = std::malloc(size);
    if (size && std::fread(memory, size, 1, input) != 1) std::abort();
    blocks.push_back({memory, size});
    return reinterpret_cast<Word>(memory);
}

const struct {
    const char* name;
    void* function;
} KERNELS[] = {
#define NAMED(name) {#name, reinterpret_cast<void*>(WITH_VARIANT(name, VARIANT))},
    NAMED_KERNELS
};

}  // namespace

int main(int, char** files) {
    input = std::fopen(files[1], "rb");
    const std::string name = [] {
        std::string text(get<Word>(), ' ');
        for (char& letter : text) letter = get<char>();
        return text;
    }();
    const Word count = get<Word>();
    Word words[20] = {};
    double number = 0;
    Word given = 0;
    for (Word i = 0; i < count; ++i) {
        const char kind = get<char>();
        if (kind == 'd') {
            number = get<double>();
        } else if (kind == 'i') {
            words[given++] = get<Word>();
        } else if (kind == 'p') {
            words[given++] = get_memory();
        } else {
            const Word length = get<Word>();
            Word* list = static_cast<Word*>(std::malloc(length * sizeof(Word)));
            for (Word j = 0; j < length; ++j) list[j] = get_memory();
            words[given++] = reinterpret_cast<Word>(list);
        }
    }
    // by the procedure call standard of the 64-bit Arm architecture integers and pointers are words, in order, in registers
    // and then on the stack, and the first double is in a register of its own wherever it stands
    using Function = int (*)(Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word,
                             Word, Word, Word, Word, Word, double);
    for (const auto& kernel : KERNELS)
        if (name == kernel.name) {
            const Word* w = words;
            const Word status = reinterpret_cast<Function>(kernel.function)(
                w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14], w[15],
                w[16], w[17], w[18], w[19], number);
            std::FILE* output = std::fopen(files[2], "wb");
            std::fwrite(&status, sizeof status, 1, output);
            for (const Block& block : blocks) std::fwrite(block.memory, 1, block.size, output);
            return std::fclose(output);
        }
    return 2;
}
