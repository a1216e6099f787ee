"""Three members of Berth against three of etcd, in turn in one run, on loopback and this machine's disk.

    tests/bench/run.sh [members] [failover] [elections]

Both sync what they acknowledge, speak TLS with each other and plain text with clients, and are written to by the same client
(`tests/bench/members`) with the same values.
"""

import argparse
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import berth  # noqa: E402
import members  # noqa: E402

BINARIES = pathlib.Path(berth.BINARY).parent
BENCH = BINARIES / "examples" / "members-bench"
ETCD = os.environ.get("BERTH_BENCH_ETCD", "etcd")
MEMBERS = 3
ROUNDS = int(os.environ.get("BERTH_BENCH_ROUNDS", "3"))
LOAD_SECONDS = 8
KILLS = int(os.environ.get("BERTH_BENCH_KILLS", "50"))
# Kills of one group before it is the other's turn.
KILLS_IN_A_ROW = 10
WRITES_PER_SECOND = 500
ELECTION_MINUTES = float(os.environ.get("BERTH_BENCH_MINUTES", "10"))
SETTLE_SECONDS = 60


def bench(*arguments, timeout=120):
    """What a command of the program that measures prints."""
    result = subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False)
    assert result.returncode == 0, f"{arguments}: {result.stderr}"
    return result.stdout.strip()


