"""Controllers as members of one cluster, each a process of its own, on this machine or each on one of its own."""

import json
import pathlib
import subprocess
import threading

import botocore.exceptions

import berth
import netns


class Member(berth.Process):
    """`berth controller` as a member of a cluster. Its ports stay the same when it is started again."""

    def __init__(self, directory, name, *arguments, ports=None, machine=None, **variables):
        self.name = name
        self.directory = pathlib.Path(directory)
        self.data_dir = self.directory / name
        self.machine = machine
        self.variables = variables
        if machine:
            self.endpoint = f"http://{machine.address}:{netns.API_PORT}"
            self.address = f"{machine.address}:{netns.CLUSTER_PORT}"
            ports = ["--listen", f"127.0.0.1:{netns.API_PORT}", "--cluster-listen", self.address]
        else:
            self.ports = ports or tuple(berth.free_port() for _ in range(3))
            api, cluster, agents = (f"127.0.0.1:{port}" for port in self.ports)
            self.endpoint, self.address, self.agent_endpoint = f"http://{api}", cluster, f"http://{agents}"
            ports = ["--listen", api, "--cluster-listen", cluster, "--agent-listen", agents]
        super().__init__(
            ["controller", "--data-dir", self.data_dir, "--name", name, *ports, *arguments],
            self.directory / f"{name}.log",
            prefix=machine.prefix if machine else (),
            RUST_BACKTRACE="1",
            **variables,
        )

    def ready(self):
        self.wait_for(r"(?m)^Ready")
        return self

    @property
    def id(self):
        return self.wait_for(r"(?m)^Member: (\d+)$").group(1)

    def again(self, *arguments, ports=None, **variables):
        """The same member, started again, with other ports and variables if there are any."""
        ports = None if self.machine else ports or self.ports
        return Member(self.directory, self.name, *arguments, ports=ports, machine=self.machine, **(variables or self.variables))

    def client(self, **more):
        return berth.client(self.endpoint, **more)

    def run(self, *arguments, check=True, timeout=60):
        """Runs a command of `berth` against this member."""
        result = subprocess.run(
            [berth.BINARY, *map(str, arguments)],
            capture_output=True, text=True, timeout=timeout, check=False, env=berth.environment(self.endpoint),
        )
        assert not check or result.returncode == 0, f"{arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def token(self, *arguments, role="controller"):
        return self.run("token", "create", "--role", role, *arguments).stdout.strip()

    def members(self):
        """The members as this one lists them, by id."""
        listed = json.loads(self.run("members", "list", "--format", "json").stdout)
        return {member["memberId"]: member for member in listed}


class Group:
    """A cluster of controllers; on machines of their own, if there is a function that makes one by its name."""

    def __init__(self, directory, count=3, machine=None, **variables):
        self.directory = directory
        self.machine = machine
        self.variables = variables
        self.members = []
        self.count = 0
        try:
            self.add("--bootstrap")
            for _ in range(1, count):
                self.join()
            self.wait_for_votes(count)
        except BaseException:
            self.stop()
            raise

    def add(self, *arguments):
        self.count += 1
        name = f"controller-{self.count}"
        member = Member(self.directory, name, *arguments, machine=self.machine and self.machine(name), **self.variables)
        self.members.append(member)
        return member.ready()

    def join(self, through=0):
        through = self.members[through]
        return self.add("--join", through.token(), "--peer", through.address)

    def running(self):
        return [member for member in self.members if member.child.poll() is None]

    def wait_for_votes(self, count):
        def voters():
            return sum(member["role"] == "VOTER" for member in self.running()[0].members().values()) == count

        berth.wait_until(voters, f"{count} members vote", 60)

    def leader(self):
        """The member that leads, as the others say."""

        def look():
            for member in self.running():
                asked = member.run("members", "list", "--format", "json", check=False)
                leaders = [m["memberId"] for m in json.loads(asked.stdout or "[]") if m["leader"]]
                found = [m for m in self.running() if m.id in leaders]
                if asked.returncode == 0 and found:
                    return found[0]
            return None

        return berth.wait_until(look, "a member leads", 30)

    def followers(self):
        leader = self.leader()
        return [member for member in self.running() if member is not leader]

    def restart(self, *members, **variables):
        """Starts members again, once they have ended; what they serve with, they may have to get from each other. Returns the first."""
        started = []
        for member in members:
            member.stop()
            started.append(member.again(**variables))
            self.members[self.members.index(member)] = started[-1]
        for member in started:
            member.ready()
        return started[0]

    def stop(self):
        for member in self.running():
            member.kill()


def register(ecs, family):
    container = {"name": "app", "image": "none", "memory": 16}
    answer = ecs.register_task_definition(family=family, containerDefinitions=[container])
    return answer["taskDefinition"]["taskDefinitionArn"]


def families(ecs):
    return set(berth.pages(ecs, "list_task_definition_families", "families"))


class Writer(threading.Thread):
    """Registers families through all members in turn, and remembers those that were acknowledged."""

    def __init__(self, members):
        super().__init__()
        self.clients = [member.client(retries=0) for member in members]
        self.acknowledged = []
        self.stopping = threading.Event()

    def run(self):
        number = 0
        while not self.stopping.is_set():
            family = f"write-{number}"
            try:
                register(self.clients[number % len(self.clients)], family)
                self.acknowledged.append(family)
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                self.stopping.wait(0.05)
            number += 1

    def stop(self):
        self.stopping.set()
        self.join()
