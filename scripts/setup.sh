# Sourced by demo.sh and test.sh: puts what they need on PATH, installing only what is missing.
#   * a C compiler, for the bundled compression libraries and SQLite: from the system's packages
#   * a Rust toolchain of at least the version in Cargo.toml: by rustup, into the home folder

weir_setup() {
  local missing=() packages wanted have
  command -v cc >/dev/null || missing+=(c-compiler)
  command -v curl >/dev/null || missing+=(curl)
  if [ ${#missing[@]} -gt 0 ]; then
    echo "installing: ${missing[*]}" >&2
    local as_root=""
    [ "$(id -u)" = 0 ] || as_root=sudo
    if command -v apt-get >/dev/null; then
      $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq build-essential curl ca-certificates >/dev/null
    elif command -v dnf >/dev/null; then
      $as_root dnf install -y -q gcc make curl ca-certificates
    elif command -v apk >/dev/null; then
      $as_root apk add -q build-base curl ca-certificates bash
    else
      echo "please install a C compiler and curl, then start again" >&2
      return 1
    fi
  fi
  [ -f "${CARGO_HOME:-$HOME/.cargo}/env" ] && . "${CARGO_HOME:-$HOME/.cargo}/env"
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  have=$(rustc --version 2>/dev/null | cut -d' ' -f2)
  if [ -z "$have" ] || [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1)" != "$wanted" ]; then
    echo "installing Rust $wanted (found: ${have:-none})" >&2
    if ! command -v rustup >/dev/null; then
      curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --no-modify-path --profile minimal --default-toolchain none
      . "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    rustup toolchain install -q "$wanted" --profile minimal --component clippy,rustfmt
    export RUSTUP_TOOLCHAIN="$wanted"
  fi
}

weir_setup
