#!/usr/bin/env bash
# Runs every fuzz target for some seconds (60 unless told): scripts/fuzz.sh [seconds] [target…]. See fuzz/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(spec_parse copy_binary)

# The instrumentation is a nightly feature of the compiler.
rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

# What a run finds new stays outside of the repository; what is worth keeping is copied to fuzz/corpus by hand.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/fuzz}
found=${WEIR_FUZZ_CORPUS:-$CARGO_TARGET_DIR/corpus}

for target in "${targets[@]}"; do
    mkdir -p "$found/$target"
    seeds=("$found/$target" "fuzz/corpus/$target")
    options=("-max_total_time=$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1)
    if [ "$target" = spec_parse ]; then
        # The golden cases are seeds too: every rule has one.
        seeds+=(tests/cases/spec)
        options+=(-dict=fuzz/spec_parse.dict -max_len=4096)
    fi
    echo "== $target, $seconds s"
    cargo +nightly fuzz run "$target" "${seeds[@]}" -- "${options[@]}"
done
