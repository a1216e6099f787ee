"""A containerd of a test's own, and the processes of the containers that it runs."""

import pathlib
import subprocess

import berth
import machine


class Containerd:
    """containerd with everything in one folder, on this machine or, with a prefix for its command, on another."""

    def __init__(self, directory, prefix=()):
        self.root = pathlib.Path(directory)
        self.root.mkdir(parents=True, exist_ok=True)
        self.prefix = list(prefix)
        self.socket = self.root / "c.sock"
        (self.root / "config.toml").write_text(
            f'version = 2\nroot = "{self.root}/root"\nstate = "{self.root}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.socket}"\n'
        )
        self.start()

    def start(self):
        with (self.root / "log").open("ab") as log:
            command = [*self.prefix, "containerd", "--config", self.root / "config.toml"]
            self.child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            berth.wait_until(lambda: self.ctr("version", check=False).returncode == 0, "containerd answers", 60)
        except BaseException:
            self.kill()
            raise

    def ctr(self, *words, check=True):
        return subprocess.run(["ctr", "-a", self.socket, *words], capture_output=True, text=True, check=check)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self):
        self.child.terminate()
        self.child.wait(30)

    def import_image(self, archive, namespace):
        command = ["image", "import", archive, "--containerd", self.socket, "--containerd-namespace", namespace]
        subprocess.run([berth.BINARY, *map(str, command)], check=True, capture_output=True)

    def running(self, namespace):
        """Ids of the containers whose processes run."""
        listed = self.ctr("-n", namespace, "tasks", "ls").stdout.splitlines()
        return {line.split()[0] for line in listed if "RUNNING" in line}

    def remove_containers(self, namespace):
        """Ends what the agent rightly left running, since an agent that stops does not stop its tasks, and removes its control groups."""
        ids = self.ctr("-n", namespace, "containers", "ls", "-q", check=False).stdout.split()
        for identifier in ids:
            self.ctr("-n", namespace, "tasks", "rm", "-f", identifier, check=False)
            self.ctr("-n", namespace, "containers", "rm", identifier, check=False)
        # Containers are called by their task's id and their own name.
        machine.remove_control_groups({identifier.split("-")[0] for identifier in ids})
        # Where runc kept the state of the containers.
        state = pathlib.Path("/run/containerd/runc", namespace)
        if state.is_dir():
            state.rmdir()


def pids(ecs, cluster="shop"):
    """Processes of each running task."""
    return pids_of(task["taskArn"] for task in berth.running(ecs, cluster))


def pids_of(tasks):
    """Processes of each of these tasks that has any, found by the task's id in /proc/*/cgroup."""
    wanted = {arn.rsplit("/", 1)[-1]: arn for arn in tasks}
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cgroup").read_text()
            except OSError:
                continue
            for task, arn in wanted.items():
                if task in text:
                    found.setdefault(arn, set()).add(int(entry.name))
    return found
