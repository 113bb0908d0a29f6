#!/usr/bin/env bash
# Builds Weir and runs its main job on real data: CSV, NDJSON and a small HTTP API → joined, cleaned → a partitioned Parquet
# lake in ./lake → SQL over it. Every command is shown as it runs. Needs nothing but this clone: scripts/setup.sh installs what
# is missing (a C compiler, a Rust toolchain).
set -euo pipefail
cd "$(dirname "$0")"
scripts/setup.sh build
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

target="${CARGO_TARGET_DIR:-$PWD/target}"
example=examples/nycflights

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
run() { say "$@"; "$@"; }

echo "building weir (the first time takes some minutes, then seconds)"
cargo build --locked --profile quick --package weir
mkdir -p "$target/example"
rustc -O --edition 2024 "$example/planes_api.rs" -o "$target/example/planes_api"
PATH="$target/quick:$PATH"

# The API ends by itself when this script does: it reads from a pipe that we hold open.
coproc API { exec "$target/example/planes_api" "$example/data/planes.csv"; }
read -r PLANES_API <&"${API[0]}"
export PLANES_API LAKE="$PWD/lake"
progress=auto
[ -t 2 ] || progress=plain

run weir check "$example/flights.yaml"
run weir plan "$example/flights.yaml"
run weir run --progress "$progress" "$example/flights.yaml"
say ls lake/flights
ls lake/flights
run weir query "
  SELECT origin, count(*) AS flights, sum(CASE WHEN cancelled THEN 1 ELSE 0 END) AS cancelled,
         round(avg(dep_delay), 1) AS avg_delay_min, round(avg(dep_delay) FILTER (WHERE precip > 0), 1) AS in_rain
  FROM flights GROUP BY origin ORDER BY flights DESC"
run weir query "
  SELECT manufacturer, count(DISTINCT tailnum) AS planes, count(*) AS flights, max(distance) AS longest_miles
  FROM flights WHERE manufacturer IS NOT NULL GROUP BY manufacturer ORDER BY flights DESC LIMIT 5"
