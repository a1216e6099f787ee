"""Placement decisions of a cluster exported from its log, made again, and compared with those of other strategies."""

import csv
import json

import berth

HOSTS = 4
SMALL_HOSTS = ("--runtime", "simulated", "--hosts", HOSTS, "--host-cpu", 1, "--host-memory", 4000, "--cluster", "shop")


def furnish(process):
    """A service that is packed, one that is spread over two zones, and hosts that are given up soon."""
    ecs = berth.client(process.endpoint)
    berth.call(process.endpoint, "UpdateHostSettings", {"cluster": "shop", "heartbeatIntervalMs": 500, "hostLostAfterMs": 2000})
    packed = [{"type": "binpack", "field": "cpu"}]
    for name, cpu, strategy in [("batch", 128, packed), ("web", 64, [])]:
        container = {"name": "app", "image": "busybox", "cpu": cpu, "memory": 64}
        ecs.register_task_definition(family=name, containerDefinitions=[container])
        ecs.create_service(cluster="shop", serviceName=name, taskDefinition=name, desiredCount=2, placementStrategy=strategy)
        berth.wait_stable(ecs, "shop", name, 60)
    return ecs


def hosts_of(ecs, group):
    """The hosts on which tasks of a group run."""
    names = {instance["containerInstanceArn"]: instance["ec2InstanceId"] for instance in berth.instances_of(ecs, "shop")}
    return {names[task["containerInstanceArn"]] for task in berth.running(ecs, "shop") if task["group"] == group}


def fill_and_kill(process, ecs):
    """Has the packed service fill a host, and kills that host, whose name it returns; its tasks then run elsewhere."""
    ecs.update_service(cluster="shop", service="batch", desiredCount=6)
    berth.wait_stable(ecs, "shop", "batch", 60)
    # Six of 128 CPU units fit on one host of 1024 beside a task of the other service: where the first went, the others followed.
    [full] = hosts_of(ecs, "service:batch")
    process.run("dev", "host", "kill", full)
    moved = lambda: len(berth.running(ecs, "shop")) == 8 and full not in hosts_of(ecs, "service:batch")
    berth.wait_until(moved, f"the tasks of {full} run elsewhere", 60)
    return full


def lines(path):
    """The lines of a recording as pairs: what a line is, and what it says."""
    return [next(iter(json.loads(line).items())) for line in path.read_text().splitlines()]


def of_kind(recording, kind):
    return [said for what, said in recording if what == kind]


