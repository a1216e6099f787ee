"""Protected tasks outlive what their services are told, until a user ends that."""

import time

import berth


def wanted(ecs, service):
    arns = ecs.list_tasks(cluster="shop", serviceName=service)["taskArns"]
    return set(arns)


def messages(ecs, service):
    return [event["message"] for event in berth.service_of(ecs, "shop", service)["events"]]


def protect(ecs, tasks, enabled=True, **more):
    return ecs.update_task_protection(cluster="shop", tasks=sorted(tasks), protectionEnabled=enabled, **more)


def test_protected_tasks_outlive_a_deployment_and_a_smaller_service_and_go_with_a_user_or_by_force(tmp_path):
    arguments = ["--runtime", "simulated", "--hosts", 2, "--cluster", "shop"]
    with berth.dev(tmp_path / "d", *arguments) as process:
        ecs = berth.client(process.endpoint)
        for memory in (64, 128):
            container = {"name": "app", "image": "busybox", "memory": memory}
            ecs.register_task_definition(family="web", containerDefinitions=[container])
        ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web:1", desiredCount=3)
        berth.wait_stable(ecs, "shop", "web", 60)
        old = wanted(ecs, "web")
        kept = set(sorted(old)[:2])
        answer = protect(ecs, kept, expiresInMinutes=60)
        assert {task["taskArn"] for task in answer["protectedTasks"]} == kept and answer["failures"] == []
        left = answer["protectedTasks"][0]["expirationDate"].timestamp() - time.time()
        assert 3500 < left < 3610, left

        ecs.update_service(cluster="shop", service="web", taskDefinition="web:2")
        sentence = "was unable to scale in due to (reason 2 tasks under protection)"
        berth.wait_until(lambda: any(sentence in said for said in messages(ecs, "web")), "the service says that it waits", 60)
        assert wanted(ecs, "web") & old == kept
        assert [d["rolloutState"] for d in berth.service_of(ecs, "shop", "web")["deployments"]][0] == "IN_PROGRESS"

        # One more than the service wants would never let a deployment end.
        new = wanted(ecs, "web") - kept
        blocked = protect(ecs, new)
        assert [task["protectionEnabled"] for task in blocked["protectedTasks"]] == [True]
        assert {failure["reason"] for failure in blocked["failures"]} == {"DEPLOYMENT_BLOCKED"}

        protect(ecs, kept, enabled=False)
        berth.wait_stable(ecs, "shop", "web", 60)
        assert not wanted(ecs, "web") & old

        last = {task["taskArn"] for task in blocked["protectedTasks"]}
        ecs.update_service(cluster="shop", service="web", desiredCount=0)
        berth.wait_until(lambda: wanted(ecs, "web") == last, "the others stop", 60)
        ecs.stop_task(cluster="shop", task=min(last))
        berth.wait_until(lambda: not wanted(ecs, "web"), "a user stops it", 60)

        ecs.update_service(cluster="shop", service="web", desiredCount=1)
        berth.wait_stable(ecs, "shop", "web", 60)
        protect(ecs, wanted(ecs, "web"))
        ecs.delete_service(cluster="shop", service="web", force=True)
        ecs.get_waiter("services_inactive").wait(cluster="shop", services=["web"], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
