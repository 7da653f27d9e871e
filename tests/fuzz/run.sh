#!/bin/sh
# Fuzz the C cores of the scanner and the editor: run.sh [SECONDS [WORK-DIRECTORY [SEED-PATH ...]]]
# Half of the seconds go to each. TESTS_FUZZ_TARGETS names one of them alone (elfscan, elfedit).
# Needs clang with its libFuzzer runtime. Exits with a failure at the first finding, which it leaves in the directory.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
core=$here/../../src/portable_backend/_native
seconds=${1:-60}
work=${2:-build/fuzz}
targets=${TESTS_FUZZ_TARGETS:-elfscan elfedit}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] && shift
count=$(echo "$targets" | wc -w)
for target in $targets; do
    mkdir -p "$work/$target"
    tails=$([ "$target" = elfedit ] && echo --edits || true)
    ${PYTHON:-python3} "$here/make_seeds.py" $tails "$work/$target" "$@"
    ${CC:-clang} -std=c99 -g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined \
        -fno-sanitize-recover=all -I "$core" "$here/fuzz_$target.c" "$core/elfedit.c" "$core/elfscan.c" \
        -o "$work/fuzz_$target"
    # The budget promises time and memory in proportion to the size; the limits hold it to that.
    "$work/fuzz_$target" -max_total_time="$((seconds / count))" -max_len=65536 -timeout=5 -rss_limit_mb=1024 \
        -malloc_limit_mb=64 -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$work/$target-" "$work/$target"
done
