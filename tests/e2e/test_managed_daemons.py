"""Managed daemons over boto3: one task on each host of a pool, before other tasks come, replaced step by step, brought back and deleted."""

import collections

import pytest
from botocore.exceptions import ClientError, WaiterError

import berth

CLUSTER = "shop"
SOON = {"Delay": 1, "MaxAttempts": 90}
BROKEN = {"name": "agent", "image": "agent:broken", "cpu": 32, "memory": 32, "environment": [{"name": "BERTH_SIM_START_ERROR", "value": "no such file"}]}


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    pools = ["--capacity-provider", "gpu", "--capacity-provider", "plain"]
    with berth.dev(tmp_path_factory.mktemp("daemons"), "--runtime", "simulated", "--hosts", 4, "--cluster", CLUSTER, *pools) as process:
        ecs = berth.client(process.endpoint)
        for pool in ["gpu", "plain"]:
            ecs.create_capacity_provider(name=pool, autoScalingGroupProvider={"autoScalingGroupArn": pool})
        ecs.put_cluster_capacity_providers(cluster=CLUSTER, capacityProviders=["gpu", "plain"], defaultCapacityProviderStrategy=[])
        app = {"name": "app", "image": "web", "cpu": 64, "memory": 64}
        ecs.register_task_definition(family="web", networkMode="host", containerDefinitions=[app])
        for image in ["agent:1", "agent:2"]:
            agent = {"name": "agent", "image": image, "cpu": 32, "memory": 32}
            ecs.register_daemon_task_definition(family="agent", containerDefinitions=[agent])
        process.ecs = ecs
        yield process


@pytest.fixture(scope="module")
def ecs(dev):
    return dev.ecs


def create(ecs, name, pools, definition="agent:1", **more):
    created = ecs.create_daemon(clusterArn=CLUSTER, daemonName=name, daemonTaskDefinitionArn=definition, capacityProviderArns=pools, **more)
    successful(ecs, created)
    return created


def successful(ecs, answer):
    ecs.get_waiter("daemon_deployment_successful").wait(daemonDeploymentArns=[answer["deploymentArn"]], WaiterConfig=SOON)


def deployment(ecs, answer):
    return ecs.describe_daemon_deployments(daemonDeploymentArns=[answer["deploymentArn"]])["daemonDeployments"][0]


def delete(ecs, created):
    deleted = ecs.delete_daemon(daemonArn=created["daemonArn"])
    assert deleted["status"] == "DELETE_IN_PROGRESS"
    successful(ecs, deleted)


def tasks_by_host(ecs, name):
    """Task definitions of a daemon's running tasks, by host."""
    hosts = collections.defaultdict(list)
    for task in berth.running(ecs, CLUSTER, daemonName=name):
        hosts[task["containerInstanceArn"]].append(berth.id_of(task["taskDefinitionArn"]))
    return dict(hosts)


def hosts_of(ecs, pool):
    return {host["containerInstanceArn"] for host in berth.instances_of(ecs, CLUSTER) if host["capacityProviderName"] == pool}


def test_daemon_has_a_task_on_each_host_of_its_pool_and_says_what_it_is(ecs):
    tags = [{"key": "team", "value": "platform"}]
    created = create(ecs, "logs", ["gpu"], tags=tags, propagateTags="DAEMON", enableECSManagedTags=True)
    ecs.get_waiter("daemon_active").wait(daemonArn=created["daemonArn"], WaiterConfig=SOON)
    gpu = hosts_of(ecs, "gpu")
    assert tasks_by_host(ecs, "logs") == {host: ["agent:1"] for host in gpu}
    daemon = ecs.describe_daemon(daemonArn=created["daemonArn"])["daemon"]
    revision = daemon["currentRevisions"][0]
    assert (revision["totalRunningCount"], revision["totalWithoutDaemonCount"]) == (len(gpu), 0)
    task = berth.running(ecs, CLUSTER, daemonName="logs")[0]
    assert (task["group"], task["capacityProviderName"]) == ("daemon:logs", "gpu")
    assert ":daemon-task-definition/agent:1" in task["taskDefinitionArn"]
    of_task = {tag["key"]: tag["value"] for tag in ecs.list_tags_for_resource(resourceArn=task["taskArn"])["tags"]}
    assert of_task == {"team": "platform", "aws:ecs:clusterName": CLUSTER, "aws:ecs:daemonName": "logs"}
    listed = ecs.list_daemons(clusterArn=CLUSTER)["daemonSummariesList"]
    assert [daemon["daemonArn"] for daemon in listed] == [created["daemonArn"]]
    assert ecs.list_services(cluster=CLUSTER)["serviceArns"] == []
    delete(ecs, created)
    with pytest.raises(ClientError, match="DaemonNotFoundException"):
        ecs.describe_daemon(daemonArn=created["daemonArn"])
    with pytest.raises(WaiterError):
        ecs.get_waiter("daemon_active").wait(daemonArn=created["daemonArn"], WaiterConfig=SOON)
    assert berth.running(ecs, CLUSTER) == []


