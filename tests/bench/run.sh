#!/usr/bin/env bash
# The benchmarks, on an optimised build: tests/bench/run.sh [starts] [api] [memory]; all of them without arguments.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"
venv="$target/python-bench"
[ -x "$venv/bin/python" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check boto3; }
cargo build --release --locked -p berth -p berth-tests
BERTH_BINARY="$target/release/berth" exec "$venv/bin/python" tests/bench/bench.py "$@"
