"""Images pulled from a real registry over plain HTTP on this machine."""

import pytest

import berth
import registry as registries

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    found = registries.Registry(tmp_path_factory.mktemp("registry"))
    yield found
    found.close()


def run(ecs, family, image, command=None):
    """Runs a task of one container to its end; returns the task."""
    container = {"name": "app", "image": image, "memory": 32, "stopTimeout": 2, **({"command": command} if command else {})}
    ecs.register_task_definition(family=family, networkMode="none", containerDefinitions=[container])
    arn = ecs.run_task(cluster="shop", taskDefinition=family)["tasks"][0]["taskArn"]

    def ended():
        task = ecs.describe_tasks(cluster="shop", tasks=[arn])["tasks"][0]
        return task["lastStatus"] == "STOPPED" and task

    return berth.wait_until(ended, f"the task of {image} has ended", 90)


def test_image_of_many_layers_has_what_its_layers_add_and_not_what_they_remove(containers, registry):
    layers = [
        registries.sample_layer(),
        registries.layer({"data/": "", "data/removed": "1", "data/kept": "1", "data/folder/": "", "data/folder/below": "1"}),
        # One file removed, one changed, one folder made opaque.
        registries.layer({"data/.wh.removed": "", "data/kept": "2", "data/folder/.wh..wh..opq": "", "data/folder/above": "1"}),
        *[registries.layer({f"many/{n}": str(n), **({f"many/.wh.{n - 1}": ""} if n % 2 else {})}) for n in range(40)],
    ]
    registry.image("berth/layered", "v1", layers)
    # Of the 40 files, every one with an even number was removed by the layer after it.
    check = (
        'set -e; [ ! -e /data/removed ]; [ "$(cat /data/kept)" = 2 ]; [ "$(ls /data/folder)" = above ]; '
        'set -- $(ls /many); [ $# = 20 ]; [ "$(cat /many/39)" = 39 ]; [ ! -e /many/38 ]'
    )
    task = run(containers.ecs, "layered", f"{registry.host}/berth/layered:v1", ["sh", "-c", check])
    assert task["containers"][0]["exitCode"] == 0, task


def test_index_of_several_platforms_is_pulled_for_the_one_of_this_machine(containers, registry):
    repository = "berth/platforms"
    base = registries.sample_layer()
    other = "arm64" if registries.HERE == "amd64" else "amd64"
    entries = [
        # What is not for this machine comes first, and could not run.
        registry.image(repository, None, [registries.layer({"other": ""})], other, ["/other"]),
        registry.image(repository, None, [base], registries.HERE, ["sh", "-c", "exit 42"]),
    ]
    index = registry.manifest(repository, "v1", {"manifests": entries}, registries.INDEX)
    for image in (f"{repository}:v1", f"{repository}@{index['digest']}"):
        task = run(containers.ecs, "platforms", f"{registry.host}/{image}")
        assert task["containers"][0]["exitCode"] == 42, task
        assert task["containers"][0]["imageDigest"] == index["digest"]

    registry.manifest(repository, "foreign", {"manifests": entries[:1]}, registries.INDEX)
    task = run(containers.ecs, "platforms", f"{registry.host}/{repository}:foreign")
    assert "CannotPullContainerError" in task["stoppedReason"] and registries.HERE in task["stoppedReason"], task["stoppedReason"]


def test_image_that_the_registry_has_not_is_a_reason_that_names_it(containers, registry):
    task = run(containers.ecs, "absent", f"{registry.host}/berth/absent:v9")
    assert task["stopCode"] == "TaskFailedToStart"
    for part in ("CannotPullContainerError", f"{registry.host}/berth/absent:v9"):
        assert part in task["stoppedReason"], task["stoppedReason"]
