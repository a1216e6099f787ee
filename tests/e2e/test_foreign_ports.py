"""A fixed host port that a program which is no task holds on one host: tasks go elsewhere, are told why, and come back once it is free."""

import socket

import pytest

import berth

pytestmark = pytest.mark.containers

# The hosts of a development cluster bind their ports on addresses of their own.
HOSTS = ["127.1.0.1", "127.1.0.2", "127.1.0.3"]


def events(ecs):
    return [event["message"] for event in berth.service_of(ecs, "shop", "fixed")["events"]]


def test_task_goes_not_to_a_host_where_a_foreign_program_has_its_port(containers):
    ecs = containers.direct
    held = socket.create_server((HOSTS[0], 0))
    port = held.getsockname()[1]
    try:
        ecs.register_task_definition(
            family="fixed",
            containerDefinitions=[
                {
                    "name": "app", "image": "berth-sample:latest", "memory": 16, "command": ["sleep", "100000"], "stopTimeout": 2,
                    "portMappings": [{"containerPort": 80, "hostPort": port}],
                }
            ],
        )
        ecs.create_service(cluster="shop", serviceName="fixed", taskDefinition="fixed", desiredCount=3)
        says = lambda: any(f"host port {port}/tcp is held by a program that is no task" in message for message in events(ecs))
        berth.wait_until(says, "the service says why a task has no host", 60)
        berth.wait_until(lambda: len(berth.running(ecs, "shop", serviceName="fixed")) == 2, "the others run elsewhere", 60)
        failed = len(berth.tasks_of(ecs, "shop", "STOPPED", serviceName="fixed"))
        assert failed <= 2, "the host was tried again and again"
    finally:
        held.close()
    berth.wait_stable(ecs, "shop", "fixed")
    ecs.delete_service(cluster="shop", service="fixed", force=True)
    berth.wait_until(lambda: not berth.tasks_of(ecs, "shop", serviceName="fixed"), "its tasks have ended", 60)
