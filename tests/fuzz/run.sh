#!/bin/sh
# Fuzz the C cores of scanner, editor, inflater, lookup and reader of archives: run.sh [SECONDS [WORK-DIRECTORY [SEED-PATH ...]]]
# A fifth of the seconds goes to each. TESTS_FUZZ_TARGETS names those that are wanted (archive, elfscan, elfedit, inflate, lookup).
# Needs clang with its libFuzzer runtime, and zlib's header.
# Exits with a failure at the first finding, which it leaves in the directory.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
core=$here/../../src/portable_backend/_native
seconds=${1:-60}
work=${2:-build/fuzz}
targets=${TESTS_FUZZ_TARGETS:-archive elfscan elfedit inflate lookup}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] && shift
count=$(echo "$targets" | wc -w)
for target in $targets; do
    mkdir -p "$work/$target"
    ${PYTHON:-python3} "$here/make_seeds.py" "$target" "$work/$target" "$@"
    case $target in
    archive) sources="$core/archive.c" ;;
    inflate) sources="$core/inflate.c $core/batch.c $core/member.c $core/elfpass.c $core/names.c $core/search.c $core/crc32.c $core/sha256.c -lz" ;;
    lookup) sources="$core/lookup.c $core/packed.c" ;;
    *) sources="$here/elf_mutator.c $core/elfedit.c $core/elfscan.c $core/elfpass.c $core/sha256.c" ;;
    esac
    # shellcheck disable=SC2086  # several words
    ${CC:-clang} -std=c99 -g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined \
        -fno-sanitize-recover=all -I "$core" "$here/fuzz_$target.c" $sources -o "$work/fuzz_$target"
    # The budget promises time and memory in proportion to the size; the limits hold it to that.
    "$work/fuzz_$target" -max_total_time="$((seconds / count))" -max_len=65536 -timeout=5 -rss_limit_mb=1024 \
        -malloc_limit_mb=64 -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$work/$target-" "$work/$target"
done
