"""What is on this machine that containers, networks and `berth` itself can leave behind."""

import os
import pathlib
import subprocess


def lines(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def processes():
    """Processes of containerd, of Berth and of containers, as far as they are in this network namespace or children of one that is."""
    here, found = os.readlink("/proc/self/ns/net"), {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            near = [os.readlink(f"/proc/{pid}/ns/net") for pid in (entry.name, parent) if pid != "0"]
            group = (entry / "cgroup").read_text()
        except OSError:
            continue
        if here in near and ("containerd" in command or "/berth " in command or "/berth/" in group):
            found[entry.name] = command
    return {f"{pid} {command}" for pid, command in found.items()}


def control_groups(tasks=()):
    """Control groups of the tasks with these ids."""
    groups = set()
    for hierarchy in {pathlib.Path("/sys/fs/cgroup"), *pathlib.Path("/sys/fs/cgroup").iterdir()}:
        groups |= {str(hierarchy / "berth" / task) for task in tasks if (hierarchy / "berth" / task).exists()}
    return groups


def files():
    roots = ["/run/berth", "/run/containerd", "/run/netns", "/var/lib/berth"]
    found = {str(path) for root in roots if os.path.isdir(root) for path in [pathlib.Path(root), *pathlib.Path(root).rglob("*")]}
    # Made once on a machine, by the first network namespace and the first shim, and shared by all.
    return found - {"/run/netns", "/run/containerd", "/run/containerd/s", "/run/containerd/runc", "/run/containerd/fifo"}


def snapshot(tasks=()):
    rules = [line for line in lines("iptables-save") if line.startswith("-A") or (line.startswith(":") and " - " in line)]
    return {
        "interface": {line.split(": ")[1].split("@")[0] for line in lines("ip", "-o", "link")},
        "address": {" ".join(line.split()[1:4]) for line in lines("ip", "-o", "address")},
        "route": set(lines("ip", "route")),
        "rule": {line.split(" [")[0] for line in rules},
        # `ip netns` makes its directory a mount, once on a machine.
        "mount": {line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if " /run/netns " not in line},
        "process": processes(),
        "control group": control_groups(tasks),
        "file": files(),
    }


def more_than(before, tasks=()):
    """What is there now and was not before."""
    now = snapshot(tasks)
    return sorted(f"{kind}: {item}" for kind in now for item in now[kind] - before[kind])
