#!/usr/bin/env bash
# Tests a server against its own OpenAPI document with schemathesis: all checks, all phases. Needs python3 and curl.
# Usage: scripts/schemathesis.sh [path of a weir binary]
#   With a binary: a real `weir serve` with an empty database. Without: the server that the crate's tests hold open.
#   SEED=7          another seed than the one drawn and printed
#   EXAMPLES=50     cases per operation in the fuzzing phase
#   ROLES="viewer"  the roles that get a pass of their own after the first, which is the platform-admin's; "" = none
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-}
[ -z "$binary" ] || binary=$(realpath "$binary")
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
examples=${EXAMPLES:-50}
roles=${ROLES-admin editor operator viewer}
cache=${WEIR_CACHE:-$HOME/.cache/weir}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

venv=$cache/st-venv
if [ ! -x "$venv/bin/schemathesis" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'schemathesis>=4.32,<5'
fi

work=$(mktemp -d)
server=
finish() {
    rm -f "$work/held"
    if [ -n "$server" ]; then
        # The held server ends by itself once its file is gone.
        [ -z "$binary" ] || kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

# Waits until the file has a line of this form, and prints it.
await() {
    for _ in $(seq 600); do
        grep -m1 -- "$2" "$1" 2>/dev/null && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    echo "schemathesis: the server did not start:" >&2
    cat "$work/log" >&2
    return 1
}

if [ -n "$binary" ]; then
    "$binary" serve --data "$work/data" --listen 127.0.0.1:0 --workers 1 --no-scheduler >"$work/log" 2>&1 &
    server=$!
    base=$(await "$work/log" '^weir listens on ' | sed 's/^weir listens on //')
    token=$(await "$work/log" '^token of the first administrator' | sed 's/.*: //')
else
    cargo test --quiet -p weir-server --test api --no-run
    WEIR_HOLD=$work/held cargo test --quiet -p weir-server --test api -- --exact hold::hold --ignored >"$work/log" 2>&1 &
    server=$!
    read -r base token < <(await "$work/held" '^http')
fi

# A tenant of its own, with a principal and a token of each role. The platform-admin belongs to another tenant and acts for this one, so that
# no generated request meets the token or the principal that sends it.
tenant=schemathesis
call() {
    local method=$1 path=$2 body=$3
    curl --fail --silent --show-error -X "$method" "$base$path" -H "Authorization: Bearer $token" -H "Content-Type: application/json" \
        -H "X-Tenant-Id: ${4:-$tenant}" -d "$body"
}
field() { "$venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)'"$1"')'; }
home=$(curl --fail --silent --show-error "$base/api/v1/quotas" -H "Authorization: Bearer $token" | field '["tenant_id"]')
call POST /api/v1/tenants "{\"id\": \"$tenant\", \"name\": \"Schemathesis\"}" "$home" >/dev/null
declare -A tokens
for role in $roles; do
    principal=$(call POST /api/v1/principals "{\"kind\": \"service_account\", \"name\": \"$role\", \"role\": \"$role\"}" | field '["id"]')
    tokens[$role]=$(call POST /api/v1/tokens "{\"principal_id\": \"$principal\", \"name\": \"$role\"}" | field '["token"]')
done
for index in 1 2 3; do
    call POST /api/v1/jobs "{\"name\": \"job $index\", \"source\": {\"connector_type\": \"file\", \"connection_params\": {\"path\": \"in.csv\"}},
        \"sink\": {\"connector_type\": \"file\", \"connection_params\": {\"path\": \"out\"}}, \"sync_mode\": \"batch\"}" >/dev/null
done

failed=0
config=$PWD/crates/weir-server/tests/schemathesis.toml
check() {
    local name=$1 secret=$2
    shift 2
    echo "== $name, seed $seed"
    (cd "$work" && "$venv/bin/schemathesis" --config-file "$config" run "$base/openapi.json" \
        --checks all --seed "$seed" --continue-on-failure --no-color -H "Authorization: Bearer $secret" "$@") >"$work/out" 2>&1 || {
        failed=1
        echo "FAILED: $name"
        sed -n '/= FAILURES =/,/= WARNINGS =/p; /= ERRORS =/,/= WARNINGS =/p' "$work/out"
    }
    sed -n '/= SUMMARY =/,$p' "$work/out"
}

SCHEMATHESIS_HOOKS=$PWD/crates/weir-server/tests/schemathesis_hooks.py \
    check platform-admin "$token" -H "X-Tenant-Id: $tenant" --phases examples,coverage,fuzzing,stateful --max-examples "$examples"
# Without stateful, in which an admin would end its own token. Who may do nothing but read is refused nearly everywhere, which is right.
for role in $roles; do
    check "$role" "${tokens[$role]}" --phases examples,coverage,fuzzing --max-examples 10 --warnings off
done
curl --fail --silent --show-error "$base/readyz" >/dev/null
exit "$failed"
