"""Controllers as members of one cluster, each a process of its own on this machine."""

import json
import pathlib
import subprocess

import berth


class Member(berth.Process):
    """`berth controller` as a member of a cluster. Its ports stay the same when it is started again."""

    def __init__(self, directory, name, *arguments, ports=None, **variables):
        self.name = name
        self.directory = pathlib.Path(directory)
        self.data_dir = self.directory / name
        self.ports = ports or tuple(berth.free_port() for _ in range(3))
        self.variables = variables
        super().__init__(
            [
                "controller", "--data-dir", self.data_dir, "--name", name, "--listen", f"127.0.0.1:{self.ports[0]}",
                "--cluster-listen", f"127.0.0.1:{self.ports[1]}", "--agent-listen", f"127.0.0.1:{self.ports[2]}", *arguments,
            ],
            self.directory / f"{name}.log",
            RUST_BACKTRACE="1",
            **variables,
        )
        self.endpoint = f"http://127.0.0.1:{self.ports[0]}"
        self.address = f"127.0.0.1:{self.ports[1]}"
        self.agent_endpoint = f"http://127.0.0.1:{self.ports[2]}"

    def ready(self):
        self.wait_for(r"(?m)^Ready")
        return self

    @property
    def id(self):
        return self.wait_for(r"(?m)^Member: (\d+)$").group(1)

    def again(self, *arguments):
        """The same member, started again."""
        return Member(self.directory, self.name, *arguments, ports=self.ports, **self.variables)

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
    """A cluster of controllers."""

    def __init__(self, directory, count=3):
        self.directory = directory
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
        member = Member(self.directory, f"controller-{self.count}", *arguments)
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

    def restart(self, member):
        """Starts a member again, once it has ended."""
        member.stop()
        again = member.again()
        self.members[self.members.index(member)] = again
        return again.ready()

    def stop(self):
        for member in self.running():
            member.kill()
