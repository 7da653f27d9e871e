/* Mutations that know where an ELF file has its fields, for the targets whose input is one. See elf_mutator.c. */
#ifndef TESTS_FUZZ_ELF_MUTATOR_H
#define TESTS_FUZZ_ELF_MUTATOR_H

#include <stddef.h>
#include <stdint.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Set a field or two of an ELF file to values that lead somewhere else, or leave the mutation to libFuzzer. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

#endif
