"""What is on this machine that containers, networks and `berth` itself can leave behind."""

import os
import pathlib
import subprocess
import time

import berth


def lines(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def processes():
    """Processes of containerd, of the Berth under test and of containers, as far as they are in this network namespace or children of
    one that is. Programs are told by their path: what others pass on their command lines may name anything."""
    here, found, ours = os.readlink("/proc/self/ns/net"), {}, os.path.realpath(berth.BINARY)
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            near = [os.readlink(f"/proc/{pid}/ns/net") for pid in (entry.name, parent) if pid != "0"]
            group = (entry / "cgroup").read_text()
            program = os.readlink(entry / "exe").removesuffix(" (deleted)")
        except OSError:
            continue
        if here in near and (program == ours or os.path.basename(program).startswith("containerd") or "/berth/" in group):
            found[entry.name] = command
    return {f"{pid} {command}" for pid, command in found.items()}


def control_group_roots():
    """Berth's control group in each hierarchy, where it exists; all hosts of a machine share them."""
    root = pathlib.Path("/sys/fs/cgroup")
    return [group for group in (root / "berth", *root.glob("*/berth")) if group.is_dir() and not group.parent.is_symlink()]


def control_groups(tasks=()):
    """Control groups of the tasks with these ids."""
    return {str(root / task) for root in control_group_roots() for task in tasks if (root / task).exists()}


def idle_control_groups():
    """Berth's control groups without a process in them or below: nobody uses them any more."""
    found = set()
    for root in control_group_roots():
        for group, _, _ in os.walk(root):
            try:
                files = [pathlib.Path(below, "cgroup.procs").read_text() for below, _, _ in os.walk(group)]
            except OSError:
                continue  # it went, or one below it did
            if not any(files):
                found.add(group)
    return found


def remove_control_groups(tasks, deadline=10.0):
    """Removes the groups of tasks whose processes were ended, and the common one if no other host has tasks."""
    end = time.monotonic() + deadline
    for root in control_group_roots():
        for task in tasks:
            for group, _, _ in os.walk(root / task, topdown=False):
                while os.path.isdir(group):
                    try:
                        os.rmdir(group)
                    except OSError:
                        # The last process may take a moment to be gone.
                        if time.monotonic() > end:
                            raise
                        time.sleep(0.05)
        try:
            root.rmdir()
        except OSError:
            pass  # in use


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
        "idle control group": idle_control_groups(),
        "file": files(),
    }


def more_than(before, tasks=()):
    """What is there now and was not before."""
    now = snapshot(tasks)
    return sorted(f"{kind}: {item}" for kind in now for item in now[kind] - before[kind])


def left_behind(before, tasks=(), deadline=10.0):
    """What is there more than before and stays: the last process of a container may take a moment to be gone."""
    end = time.monotonic() + deadline
    while (left := more_than(before, tasks)) and time.monotonic() < end:
        time.sleep(0.1)
    return left