def test_decisions_of_a_cluster_are_exported_for_any_span_that_is_held(tmp_path):
    with berth.dev(tmp_path, *SMALL_HOSTS) as process:
        ecs = furnish(process)
        full = fill_and_kill(process, ecs)

        whole = tmp_path / "whole.jsonl"
        assert str(whole) in process.run("decisions", "export", "--out", whole).stdout
        recording = lines(whole)
        placed, hosts = of_kind(recording, "placed"), {host["host"]: host["name"] for host in of_kind(recording, "host")}
        gone = of_kind(recording, "gone")
        assert len(placed) == 8 + len(gone) and gone, recording
        assert sorted(hosts.values()) == [f"host-{number}" for number in range(1, HOSTS + 1)]
        assert [hosts[lost["host"]] for lost in of_kind(recording, "lost")] == [full]
        requests = {request["request"]: request for request in of_kind(recording, "request")}
        packed = [task for task in placed if requests[task["request"]]["group"] == "service:batch"]
        assert {hosts[task["host"]] for task in packed[:6]} == {full}, packed
        assert all(task["decision"]["considered"] == HOSTS for task in placed), placed

        middle = [entry["index"] for entry in of_kind(recording, "entry")][len(of_kind(recording, "entry")) // 2]
        part = tmp_path / "part.jsonl"
        process.run("decisions", "export", "--out", part, "--from", middle)
        assert min(entry["index"] for entry in of_kind(lines(part), "entry")) == middle
        for arguments, said in [
            (("--out", part), "exists already"),
            (("--out", tmp_path / "a", "--from", 1_000_000), "There is no entry 1000000 in the log yet"),
            (("--out", tmp_path / "a", "--from", 1), "entry 1 is no longer in this controller's log"),
            (("--out", tmp_path / "a", "--from", "2100-01-01T00:00:00Z"), "nothing was decided at that time or later"),
            (("--out", tmp_path / "a", "--to", "2020-01-01T00:00:00Z"), "nothing was decided until then"),
            (("--out", tmp_path / "a", "--from", "lately"), "neither an entry of the log nor a time"),
            (("--out", tmp_path / "a", "--cluster", "other"), "Cluster not found"),
        ]:
            refused = process.run("decisions", "export", *arguments, check=False)
            assert refused.returncode != 0 and said.lower() in refused.stderr.lower(), refused.stderr
        assert not (tmp_path / "a").exists()


def test_decisions_made_again_are_the_same_and_other_strategies_would_have_used_other_hosts(tmp_path):
    with berth.dev(tmp_path, *SMALL_HOSTS) as process:
        ecs = furnish(process)
        fill_and_kill(process, ecs)
        # Seven tasks of 512 CPU units are more than the three hosts that are left hold beside the others.
        ecs.register_task_definition(family="large", containerDefinitions=[{"name": "app", "image": "busybox", "cpu": 512, "memory": 64}])
        ecs.create_service(cluster="shop", serviceName="large", taskDefinition="large", desiredCount=7)
        lacking = lambda: any("unable to place" in event["message"] for event in berth.service_of(ecs, "shop", "large")["events"])
        berth.wait_until(lacking, "the service says that it lacks room", 60)
        ecs.update_service(cluster="shop", service="large", desiredCount=0)
        gone = lambda: all(task["lastStatus"] == "STOPPED" for task in berth.tasks_of(ecs, "shop", "STOPPED", family="large"))
        berth.wait_until(lambda: not berth.tasks_of(ecs, "shop", family="large") and gone(), "the large tasks are gone", 60)
        recording = tmp_path / "recording.jsonl"
        process.run("decisions", "export", "--out", recording)

        placed = len(of_kind(lines(recording), "placed"))
        again = process.run("sim", "replay", recording).stdout
        assert f"{placed} of {placed} decisions come out the same" in again, again
        folder = tmp_path / "report"
        shown = process.run(
            "sim", "replay", recording, "--strategy", "binpack=cpu", "--strategy", "spread=instanceId", "--out", folder
        ).stdout
        with open(folder / "summary.csv", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["measure", "recorded", "binpack=cpu", "difference", "spread=instanceId", "difference"]
        rows = {row[0]: row[1:] for row in rows}
        assert rows["tasks placed or waiting"] == [str(placed), str(placed), "0", str(placed), "0"]
        # At the end there are six tasks of 128 CPU units and two of 64: packed, they fill one host of 1024 but for 128; spread, they are on all
        # three that are left. What was recorded has the six on one, and the two in a zone each.
        end = rows["hosts used at the end"]
        used = len(hosts_of(ecs, "service:batch") | hosts_of(ecs, "service:web"))
        assert end[0] == str(used) and end[3] == "3", rows
        assert end[1] == "1", rows
        assert int(rows["placed elsewhere"][1]) > 0 and rows["placed elsewhere"][0] == "0", rows
        assert "HOSTS USED" not in shown and "hosts used at most" in shown, shown
        assert "<polyline" in (folder / "report.html").read_text()
        assert (folder / "points.csv").read_text().startswith("strategy,index,at_ms,hosts_used,")

        # A decision that nobody made is told, with what the engine decides.
        changed = recording.read_text().replace('"onlyHost":true,', "")
        first = next(said for said in of_kind(lines(recording), "placed"))
        wrong = f'"request":{first["request"]},"host":{first["host"]}'
        other = f'"request":{first["request"]},"host":{(first["host"] + 1) % HOSTS}'
        (tmp_path / "changed.jsonl").write_text(changed.replace(wrong, other, 1))
        told = process.run("sim", "replay", tmp_path / "changed.jsonl", check=False)
        assert told.returncode == 1 and f"task {first['id']} of service:batch went to host-" in told.stdout, told
        (tmp_path / "cut.jsonl").write_text("\n".join(changed.splitlines()[:-3]))
        refused = process.run("sim", "replay", tmp_path / "cut.jsonl", check=False)
        assert refused.returncode == 1 and "cut off after line" in refused.stderr, refused


def test_decisions_are_exported_from_the_data_directory_of_a_cluster_that_does_not_run(tmp_path):
    with berth.dev(tmp_path, "--runtime", "simulated", "--hosts", HOSTS, "--cluster", "shop", keep_data=True) as process:
        furnish(process)
        data = process.data_dir / "controller"
        used = process.run("decisions", "export", "--out", tmp_path / "used.jsonl", "--data-dir", data, check=False)
        assert used.returncode == 1 and "in use by another process" in used.stderr, used
    path = tmp_path / "after.jsonl"
    process.run("decisions", "export", "--out", path, "--data-dir", data, "--cluster", "shop")
    assert len(of_kind(lines(path), "placed")) == 4
    assert "4 of 4 decisions come out the same" in process.run("sim", "replay", path).stdout
