#!/usr/bin/env bash
# From a clone to a running service: installs what is missing, builds, starts `berth dev`, and runs a service of six web servers on it.
#
#   deploy/quickstart.sh           leaves the cluster running until Ctrl-C
#   deploy/quickstart.sh --once    stops it again, and exits 0 if all went well
#
# Made for Debian 12 with Rust. As root it runs real containers; otherwise containers only pretend to run, and no page can be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

once=no
case "${1:-}" in
    --once) once=yes ;;
    "") ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

readonly CLUSTER=quickstart SERVICE=web COUNT=6 WAIT_SECONDS=180
port="${BERTH_PORT:-7480}"
scratch="$(mktemp -d)"
dev_pid=
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

finish() {
    local code=$?
    trap - EXIT INT TERM
    if [ -n "$dev_pid" ] && kill -0 "$dev_pid" 2>/dev/null; then
        kill -TERM "$dev_pid"
        wait "$dev_pid" || code=1
    fi
    if [ "$code" != 0 ] && [ -s "$scratch/dev.log" ]; then
        printf '\nThe end of what berth dev said:\n'
        tail -n 25 "$scratch/dev.log"
    fi
    rm -rf "$scratch"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "1. What is needed"
packages=(busybox-static ca-certificates curl gcc libc6-dev make protobuf-compiler python3 python3-venv)
if [ "$(id -u)" = 0 ]; then
    runtime=containerd
    packages+=(containerd containernetworking-plugins iproute2 iptables runc)
else
    runtime=simulated
    echo "Not root: containers will only pretend to run. Run as root for real ones."
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    echo "Installing ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        echo "These packages are missing; install them first: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
command -v cargo >/dev/null || { echo "Rust is missing: install it from https://rustup.rs" >&2; exit 1; }
target="$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"
venv="$target/python-awscli"
if [ ! -x "$venv/bin/aws" ]; then
    echo "Installing the AWS CLI into $venv (Debian's own ignores AWS_ENDPOINT_URL)"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check awscli
fi
export PATH="$target/release:$venv/bin:$PATH"
echo "Everything is there."

step "2. Build (several minutes the first time)"
cargo build --release --locked -p berth

step "3. Start a controller and three hosts"
touch "$scratch/dev.log"
berth dev --listen "127.0.0.1:$port" --agent-listen 127.0.0.1:0 --runtime "$runtime" --cluster "$CLUSTER" >"$scratch/dev.log" 2>&1 &
dev_pid=$!
for ((tenths = 0; tenths < 600; tenths++)); do
    grep -q '^Ready' "$scratch/dev.log" && break
    kill -0 "$dev_pid" 2>/dev/null || { echo "berth dev ended" >&2; exit 1; }
    sleep 0.1
done
grep -q '^Ready' "$scratch/dev.log" || { echo "berth dev was not ready within 60 s" >&2; exit 1; }
sed '/^$/q' "$scratch/dev.log"
eval "$(berth env --listen "127.0.0.1:$port")"
export AWS_PAGER=

if [ "$runtime" = containerd ]; then
    step "4. Make an image from Debian's busybox"
    python3 deploy/sample-image.py "$scratch/sample.tar"
    berth image import --listen "127.0.0.1:$port" "$scratch/sample.tar"
else
    step "4. No image is needed for simulated containers"
fi

step "5. A service of $COUNT tasks"
aws ecs register-task-definition --cli-input-json file://deploy/samples/web.json --query taskDefinition.taskDefinitionArn --output text
aws ecs create-service --cluster "$CLUSTER" --service-name "$SERVICE" --task-definition web --desired-count "$COUNT" \
    --query service.serviceArn --output text
end=$((SECONDS + WAIT_SECONDS))
while :; do
    running="$(aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" --query 'services[0].runningCount' --output text)"
    done_marks="$(printf '%*s' "$running" '' | tr ' ' '#')"
    printf '\r  [%-*s] %s of %s RUNNING' "$COUNT" "$done_marks" "$running" "$COUNT"
    [ "$running" -ge "$COUNT" ] && break
    if [ "$SECONDS" -ge "$end" ]; then
        printf '\nNot all tasks run after %s s. The events of the service:\n' "$WAIT_SECONDS"
        aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" --query 'services[0].events[:5].message' --output text
        exit 1
    fi
    sleep 0.5
done
printf '\n'
aws ecs wait services-stable --cluster "$CLUSTER" --services "$SERVICE"

step "6. Where the tasks are"
berth ps --listen "127.0.0.1:$port"
arns="$(aws ecs list-tasks --cluster "$CLUSTER" --query 'taskArns[]' --output text)"
# shellcheck disable=SC2086 # a list of ARNs
zones="$(aws ecs describe-tasks --cluster "$CLUSTER" --tasks $arns --query 'tasks[].availabilityZone' --output text | tr '\t' '\n' | sort | uniq -c)"
printf 'Tasks by zone:\n%s\n' "$zones"
[ "$(printf '%s\n' "$zones" | awk '$1 == 2' | wc -l)" = 3 ] || { echo "expected 2 tasks in each of 3 zones" >&2; exit 1; }

if [ "$runtime" = containerd ]; then
    step "7. A page from one of them"
    # shellcheck disable=SC2086
    binding="$(aws ecs describe-tasks --cluster "$CLUSTER" --tasks $arns --query 'tasks[0].containers[0].networkBindings[0].[bindIP,hostPort]' --output text)"
    read -r address host_port <<<"$binding"
    [ "$address" = 0.0.0.0 ] && address=127.0.0.1
    echo "curl http://$address:$host_port/"
    curl --silent --show-error --fail --max-time 10 "http://$address:$host_port/"
fi

if [ "$once" = yes ]; then
    step "Done; stopping everything again"
    exit 0
fi
step "It runs. What to try next, in another terminal"
cat <<NEXT
  export PATH="$target/release:$venv/bin:\$PATH"
  eval "\$(berth env)"
  berth ps
  berth logs -f $SERVICE
  aws ecs update-service --cluster $CLUSTER --service $SERVICE --desired-count 10
  aws ecs describe-services --cluster $CLUSTER --services $SERVICE --query 'services[0].events[:5].message'

Ctrl-C here stops everything.
NEXT
wait "$dev_pid"
dev_pid=