def test_update_replaces_tasks_host_by_host_and_leaves_other_tasks_where_they_are(ecs):
    created = create(ecs, "logs", ["gpu", "plain"])
    ecs.create_service(cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=4)
    berth.wait_stable(ecs, CLUSTER, "web")
    before = {task["taskArn"] for task in berth.running(ecs, CLUSTER, serviceName="web")}
    update = ecs.update_daemon(
        daemonArn=created["daemonArn"],
        daemonTaskDefinitionArn="agent:2",
        capacityProviderArns=["gpu", "plain"],
        deploymentConfiguration={"drainPercent": 50.0},
    )
    least = len(tasks_by_host(ecs, "logs"))
    while (status := deployment(ecs, update)["status"]) not in ("SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL"):
        least = min(least, len(tasks_by_host(ecs, "logs")))
    assert status == "SUCCESSFUL"
    assert least >= 2, "two of four hosts have the daemon at any time"
    assert set(map(tuple, tasks_by_host(ecs, "logs").values())) == {("agent:2",)}
    assert {task["taskArn"] for task in berth.running(ecs, CLUSTER, serviceName="web")} == before
    summaries = ecs.list_daemon_deployments(daemonArn=created["daemonArn"])["daemonDeployments"]
    assert [summary["status"] for summary in summaries] == ["SUCCESSFUL", "SUCCESSFUL"]
    target = deployment(ecs, update)["targetDaemonRevision"]
    assert target["totalRunningInstanceCount"] == 4
    ecs.delete_service(cluster=CLUSTER, service="web", force=True)
    delete(ecs, created)


def test_other_tasks_stay_while_a_critical_daemon_is_away_for_a_moment_and_while_its_update_fails(ecs):
    created = create(ecs, "logs", ["gpu"])
    gpu = hosts_of(ecs, "gpu")
    task = berth.running(ecs, CLUSTER, daemonName="logs")[0]
    host = task["containerInstanceArn"]
    ran = ecs.start_task(cluster=CLUSTER, taskDefinition="web", containerInstances=[host])["tasks"][0]
    ecs.get_waiter("tasks_running").wait(cluster=CLUSTER, tasks=[ran["taskArn"]], WaiterConfig=SOON)
    ecs.stop_task(cluster=CLUSTER, task=task["taskArn"])
    active = lambda: {h["containerInstanceArn"] for h in berth.instances_of(ecs, CLUSTER) if h["status"] == "ACTIVE"}
    berth.wait_until(lambda: gpu <= active() and set(tasks_by_host(ecs, "logs")) == gpu, "the daemon is back", 60)
    there = ecs.list_tasks(cluster=CLUSTER, daemonName="logs", containerInstance=host)["taskArns"]
    assert len(there) == 1 and there != [task["taskArn"]]
    describe = lambda: ecs.describe_tasks(cluster=CLUSTER, tasks=[ran["taskArn"]])["tasks"][0]
    assert describe()["desiredStatus"] == "RUNNING", "nothing else is stopped for that"
    # A revision whose tasks do not start takes nothing with it either.
    ecs.register_daemon_task_definition(family="fails", containerDefinitions=[BROKEN])
    broken = ecs.update_daemon(daemonArn=created["daemonArn"], daemonTaskDefinitionArn="fails", capacityProviderArns=["gpu"])
    berth.wait_until(lambda: deployment(ecs, broken)["status"] == "ROLLBACK_SUCCESSFUL", "it is rolled back", 60)
    assert describe()["desiredStatus"] == "RUNNING", "nor for a deployment that fails"
    ecs.stop_task(cluster=CLUSTER, task=ran["taskArn"])
    delete(ecs, created)


