#!/usr/bin/env bash
# All checks and tests, from nothing: format, clippy, house rules, unit, conformance, golden and end-to-end tests on real
# servers that the tests start themselves. Build output goes outside the clone, so that the next run is quick.
# Usage: ./test.sh [nextest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
export WEIR_CACHE=${WEIR_CACHE:-$HOME/.cache/weir}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$WEIR_CACHE/target}
export CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never RUST_BACKTRACE=1
# The property tests draw the same cases each time, so that a change is judged by what it changed. Others: PROPTEST_RNG_SEED=$RANDOM ./test.sh
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20261121}
export PATH="$WEIR_CACHE/node/bin:${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:$WEIR_CACHE/venv/bin"

# What the default build leaves out: Pulsar and Kafka need tools of the system, no real MongoDB has seen its connector.
features=(--features weir/pulsar,weir/mongodb,weir/kafka)
scripts/setup.sh test
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "format"
cargo fmt --all --check
step "web pages"
cargo xtask web build
# The program and its tests at once: apart, what the tests' own libraries ask of shared ones would build those twice.
step "build"
cargo nextest run --workspace --locked --cargo-quiet "${features[@]}" --no-run
step "clippy"
cargo clippy --workspace --all-targets --locked --quiet "${features[@]}" -- -D warnings
step "the default features alone"
cargo check --workspace --locked --quiet
step "house rules"
cargo xtask lint
step "services"
for service in minio vault otel-collector ignite kafka schema-registry pulsar mariadb mysql seatunnel flink-cluster; do cargo xtask service install "$service"; done
step "tests of the web pages"
cargo xtask web test
step "tests"
exec cargo nextest run --workspace --locked "${features[@]}" --no-fail-fast --status-level fail --final-status-level slow "$@"