class Group:
    """Three members, each a process of its own that can be killed and started again."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True)
        self.ports = [(berth.free_port(), berth.free_port()) for _ in range(MEMBERS)]
        self.endpoints = [f"127.0.0.1:{client}" for client, _ in self.ports]
        self.children = [None] * MEMBERS

    def __enter__(self):
        try:
            self.found()
            self.settle()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, number):
        with (self.directory / f"{number}.log").open("ab") as log:
            self.children[number] = subprocess.Popen(
                self.command(number), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, "RUST_LOG": "warn"}
            )

    def settle(self):
        """Waits until all members agree and none is behind; returns which one leads, and the term."""
        leader, term = bench("settled", SETTLE_SECONDS, *self.endpoints).split()
        return int(leader), int(term)

    def stop(self):
        for child in self.children:
            if child is not None and child.poll() is None:
                child.send_signal(signal.SIGKILL)
                child.wait()

    def load(self, clients, seconds, endpoints):
        """Writes a second, and milliseconds that half of them took at most."""
        printed = bench("load", clients, seconds, *endpoints, timeout=seconds + 120)
        figures = dict(pair.split("=") for pair in printed.split())
        return float(figures["per_second"]), float(figures["p50_ms"])

    def kill_leader(self):
        """Kills the leader under load, and starts it again; returns the milliseconds until a write was acknowledged."""
        leader, _ = self.settle()
        gap = float(bench("failover", WRITES_PER_SECOND, self.children[leader].pid, leader, *self.endpoints))
        self.children[leader].wait()
        self.start(leader)
        return gap


class Berth(Group):
    name = "Berth"

    def command(self, number):
        client, cluster = self.ports[number]
        return [BENCH, "member", self.directory, str(number + 1), f"127.0.0.1:{client}", f"127.0.0.1:{cluster}", f"127.0.0.1:{self.ports[0][1]}"]

    def found(self):
        self.start(0)
        berth.wait_until(lambda: "Ready" in (self.directory / "0.log").read_text(), "the first member is ready", SETTLE_SECONDS)
        for number in range(1, MEMBERS):
            self.start(number)


class Etcd(Group):
    name = "etcd"

    def command(self, number):
        client, peer = (f"127.0.0.1:{port}" for port in self.ports[number])
        cluster = ",".join(f"member-{number}=https://127.0.0.1:{peer}" for number, (_, peer) in enumerate(self.ports))
        return [
            ETCD, "--name", f"member-{number}", "--data-dir", self.directory / f"member-{number}", "--logger", "zap", "--log-level", "error",
            "--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}",
            "--listen-peer-urls", f"https://{peer}", "--initial-advertise-peer-urls", f"https://{peer}", "--peer-auto-tls",
            "--initial-cluster", cluster, "--initial-cluster-state", "new",
        ]

    def found(self):
        for number in range(MEMBERS):
            self.start(number)


LOADS = [
    ("256 clients over all members", 256, "all"),
    ("256 clients of the leader", 256, "leader"),
    ("1 client of the leader", 1, "leader"),
    ("1 client of another member", 1, "other"),
]


def measure_members(directory):
    """Writes a second and latencies of both, in turn."""
    figures = {}
    for number in range(ROUNDS):
        for kind in (Etcd, Berth):
            with kind(directory / f"{kind.name}-{number}") as group:
                for what, clients, where in LOADS:
                    leader, _ = group.settle()
                    others = [endpoint for endpoint in group.endpoints if endpoint != group.endpoints[leader]]
                    endpoints = {"all": group.endpoints, "leader": [group.endpoints[leader]], "other": others[:1]}[where]
                    found = group.load(clients, LOAD_SECONDS if clients > 1 else LOAD_SECONDS // 2, endpoints)
                    figures.setdefault((what, kind.name), []).append(found)
                    print(f"members: round {number + 1}: {kind.name}: {what}: {found[0]:.0f}/s, p50 {found[1]:.2f} ms", flush=True)
    for what, clients, where in LOADS:
        (etcd_rate, etcd_p50), (rate, p50) = (
            [statistics.median(column) for column in zip(*figures[what, kind.name])] for kind in (Etcd, Berth)
        )
        promised = {("all", 256): " (promised: at least 1.25)", ("leader", 1): " (promised: p50 at most 0.80)"}.get((where, clients), "")
        print(
            f"members: {what}: medians of {ROUNDS}: Berth {rate:.0f}/s, p50 {p50:.2f} ms; etcd {etcd_rate:.0f}/s, p50 {etcd_p50:.2f} ms;"
            f" ratios {rate / etcd_rate:.2f} and {p50 / etcd_p50:.2f}{promised}",
            flush=True,
        )


def measure_failover(directory):
    """Time without an acknowledged write when the leader is killed."""
    gaps = {kind: [] for kind in (Etcd, Berth)}
    with Etcd(directory / "etcd") as etcd, Berth(directory / "berth") as ours:
        while any(len(found) < KILLS for found in gaps.values()):
            for group in (etcd, ours):
                found = gaps[type(group)]
                while len(found) < KILLS:
                    found.append(group.kill_leader())
                    if len(found) % KILLS_IN_A_ROW == 0:
                        break
                print(f"failover: {group.name}: after {len(found)} kills: {' '.join(f'{gap:.0f}' for gap in found[-KILLS_IN_A_ROW:])} ms", flush=True)
    for kind, found in gaps.items():
        found.sort()
        print(
            f"failover: {kind.name}: {len(found)} kills: median {statistics.median(found):.0f} ms,"
            f" p99 {found[(len(found) * 99 + 99) // 100 - 1]:.0f} ms, longest {found[-1]:.0f} ms",
            flush=True,
        )
    ratio = statistics.median(gaps[Berth]) / statistics.median(gaps[Etcd])
    print(f"failover: ratio of the medians {ratio:.2f} (promised: at most 0.50, and p99 at most 1200 ms)", flush=True)


def measure_elections(directory):
    """Whether a leader under full load stays one."""
    with Berth(directory / "calm") as group:
        before = group.settle()
        rate, p50 = group.load(256, round(ELECTION_MINUTES * 60), group.endpoints)
        after = group.settle()
        print(
            f"elections: {ELECTION_MINUTES:g} minutes of 256 clients: {rate:.0f}/s, p50 {p50:.2f} ms; leader {before[0]} in term {before[1]}"
            f" before, {after[0]} in term {after[1]} afterwards: {after[1] - before[1]} elections (promised: 0)",
            flush=True,
        )


def measure_api(directory):
    """RegisterTaskDefinition over HTTP, signed, to three controllers."""
    directory.mkdir()
    group = members.Group(directory, MEMBERS)
    try:
        leader = group.leader()
        others = [member for member in group.members if member is not leader]
        body = '{"family": "load-{n}", "containerDefinitions": [{"name": "a", "image": "a", "memory": 8}]}'
        for what, connections, asked in [
            ("256 clients over all members", 256, group.members),
            ("1 client of the leader", 1, [leader]),
            ("1 client of another member", 1, others[:1]),
        ]:
            load = [BINARIES / "api-load", "RegisterTaskDefinition", body, str(connections), str(LOAD_SECONDS), *(m.endpoint for m in asked)]
            result = subprocess.run(load, capture_output=True, text=True, timeout=120, env=berth.environment(leader.endpoint), check=False)
            assert result.returncode == 0, result.stderr
            print(f"members: {what}: {result.stdout.strip()}", flush=True)
    finally:
        group.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="+", choices=["members", "failover", "elections"])
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        if "members" in what:
            measure_members(directory)
            measure_api(directory / "api")
        if "failover" in what:
            measure_failover(directory)
        if "elections" in what:
            measure_elections(directory)
    print(f"machine: {os.cpu_count()} cores, {os.uname().release}", flush=True)


if __name__ == "__main__":
    main()