def test_daemon_is_known_by_name_to_logs_why_not_and_wait(dev):
    ecs = dev.ecs
    created = create(ecs, "logs", ["gpu", "plain"])
    waited = dev.run("wait", "daemon:logs").stdout
    assert waited.startswith("daemon logs: stable, runs on 4 hosts"), waited
    assert len({line.split()[0] for line in dev.run("logs", "daemon:logs").stdout.splitlines()}) == 4
    why_not = dev.run("why-not", created["daemonArn"]).stdout
    assert why_not.startswith("Daemon logs wants 4 and has 4"), why_not
    assert "has a task of it already" in why_not
    for command in ["wait", "logs", "why-not"]:
        unknown = dev.run(command, "daemon:nosuch", check=False)
        assert unknown.returncode == 1 and f"cluster {CLUSTER} has no daemon nosuch" in unknown.stderr, unknown.stderr
    delete(ecs, created)


def test_critical_daemon_that_failed_for_good_is_named_with_its_cause_to_who_waits_for_it(dev):
    ecs = dev.ecs
    ecs.register_daemon_task_definition(family="fails", containerDefinitions=[BROKEN])
    bad = {"daemonTaskDefinitionArn": "fails", "capacityProviderArns": ["gpu"]}
    created = ecs.create_daemon(clusterArn=CLUSTER, daemonName="bad", **bad)
    berth.wait_until(lambda: deployment(ecs, created)["status"] == "ROLLBACK_FAILED", "it fails", 60)
    strategy = [{"capacityProvider": "gpu", "weight": 1}]
    ecs.create_service(cluster=CLUSTER, serviceName="stuck", taskDefinition="web", desiredCount=1, capacityProviderStrategy=strategy)
    of_service = dev.run("why-not", "stuck").stdout
    assert "Hosts wait in vain for daemon bad, which is critical: its deployment is FAILED" in of_service, of_service
    of_daemon = dev.run("why-not", "daemon:bad").stdout
    assert "nothing is started until UpdateDaemon begins another: ECS deployment circuit breaker: tasks failed to start." in of_daemon, of_daemon
    for said in [of_service, of_daemon]:
        assert "no such file" in said, said
    host = next(host for host in berth.instances_of(ecs, CLUSTER) if host["status"] == "REGISTERING")
    activated = dev.run("hosts", "activate", berth.id_of(host["containerInstanceArn"])).stdout
    assert "is REGISTERING: it takes no other task until each critical daemon" in activated, activated
    ecs.update_daemon(daemonArn=created["daemonArn"], **bad, critical=False)
    berth.wait_stable(ecs, CLUSTER, "stuck", 60)
    ecs.delete_service(cluster=CLUSTER, service="stuck", force=True)
    delete(ecs, created)


