#!/bin/sh
# The tests of the kernels for AArch64 (NEON), compiled here and run by qemu. Says nothing of speed: an emulator has none.
#
# Needs the standard library of Rust for aarch64-unknown-linux-gnu (`rustup target add`, or Debian's libstd-rust-dev:arm64 with
# Debian's rustc), the linker aarch64-linux-gnu-gcc (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross), and qemu-aarch64
# (Debian: qemu-user). Ten minutes.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
missing=
for program in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v $program >/dev/null 2>&1 || missing="$missing $program"
done
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || missing="$missing rust-std-$target"
if [ -n "$missing" ]; then
    echo "SKIPPED: not here:$missing"
    exit 0
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu"
# Fewer cases of each property: the emulator is some fifty times slower.
PROPTEST_CASES=${PROPTEST_CASES:-8} cargo test -p sentir-kernels --lib --target $target
