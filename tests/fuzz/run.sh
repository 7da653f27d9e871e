#!/bin/sh
# Fuzz the C core of the scanner: run.sh [SECONDS [WORK-DIRECTORY [SEED-PATH ...]]]
# Needs clang with its libFuzzer runtime. Exits with a failure at the first finding, which it leaves in the directory.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
core=$here/../../src/portable_backend/_native
seconds=${1:-60}
work=${2:-build/fuzz}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] && shift
mkdir -p "$work/corpus"
${PYTHON:-python3} "$here/make_seeds.py" "$work/corpus" "$@"
${CC:-clang} -std=c99 -g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -I "$core" "$here/fuzz_elfscan.c" "$core/elfscan.c" -o "$work/fuzz_elfscan"
# The budget promises time and memory in proportion to the size; the limits hold it to that.
"$work/fuzz_elfscan" -max_total_time="$seconds" -max_len=65536 -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=64 \
    -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$work/" "$work/corpus"