def test_host_drains_while_a_person_waits_and_is_told_what_keeps_it(dev):
    ecs = dev.ecs
    created = create(ecs, "logs", ["gpu", "plain"])
    # They are healthy 5 s after they start, so that it is seen that somebody waits for it.
    app = {"name": "app", "image": "web", "cpu": 64, "memory": 64, "healthCheck": {"command": ["CMD", "check"], "interval": 5, "retries": 10}}
    slow = [{"name": "BERTH_SIM_HEALTHY_AFTER_MS", "value": "3000"}]
    ecs.register_task_definition(family="checked", networkMode="host", containerDefinitions=[{**app, "environment": slow}])
    ecs.create_service(cluster=CLUSTER, serviceName="web", taskDefinition="checked", desiredCount=4)
    healthy = lambda: [task["healthStatus"] for task in berth.running(ecs, CLUSTER, serviceName="web")] == ["HEALTHY"] * 4
    berth.wait_until(healthy, "all are healthy", 60)
    host = next(host for host in berth.instances_of(ecs, CLUSTER) if host["ec2InstanceId"] == "host-2")
    ecs.start_task(cluster=CLUSTER, taskDefinition="web", containerInstances=[host["containerInstanceArn"]], group="jobs")
    drained = dev.run("hosts", "drain", "host-2", "--wait", "--timeout", "25s", check=False)
    assert drained.returncode == 3, (drained.stdout, drained.stderr)
    assert "1 of service:web: it runs until another has started in its place and is healthy" in drained.stdout, drained.stdout
    assert "host-2: 2 tasks left; 1 of daemon:logs: it is of a managed daemon" in drained.stdout
    assert "1 of jobs: it is of no service" in drained.stdout
    assert "not empty within 25 s: host-2" in drained.stderr
    forced = dev.run("hosts", "drain", "host-2", "--deadline", "0s")
    assert forced.stdout.splitlines()[-1] == "host-2: drained, no task is left"
    assert berth.tasks_of(ecs, CLUSTER, containerInstance=host["containerInstanceArn"]) == []
    dev.run("hosts", "activate", "host-2")
    ecs.delete_service(cluster=CLUSTER, service="web", force=True)
    delete(ecs, created)


DECLARED = """
kind: DaemonTaskDefinition
family: declared
containerDefinitions: [{name: agent, image: "agent:1", cpu: 32, memory: 32}]
---
kind: Daemon
daemonName: declared
daemonTaskDefinitionArn: declared
capacityProviderArns: [gpu]
tags: [{key: team, value: platform}]
"""


def test_daemon_is_declared_in_a_file_changed_by_it_and_deleted_with_it(dev, tmp_path):
    path = tmp_path / "daemon.yaml"

    def run(code, *arguments):
        result = dev.run(*arguments, "-f", str(path), check=False)
        assert result.returncode == code, (arguments, result.returncode, result.stdout, result.stderr)
        return result.stdout

    path.write_text(DECLARED)
    assert "+ daemon declared in cluster shop" in run(2, "diff")
    applied = run(2, "apply", "--wait")
    assert "daemon task definition declared: registered as declared:1" in applied, applied
    assert "daemon declared: stable, runs on 2 hosts" in applied, applied
    assert "0 to create, 0 to change, 2 as they are" in run(0, "diff")
    path.write_text(DECLARED.replace("agent:1", "agent:2").replace("platform", "web") + "critical: false\n")
    differences = run(2, "diff")
    for part in ['~ critical: true -> false', '"declared:1" -> "declared (its new revision)"', "tags[team]"]:
        assert part in differences, differences
    run(2, "apply", "--wait")
    assert set(map(tuple, tasks_by_host(dev.ecs, "declared").values())) == {("declared:2",)}
    run(0, "diff")
    path.write_text(DECLARED.replace("agent:1", "agent:2").replace("[gpu]", "[nosuch]"))
    refused = dev.run("apply", "-f", str(path), check=False)
    assert refused.returncode == 1 and "nosuch" in refused.stderr, refused.stderr
    deleted = run(2, "delete")
    assert "daemon declared in cluster shop: deleted" in deleted and "daemon task definition declared:2: deleted" in deleted
    run(0, "delete")


