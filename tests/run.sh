#!/usr/bin/env bash
# Every check and every test, with the time that each stage took. Installs what it needs.
#
#   tests/run.sh                 everything
#   tests/run.sh STAGE...        some stages: format lint dependencies generated unit release simulation package earlier e2e
#
# Stops at the first stage that fails. Containers need root; without it, the tests that start real ones fail, and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

# The models that the shapes are generated from, and the clients that the tests speak through.
readonly BOTOCORE=1.44.5
# How many files of tests/e2e run at a time.
readonly WORKERS=4
target="$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"
readonly target
readonly venv="$target/python-$BOTOCORE"
readonly stages=(format lint dependencies generated unit release simulation package earlier e2e)
times=()

# Debian's packages that are not there yet.
install_packages() {
    local missing=() package
    for package in containerd runc containernetworking-plugins busybox-static iptables nftables openssl protobuf-compiler curl make python3-venv systemd chromium fonts-dejavu-core; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        [ "$(id -u)" = 0 ] || { echo "these packages are missing, and installing them needs root: ${missing[*]}" >&2; return 1; }
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
    fi
}

# A Python with the AWS clients, made once for what is required.
install_clients() {
    if ! cmp -s tests/e2e/requirements.txt "$venv/requirements.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check -r tests/e2e/requirements.txt "botocore==$BOTOCORE"
        cp tests/e2e/requirements.txt "$venv"
    fi
}

# Debian's registry, unpacked and not installed: the package would start a service that is open to the network.
install_registry() {
    if [ ! -x "$target/docker-registry/usr/bin/docker-registry" ]; then
        local download
        download="$(mktemp -d)"
        ( cd "$download" && { apt-get download -qq docker-registry || { apt-get update -qq && apt-get download -qq docker-registry; }; } )
        dpkg -x "$download"/docker-registry_*.deb "$target/docker-registry"
        rm -rf "$download"
    fi
}

stage_format() { cargo fmt --all --check; }

stage_lint() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

# Advisories are left to `cargo deny check advisories`, which fetches its database from the network. The sources of dependencies on other
# systems are looked at too, and building here does not fetch them.
stage_dependencies() {
    cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked --quiet --target-dir "$target/cargo-deny"
    cargo fetch --locked --quiet
    cargo deny --offline check licenses bans sources
}

stage_generated() {
    install_clients
    local models
    models="$("$venv/bin/python" -c 'import botocore, os; print(os.path.join(os.path.dirname(botocore.__file__), "data"))')"
    cargo run --quiet --locked -p berth-aws-generate -- --models "$models" --check
}

stage_unit() {
    install_registry
    PATH="$target/docker-registry/usr/bin:$PATH" cargo test --workspace --locked
}

# The binary, and the programs with which the tests and benchmarks measure it.
stage_release() { cargo build --release --locked -p berth -p berth-tests; }

# A simulated cluster under faults: first with mistakes planted, each of which has to be found; then without, as many runs as there is time for.
stage_simulation() {
    "$target/release/berth" sim bugs
    "$target/release/berth" sim faults --seed 1 --seeds 2000 --within 100
    # Placement does on the openb trace what others published of it. The trace is not part of this project.
    if [[ -n "${BERTH_TRACES:-}" ]]; then
        "$target/release/berth" sim published --hosts "$BERTH_TRACES/openb_node_list_gpu_node.csv" \
            --trace "$BERTH_TRACES/openb_pod_list_default.csv"
    fi
}

stage_package() { deploy/deb.sh --no-build; }

# The commit whose build upgrades are tested from: the first word of a file that also says why.
earlier_commit() { grep -v '^#' tests/e2e/earlier.txt | head -n 1; }

earlier_binary() { echo "$target/earlier/$(earlier_commit)/berth"; }

# The binary of an earlier format, built once for each commit that is named. Aside, from a copy of the dependencies that the release has, since crates of
# the same name would take each other's place. What is Berth's own is not optimised, which is quicker to build and quick enough.
stage_earlier() {
    local commit binary aside crate
    commit="$(earlier_commit)"
    binary="$(earlier_binary)"
    aside="$target/earlier/build"
    if [ -x "$binary" ]; then
        echo "$binary is there already"
        return
    fi
    if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
        echo "WARNING: this clone has no commit $commit: UPGRADES FROM AN EARLIER FORMAT ARE NOT TESTED (git fetch --unshallow brings it)" >&2
        return
    fi
    rm -rf "$aside"
    mkdir -p "$aside/source" "$aside/target/release" "$(dirname "$binary")"
    git archive "$commit" | tar -x -C "$aside/source"
    if [ -d "$target/release/deps" ]; then
        ( cd "$target/release" && tar -c --exclude='*berth*' .fingerprint build deps | tar -x -C "$aside/target/release" )
    fi
    local cheap=()
    for crate in "$aside"/source/*/Cargo.toml; do
        crate="$(sed -n 's/^name = "\(.*\)"/\1/p' "$crate" | head -n 1)"
        cheap+=(--config "profile.release.package.$crate.opt-level=0")
    done
    ( cd "$aside/source" && CARGO_TARGET_DIR="$aside/target" cargo build --release --locked --quiet -p berth "${cheap[@]}" )
    mv "$aside/target/release/berth" "$binary"
    rm -rf "$aside"
    "$binary" --version
}

stage_e2e() {
    install_packages
    install_clients
    install_registry
    local earlier
    earlier="$(earlier_binary)"
    [ -x "$earlier" ] || echo "WARNING: there is no $earlier (tests/run.sh earlier builds it): UPGRADES ARE TESTED FROM THIS BUILD ITSELF" >&2
    [ -x "$earlier" ] && export BERTH_EARLIER_BINARY="${BERTH_EARLIER_BINARY:-$earlier}"
    # Most of the time tests wait: for containers, for time-outs. So files run side by side, each worker as if on a machine of its own; which needs root.
    local workers=()
    [ "$(id -u)" != 0 ] || workers=(--dist loadfile --tx "$WORKERS*popen//python=$PWD/tests/e2e/apart.sh $venv/bin/python")
    BERTH_BINARY="$target/release/berth" PATH="$venv/bin:$target/docker-registry/usr/bin:$PATH" \
        "$venv/bin/pytest" -q --durations=10 "${workers[@]}" tests/e2e
}

run() {
    local name="$1" start=$SECONDS
    printf '\n== %s\n' "$name"
    # In a subshell of its own whose outcome is looked at afterwards: where a command's failure is handled, `set -e` does not hold inside it.
    set +e
    ( set -e; "stage_$name" )
    local outcome=$?
    set -e
    [ "$outcome" = 0 ] || { printf '\n== %s FAILED after %d s\n' "$name" "$((SECONDS - start))"; exit 1; }
    times+=("$(printf '%-14s %4d s' "$name" "$((SECONDS - start))")")
}

install_packages
for name in "${@:-${stages[@]}}"; do
    [[ " ${stages[*]} " == *" $name "* ]] || { echo "there is no stage '$name'; there are: ${stages[*]}" >&2; exit 2; }
    run "$name"
done
printf '\n== times\n'
printf '%s\n' "${times[@]}" "$(printf '%-14s %4d s' total "$SECONDS")"
