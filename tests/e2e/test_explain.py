"""What `berth why` and `berth why-not` say of a live cluster, and that what they say would help does."""

import json

import berth


def register(ecs, family, cpu=10, memory=32, **more):
    container = {"name": "app", "image": "busybox", "cpu": cpu, "memory": memory, **more}
    return ecs.register_task_definition(family=family, networkMode="host", containerDefinitions=[container])


def test_task_says_why_it_is_where_it_is_and_a_service_why_it_has_no_room(tmp_path):
    with berth.dev(
        tmp_path, "--runtime", "simulated", "--hosts", 3, "--host-cpu", 1, "--host-memory", 1000, "--cluster", "shop"
    ) as process:
        ecs = berth.client(process.endpoint)
        register(ecs, "web", cpu=256, memory=700)
        ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=3)
        berth.wait_stable(ecs, "shop", "web", 60)
        tasks = berth.running(ecs, "shop", serviceName="web")
        placements = [json.loads(process.run("why", task["taskArn"], "--format", "json").stdout) for task in tasks]
        for task, placement in zip(tasks, placements):
            assert placement["chosen"]["containerInstanceArn"] == task["containerInstanceArn"]
            assert placement["hostsConsidered"] == 3
        # By the time of the third, the others' zones had a task each, and their hosts no memory for another.
        left = sorted(placement["filters"][3]["hostsLeft"] for placement in placements)
        assert left == [1, 2, 3], placements
        text = process.run("why", berth.id_of(tasks[0]["taskArn"])[:8]).stdout
        assert "HOSTS LEFT" in text and "spread attribute:ecs.availability-zone" in text, text

        register(ecs, "big", cpu=256, memory=500)
        ecs.create_service(cluster="shop", serviceName="big", taskDefinition="big", desiredCount=1)
        fit = json.loads(process.run("why-not", "big", "--format", "json").stdout)
        assert (fit["hostsAsked"], fit["hostsThatFit"]) == (3, 0)
        for host in fit["hosts"]:
            [refusal] = host["refusals"]
            assert (refusal["needs"], refusal["free"], refusal["reserved"], refusal["shortBy"]) == (500, 300, 700, 200), refusal
        sentences = [remedy["sentence"] for remedy in fit["remedies"]]
        assert sentences[0] == "on host-1: lower the task's memory by 200 MiB", sentences
        assert sentences[-1] == "add a host with at least 256 CPU units and 500 MiB", sentences
        text = process.run("why-not", "big", "--host", "host-2").stdout
        assert "on host-2: lower the task's memory by 200 MiB" in text and "host-1" not in text, text

        # A plain signed POST of another client answers the same.
        answer = berth.call(process.endpoint, "ExplainPlacement", {"cluster": "shop", "service": "big"})
        assert answer["fit"]["remedies"] == fit["remedies"]

        # What was said to help helps.
        register(ecs, "big", cpu=256, memory=300)
        ecs.update_service(cluster="shop", service="big", taskDefinition="big")
        berth.wait_stable(ecs, "shop", "big", 60)


def test_questions_about_what_is_not_there_are_answered_with_what_there_is(tmp_path):
    with berth.dev(tmp_path, "--runtime", "simulated", "--hosts", 1, "--cluster", "shop") as process:
        for arguments, said in [
            (("why", "0123abcd"), "cluster shop has no task whose id begins with 0123abcd"),
            (("why-not", "web"), "cluster shop has no service web"),
        ]:
            refused = process.run(*arguments, check=False)
            assert refused.returncode != 0 and said in refused.stderr, refused
        ecs = berth.client(process.endpoint)
        register(ecs, "web")
        ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=1)
        refused = process.run("why-not", "web", "--host", "host-9", check=False)
        assert "cluster shop has no host host-9; it has host-1" in refused.stderr, refused
