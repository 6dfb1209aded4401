#!/bin/sh
# The tests of the kernels, which hold all `unsafe` code, under AddressSanitizer: reads and writes outside of what belongs to a buffer. Miri does not know
# the vector instructions, so it can run the portable code only.
#
# The sanitizer is an unstable option of the compiler, so it needs a nightly one, or a stable one that is told to take it for one, as here. Two minutes.
set -eu
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address PROPTEST_CASES=${PROPTEST_CASES:-64} \
    cargo test -p sentir-kernels --lib --target "$target" --target-dir target/sanitizer