def test_revision_that_does_not_start_is_rolled_back_and_told(dev):
    ecs = dev.ecs
    created = create(ecs, "logs", ["gpu", "plain"])
    ecs.register_daemon_task_definition(family="broken", containerDefinitions=[BROKEN])
    update = ecs.update_daemon(
        daemonArn=created["daemonArn"], daemonTaskDefinitionArn="broken", capacityProviderArns=["gpu", "plain"], critical=False
    )
    with pytest.raises(WaiterError, match="terminal failure state"):
        successful(ecs, update)
    over = berth.wait_until(lambda: (d := deployment(ecs, update))["status"] == "ROLLBACK_SUCCESSFUL" and d, "it is back", 60)
    assert over["circuitBreaker"]["status"] == "TRIGGERED" and over["circuitBreaker"]["failureCount"] >= 3
    assert "circuit breaker" in over["rollback"]["reason"]
    source = over["sourceDaemonRevisions"][0]["arn"]
    assert over["rollback"]["rollbackTargetDaemonRevisionArn"] == source
    assert set(map(tuple, tasks_by_host(ecs, "logs").values())) == {("agent:1",)}
    revision = ecs.describe_daemon_revisions(daemonRevisionArns=[source])["daemonRevisions"][0]
    assert revision["critical"] and revision["containerImages"][0]["imageDigest"].startswith("sha256:")
    told = dev.run("events", "-o", "json", "--type", "daemon-deployment", "--type", "daemon", check=False).stdout
    assert "DAEMON_DEPLOYMENT_ROLLBACK_SUCCESSFUL" in told and "DAEMON_TASK_START_IMPAIRED" in told
    delete(ecs, created)


def test_daemon_task_definition_is_deleted_once_no_daemon_has_it(ecs):
    ecs.register_daemon_task_definition(family="short", containerDefinitions=[{"name": "a", "image": "a", "cpu": 8, "memory": 16}])
    ecs.get_waiter("daemon_task_definition_active").wait(daemonTaskDefinition="short", WaiterConfig=SOON)
    created = create(ecs, "short", ["plain"], "short:1")
    ecs.delete_daemon_task_definition(daemonTaskDefinition="short:1")
    found = ecs.describe_daemon_task_definition(daemonTaskDefinition="short:1")["daemonTaskDefinition"]
    assert found["status"] == "DELETE_IN_PROGRESS"
    with pytest.raises(ClientError, match="not ACTIVE"):
        create(ecs, "again", ["plain"], "short:1")
    delete(ecs, created)
    ecs.get_waiter("daemon_task_definition_deleted").wait(daemonTaskDefinition="short:1", WaiterConfig=SOON)


@pytest.mark.containers
def test_daemon_of_real_containers_is_there_before_a_service(tmp_path, sample_image):
    pool = ["--capacity-provider", "metal"]
    with berth.dev(tmp_path, "--runtime", "containerd", "--cluster", CLUSTER, "--hosts", 2, *pool) as process:
        process.run("image", "import", sample_image)
        ecs = berth.client(process.endpoint)
        ecs.create_capacity_provider(name="metal", autoScalingGroupProvider={"autoScalingGroupArn": "metal"})
        ecs.put_cluster_capacity_providers(cluster=CLUSTER, capacityProviders=["metal"], defaultCapacityProviderStrategy=[])
        container = {"name": "app", "image": "berth-sample:latest", "cpu": 10, "memory": 32, "stopTimeout": 2}
        ecs.register_task_definition(family="web", networkMode="bridge", containerDefinitions=[container])
        for _ in range(2):
            ecs.register_daemon_task_definition(family="agent", containerDefinitions=[container])
        created = ecs.create_daemon(
            clusterArn=CLUSTER, daemonName="agent", daemonTaskDefinitionArn="agent:1", capacityProviderArns=["metal"]
        )
        ecs.create_service(cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=2)
        berth.wait_stable(ecs, CLUSTER, "web")
        successful(ecs, created)
        agents = {task["containerInstanceArn"]: task["startedAt"] for task in berth.running(ecs, CLUSTER, daemonName="agent")}
        assert len(agents) == 2
        for task in berth.running(ecs, CLUSTER, serviceName="web"):
            assert task["createdAt"] >= agents[task["containerInstanceArn"]]
        updated = ecs.update_daemon(daemonArn=created["daemonArn"], daemonTaskDefinitionArn="agent:2", capacityProviderArns=["metal"])
        successful(ecs, updated)
        assert set(map(tuple, tasks_by_host(ecs, "agent").values())) == {("agent:2",)}
        delete(ecs, created)
        ecs.delete_service(cluster=CLUSTER, service="web", force=True)
        berth.wait_until(lambda: not berth.tasks_of(ecs, CLUSTER), "nothing is left", 60)
