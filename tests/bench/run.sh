#!/usr/bin/env bash
# The benchmarks: tests/bench/run.sh [build] [starts] [api] [memory]; all of them without arguments. All but `build`, which times
# a release build into an empty folder, measure an optimised build.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Seconds of a cold release build, with every dependency, and of the processors' time that it takes. Sources are fetched before.
build() {
    local fresh
    fresh="$(mktemp -d)"
    # shellcheck disable=SC2064
    trap "rm -rf '$fresh'" EXIT
    cargo fetch --locked --quiet
    local TIMEFORMAT='build: %0R s, %0U s of processor time by programs and %0S s by the system'
    time CARGO_TARGET_DIR="$fresh" cargo build --release --locked --quiet -p berth
    rm -rf "$fresh"
    trap - EXIT
    echo "machine: $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
}

measured=()
[ "$#" -gt 0 ] || set -- build starts api memory
for word in "$@"; do
    case "$word" in
        build) build ;;
        starts | api | memory) measured+=("$word") ;;
        *) echo "there is no benchmark '$word'; there are: build starts api memory" >&2; exit 2 ;;
    esac
done
[ "${#measured[@]}" -gt 0 ] || exit 0

target="$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"
venv="$target/python-bench"
[ -x "$venv/bin/python" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check boto3; }
cargo build --release --locked -p berth -p berth-tests
BERTH_BINARY="$target/release/berth" exec "$venv/bin/python" tests/bench/bench.py "${measured[@]}"
