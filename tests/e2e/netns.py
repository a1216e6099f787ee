"""Several machines on this one: a network namespace each, one bridge between them, and what goes wrong between machines.

A program is put on a machine by `Machine.prefix`. The test itself is one more machine on the bridge, and no fault touches its way to the others, so that
it sees both sides of a partition. The API of a controller, which speaks plain HTTP on loopback alone, is reached at `Machine.address` and `API_PORT`.
"""

import ipaddress
import os
import subprocess
import sys
import uuid

import berth

API_PORT = 7480
CLUSTER_PORT = 7481

# One of these is taken that nothing on this machine uses.
NETWORKS = [ipaddress.ip_network(f"10.{second}.{third}.0/24") for second in range(201, 251) for third in range(256)]

# What comes in is dropped before anything else sees it; and what came for the API goes on to loopback.
RULES = """
table ip machine {{
    chain faults {{ type filter hook prerouting priority raw; }}
    chain api {{ type nat hook prerouting priority dstnat; ip daddr {address} tcp dport {port} dnat to 127.0.0.1:{port}; }}
}}
"""


def ip(*words):
    result = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"ip {' '.join(map(str, words))}: {result.stderr}"
    return result.stdout


class Machine:
    """A network namespace with one address."""

    def __init__(self, network, name, address):
        self.network, self.name, self.address = network, name, str(address)
        self.namespace = f"{network.tag}-{name}"
        inside, self.link = "eth0", f"{network.tag}v{self.address.rsplit('.')[-1]}"
        ip("netns", "add", self.namespace)
        # Without the mounts of `ip netns exec`: what an agent mounts is to be seen by containerd.
        self.prefix = ["nsenter", f"--net=/run/netns/{self.namespace}", "--"]
        ip("link", "add", self.link, "type", "veth", "peer", "name", inside, "netns", self.namespace)
        ip("link", "set", self.link, "master", network.bridge, "up")
        ip("-n", self.namespace, "address", "add", f"{self.address}/{network.addresses.prefixlen}", "dev", inside)
        for link in ("lo", inside):
            ip("-n", self.namespace, "link", "set", link, "up")
        self.run("sysctl", "-qw", f"net.ipv4.conf.{inside}.route_localnet=1")
        self.run("nft", "-f", "-", text=RULES.format(address=self.address, port=API_PORT))

    def run(self, *words, text=""):
        result = subprocess.run([*self.prefix, *map(str, words)], input=text, capture_output=True, text=True, check=False, timeout=30)
        assert result.returncode == 0, f"{words} on {self.name}: {result.stderr}"
        return result.stdout

    def drop_from(self, other, of_hundred=100):
        """Packets from another machine are lost from now on: all, or so many of a hundred, at random."""
        by_chance = f"numgen random mod 100 < {of_hundred}" if of_hundred < 100 else ""
        self.run("nft", f"add rule ip machine faults ip saddr {other.address} {by_chance} drop")

    def heal(self):
        self.run("nft", "flush chain ip machine faults")

    def processes(self):
        return [int(pid) for pid in ip("netns", "pids", self.namespace).split()]

    def close(self):
        # A connection that nobody answered any more may keep the namespace for a while, but not its link.
        ip("link", "delete", self.link)
        ip("netns", "delete", self.namespace)


class Network:
    """The bridge and the machines on it; all of it is gone when the block is left."""

    def __init__(self):
        if os.geteuid() != 0:
            raise PermissionError("network namespaces need root")
        self.tag = f"e{uuid.uuid4().hex[:6]}"
        self.bridge = f"{self.tag}br"
        used = [ipaddress.ip_network(word) for word in ip("route").split() if "/" in word]
        self.addresses = next(network for network in NETWORKS if not any(network.overlaps(other) for other in used))
        self._free = self.addresses.hosts()
        self.machines = []

    def __enter__(self):
        ip("link", "add", self.bridge, "type", "bridge")
        try:
            ip("address", "add", f"{next(self._free)}/{self.addresses.prefixlen}", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        # What is still being unwound may not hide what went wrong before.
        left = {machine.name: machine.processes() for machine in self.machines if machine.processes()}
        self.close()
        assert not left or sys.exc_info()[0], f"programs still run on the machines: {left}"

    def close(self):
        for machine in self.machines:
            machine.close()
        self.machines = []
        ip("link", "delete", self.bridge)

    def machine(self, name):
        machine = Machine(self, name, next(self._free))
        self.machines.append(machine)
        return machine

    def part(self, these, from_those):
        """From now on nothing goes between these machines and those."""
        for one in these:
            for other in from_those:
                one.drop_from(other)
                other.drop_from(one)

    def heal(self):
        for machine in self.machines:
            machine.heal()


