#!/usr/bin/env bash
# The benchmarks: tests/bench/run.sh [build] [starts] [api] [memory] [members] [failover] [elections] [scale] [services] [placement] [reconcile]; all without arguments. All
# but `build`, which times a release build into an empty folder, measure an optimised build. `members` and `failover` measure three
# controllers beside three of Debian's etcd, which is unpacked into the build's folder; the leader is killed BERTH_BENCH_KILLS times, 50
# unless it says otherwise. `elections` takes BERTH_BENCH_MINUTES, 10 unless it says otherwise. `scale` measures ten thousand hosts,
# `services` what clients wait for while many of them create a thousand services, `placement` where tasks go on as many, and `reconcile` what it takes to decide what has to change there.
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

# Debian's etcd, without installing it: an installed one runs by itself.
unpack_etcd() {
    local folder="$target/etcd"
    if [ ! -x "$folder/usr/bin/etcd" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        (
            cd "$folder"
            apt-get download -qq etcd-server || { apt-get update -qq && apt-get download -qq etcd-server; }
            dpkg-deb -x etcd-server_*.deb .
        )
    fi
    export BERTH_BENCH_ETCD="$folder/usr/bin/etcd"
    "$BERTH_BENCH_ETCD" --version | head -n 1
}

measured=()
groups=()
scale=()
[ "$#" -gt 0 ] || set -- build starts api memory members failover elections scale services placement reconcile
for word in "$@"; do
    case "$word" in
        build) build ;;
        placement | reconcile) cargo run --release --locked --quiet -p berth-core --example "$word-bench" ;;
        starts | api | memory) measured+=("$word") ;;
        members | failover | elections) groups+=("$word") ;;
        scale) scale+=(alone members) ;;
        services) scale+=(services) ;;
        *) echo "there is no benchmark '$word'; there are: build starts api memory members failover elections scale services placement reconcile" >&2; exit 2 ;;
    esac
done
[ "${#measured[@]}" -gt 0 ] || [ "${#groups[@]}" -gt 0 ] || [ "${#scale[@]}" -gt 0 ] || exit 0

target="$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"
venv="$target/python-bench"
[ -x "$venv/bin/python" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check boto3; }
what=(--bins)
[ "${#groups[@]}" -eq 0 ] || what+=(--example members-bench)
cargo build --release --locked -p berth -p berth-tests "${what[@]}"
export BERTH_BINARY="$target/release/berth"
if [ "${#measured[@]}" -gt 0 ]; then
    "$venv/bin/python" tests/bench/bench.py "${measured[@]}"
fi
if [ "${#groups[@]}" -gt 0 ]; then
    unpack_etcd
    "$venv/bin/python" tests/bench/members_bench.py "${groups[@]}"
fi
if [ "${#scale[@]}" -gt 0 ]; then
    "$venv/bin/python" tests/bench/scale.py "${scale[@]}"
fi
