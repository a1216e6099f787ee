"""The commands that people type: what they show of tasks, hosts and logs, and what they say when something is missing."""

import json
import os
import re
import subprocess

import pytest

import berth


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Three simulated hosts in the cluster `shop`, and task definitions that run, fail, and fit nowhere."""
    with berth.dev(tmp_path_factory.mktemp("commands"), "--runtime", "simulated", "--cluster", "shop") as process:
        ecs = berth.client(process.endpoint)
        define(ecs, "web", networkMode="bridge", portMappings=[{"containerPort": 80}])
        define(ecs, "crash", environment={"BERTH_SIM_EXIT_AFTER_MS": "100", "BERTH_SIM_EXIT_CODE": "3"})
        define(ecs, "giant", memory=10_000_000)
        yield process, ecs


def define(ecs, family, networkMode="host", memory=32, environment=None, **more):
    variables = [{"name": name, "value": value} for name, value in (environment or {}).items()]
    container = {"name": "app", "image": "busybox", "cpu": 10, "memory": memory, "environment": variables, **more}
    ecs.register_task_definition(family=family, networkMode=networkMode, containerDefinitions=[container])


class Follower:
    """A command that goes on until it is ended."""

    def __init__(self, process, directory, *arguments):
        self.out, self.err = directory / "out", directory / "err"
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BERTH_"))}
        self.child = subprocess.Popen(
            [berth.BINARY, *arguments],
            stdout=self.out.open("wb"),
            stderr=self.err.open("wb"),
            env={**variables, "XDG_RUNTIME_DIR": str(process.run_dir), "HOME": str(process.run_dir.parent)},
        )

    def wait_for(self, path, text):
        return berth.wait_until(lambda: text in path.read_text(), f"{text!r}; there is {self.out.read_text()!r} {self.err.read_text()!r}", 30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()


def delete(ecs, *services):
    for service in services:
        ecs.delete_service(cluster="shop", service=service, force=True)


def test_ps_of_a_running_service_shows_where_each_task_is_reached(shop):
    process, ecs = shop
    ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=3)
    berth.wait_stable(ecs, "shop", "web")
    listing = process.run("ps", "--service", "web").stdout.splitlines()
    assert listing[0].split() == ["TASK", "SERVICE", "DEFINITION", "STATUS", "HOST", "ZONE", "AGE", "PORTS"]
    assert all(len(line) <= 100 for line in listing), listing
    rows = [line.split() for line in listing[1:]]
    assert {row[4] for row in rows} == {"host-1", "host-2", "host-3"}
    for task, service, definition, status, _host, zone, age, ports in rows:
        assert re.fullmatch(r"[0-9a-f]{8}", task) and re.fullmatch(r"\d+s", age)
        assert (service, definition, status) == ("web", "web:1", "RUNNING") and zone.startswith("us-east-1")
        assert re.fullmatch(r"[0-9.]+:\d+->80/tcp", ports), ports
    documents = json.loads(process.run("ps", "--service", "web", "--format", "json").stdout)
    assert {document["taskId"][:8] for document in documents} == {row[0] for row in rows}
    assert all(document["ports"][0]["containerPort"] == 80 for document in documents)
    delete(ecs, "web")


def test_ps_says_why_a_service_lacks_tasks_and_why_tasks_stopped(shop):
    process, ecs = shop
    ecs.create_service(cluster="shop", serviceName="crash", taskDefinition="crash", desiredCount=1)
    ecs.create_service(cluster="shop", serviceName="giant", taskDefinition="giant", desiredCount=1)

    def look():
        result = process.run("ps")
        return result if "exit code 3" in result.stderr and "service giant" in result.stderr and "MiB" in result.stderr else None

    result = berth.wait_until(look, "reasons below the table", 30)
    assert "service crash runs 0 of 1 tasks: task " in result.stderr, result.stderr
    assert "service giant runs 0 of 1 tasks: was unable to place a task" in result.stderr, result.stderr
    # Hosts go by their names, with the beginning of their ids.
    assert re.search(r"host-\d \([0-9a-f]{8}\): needs 10000000 MiB", result.stderr), result.stderr
    stopped = [line for line in process.run("ps", "--all", "--service", "crash").stdout.splitlines() if "STOPPED" in line]
    assert stopped and all(re.search(r"\d+s ago: .*exit code 3", line) for line in stopped), stopped
    delete(ecs, "crash", "giant")


def test_logs_take_the_beginning_of_a_task_id(shop):
    process, ecs = shop
    arn = ecs.run_task(cluster="shop", taskDefinition="web")["tasks"][0]["taskArn"]
    task = arn.rsplit("/", 1)[1]
    berth.wait_until(lambda: "started" in process.run("logs", task[:12]).stdout, "a line", 30)
    unknown = process.run("logs", "0" * 16, check=False)
    assert unknown.returncode == 1
    assert "neither a service `0000000000000000` nor a task" in unknown.stderr, unknown.stderr
    ecs.stop_task(cluster="shop", task=arn)


def test_logs_of_a_service_whose_tasks_all_stopped_are_those_of_the_last(shop):
    process, ecs = shop
    ecs.create_service(cluster="shop", serviceName="over", taskDefinition="crash", desiredCount=1)
    berth.wait_until(lambda: berth.tasks_of(ecs, "shop", "STOPPED", serviceName="over"), "a stopped task", 30)
    ecs.update_service(cluster="shop", service="over", desiredCount=0)
    berth.wait_until(lambda: not berth.tasks_of(ecs, "shop", serviceName="over"), "no running task", 30)
    result = berth.wait_until(lambda: (r := process.run("logs", "over")).stdout and r, "lines", 30)
    assert "ended with exit code 3" in result.stdout, result.stdout
    assert "has no running task" in result.stderr and "exit code 3" in result.stderr, result.stderr
    delete(ecs, "over")


def test_logs_following_a_service_without_tasks_say_what_they_wait_for_and_show_new_ones(shop, tmp_path):
    process, ecs = shop
    ecs.create_service(cluster="shop", serviceName="late", taskDefinition="web", desiredCount=0)
    with Follower(process, tmp_path, "logs", "--follow", "late") as follower:
        follower.wait_for(follower.err, "its desired count is 0")
        ecs.update_service(cluster="shop", service="late", desiredCount=1)
        follower.wait_for(follower.out, "started")
        # The same words once, however often it was looked.
        assert follower.err.read_text().count("its desired count is 0") == 1
        ecs.update_service(cluster="shop", service="late", desiredCount=0)
        follower.wait_for(follower.err, "ended: Scaling activity")
    delete(ecs, "late")


def test_hosts_are_listed_drained_and_taken_back_by_name(shop):
    process, ecs = shop

    def host(name):
        documents = json.loads(process.run("hosts", "--format", "json").stdout)
        return next(document for document in documents if document["name"] == name)

    listing = process.run("hosts").stdout.splitlines()
    assert [line.split()[0] for line in listing] == ["HOST", "host-1", "host-2", "host-3"]
    assert "0/4096" in listing[1] and "connected" in listing[1], listing
    ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=3)
    berth.wait_stable(ecs, "shop", "web")
    drained = process.run("hosts", "drain", "host-2").stdout
    assert drained.startswith("host-2 is DRAINING with 1 task"), drained
    berth.wait_until(lambda: host("host-2")["runningTasks"] == 0, "host-2 is empty", 60)
    assert process.run("hosts", "activate", host("host-2")["id"][:10]).stdout == "host-2 is ACTIVE\n"
    assert host("host-2")["status"] == "ACTIVE"
    unknown = process.run("hosts", "drain", "host-1", "host-9", check=False)
    assert unknown.returncode == 1
    assert "has no host host-9; it has host-1, host-2, host-3" in unknown.stderr, unknown.stderr
    assert host("host-1")["status"] == "ACTIVE", "a mistyped name changes nothing"
    delete(ecs, "web")


def test_cluster_or_service_that_does_not_exist_is_named_with_those_that_do(shop):
    process, _ecs = shop
    cluster = process.run("ps", "--cluster", "shed", check=False)
    assert cluster.returncode == 1
    assert "there is no cluster shed" in cluster.stderr and "shop" in cluster.stderr, cluster.stderr
    service = process.run("logs", "nosuch", check=False)
    assert service.returncode == 1
    assert "cluster shop has no service nosuch" in service.stderr, service.stderr


def test_commands_find_the_cluster_by_host_name_and_by_the_environment(shop):
    process, _ecs = shop
    assert "host-1" in process.run("hosts", "--listen", f"localhost:{process.port}").stdout
    keys = json.loads(process.run("env", "--format", "json").stdout)
    # The endpoint is that of the development cluster, so its cluster is meant and not `default`.
    assert "host-1" in process.run("hosts", **keys).stdout
    wrong = process.run("hosts", check=False, **{**keys, "AWS_SECRET_ACCESS_KEY": "another"})
    assert wrong.returncode == 1 and "berth env" in wrong.stderr, wrong.stderr
    nonsense = process.run("hosts", "--listen", "7480", check=False)
    assert nonsense.returncode == 2 and "localhost:7480" in nonsense.stderr, nonsense.stderr


def test_controller_that_cannot_be_reached_is_named_with_what_to_do(tmp_path):
    endpoint = f"http://127.0.0.1:{berth.free_port()}"
    result = subprocess.run(
        [berth.BINARY, "ps"], capture_output=True, text=True, check=False, timeout=30,
        env={**berth.environment(endpoint), "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert result.returncode == 1
    assert f"no controller can be reached at {endpoint}" in result.stderr and "`berth dev`" in result.stderr, result.stderr


def test_completions_are_scripts_that_the_shell_takes():
    script = subprocess.run([berth.BINARY, "completions", "bash"], capture_output=True, text=True, check=True).stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "drain" in script


def test_image_ls_shows_which_hosts_have_an_image(containers):
    rows = json.loads(containers.dev.run("image", "ls", "--format", "json").stdout)
    shared = next(row for row in rows if row["containerdNamespace"] == "berth" and row["name"].endswith("berth-sample:latest"))
    assert shared["digest"].startswith("sha256:") and shared["sizeBytes"] > 100_000
    assert "every host (berth)" in containers.dev.run("image", "ls").stdout
