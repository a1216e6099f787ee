#!/usr/bin/env bash
# Builds the Debian package and prints its path.
#
#   deploy/deb.sh              builds the program first
#   deploy/deb.sh --no-build   takes the program that `cargo build --release` has made
set -euo pipefail
cd "$(dirname "$0")/.."
readonly target="$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"

cargo deb --version >/dev/null 2>&1 || cargo install cargo-deb --locked --quiet --target-dir "$target/cargo-deb"
[ "${1:-}" = --no-build ] || cargo build --release --locked -p berth
cargo deb --package berth --no-build --quiet --output "$target/debian/" >&2
ls -t "$target"/debian/berth_*.deb | head -n 1
