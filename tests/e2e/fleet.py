"""A cluster on machines of its own: controllers, and hosts with real containers, all of whom joined with tokens."""

import contextlib

import berth
import containerd
from members import Group
from netns import Network

CLUSTER = "shop"
SERVICE = "steady"


class Host:
    """A machine with a containerd and an agent, which joins through a controller."""

    def __init__(self, machine, directory, through, image, zone, token=None, arguments=(), **variables):
        self.variables = variables
        self.name, self.machine, self.directory = machine.name, machine, directory
        self.containerd = containerd.Containerd(directory / f"{self.name}-containerd", machine.prefix)
        self.agent = None
        self.arguments = [
            "agent", "--cluster", CLUSTER, "--data-dir", directory / self.name, "--host-name", self.name, "--zone", zone,
            "--containerd", self.containerd.socket, "--containerd-namespace", machine.namespace, *arguments,
        ]
        try:
            self.containerd.import_image(image, machine.namespace)
            self.start("--join", token or through.token(role="agent"), "--peer", through.address)
        except BaseException:
            self.stop()
            raise

    def start(self, *arguments):
        log = self.directory / f"{self.name}.log"
        self.agent = berth.Process([*self.arguments, *arguments], log, prefix=self.machine.prefix, **self.variables)

    def restart(self, **variables):
        """Starts the agent again, with other variables if there are any."""
        self.agent.stop()
        self.variables = variables or self.variables
        self.start()

    def running(self):
        """Ids of the containers whose processes run here, whatever the controllers know."""
        return self.containerd.running(self.machine.namespace)

    def stop(self):
        if self.agent:
            self.agent.kill()
        if self.containerd.child.poll() is not None:
            self.containerd.start()
        self.containerd.remove_containers(self.machine.namespace)
        self.containerd.stop()


class Fleet:
    """All of them. Whoever uses it leaves the `with` block of `on_machines` at its end."""

    def __init__(self, network, directory):
        self.network, self.directory = network, directory
        self.hosts = []
        self.group = None

    @property
    def ecs(self):
        """A client of a controller that runs, for what has to succeed in the end."""
        return self.group.running()[0].client(retries=8)

    def add_host(self, image, zone, **more):
        machine = self.network.machine(f"host-{len(self.hosts) + 1}")
        self.hosts.append(Host(machine, self.directory, self.group.running()[0], image, zone, **more))

    def connected(self):
        return [found for found in berth.instances_of(self.ecs, CLUSTER) if found["agentConnected"]]

    def wait_for_hosts(self, count=None):
        count = len(self.hosts) if count is None else count
        berth.wait_until(lambda: len(self.connected()) == count, f"{count} hosts are connected", 60)

    def serve(self, count, name=SERVICE):
        """A service of containers that only wait."""
        app = {"name": "app", "image": "berth-sample:latest", "memory": 16, "command": ["sleep", "100000"], "stopTimeout": 2}
        self.ecs.register_task_definition(family=name, networkMode="host", containerDefinitions=[app])
        self.ecs.create_service(
            cluster=CLUSTER, serviceName=name, taskDefinition=name, desiredCount=count,
            placementStrategy=[{"type": "spread", "field": "instanceId"}],
        )
        berth.wait_stable(self.ecs, CLUSTER, name)

    def pids(self):
        return containerd.pids(self.ecs, CLUSTER)

    def stop(self):
        with contextlib.ExitStack() as all_of_them:
            for host in self.hosts:
                all_of_them.callback(host.stop)
            if self.group:
                all_of_them.callback(self.group.stop)


@contextlib.contextmanager
def on_machines(directory, image, controllers, hosts):
    """A fleet with a cluster, each host in a zone of its own."""
    with Network() as network:
        fleet = Fleet(network, directory)
        try:
            fleet.group = Group(directory, controllers, network.machine)
            fleet.ecs.create_cluster(clusterName=CLUSTER)
            for number in range(hosts):
                fleet.add_host(image, f"zone-{number + 1}")
            fleet.wait_for_hosts()
            yield fleet
        finally:
            network.heal()
            fleet.stop()
