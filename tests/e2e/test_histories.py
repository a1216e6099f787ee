"""What clients were answered while controllers were harmed has an explanation: no acknowledged write lost, no read of the past."""

import itertools
import os
import signal
import time

import pytest

import berth
from histories import Histories
from members import Group

# Results of fewer calls say little.
LEAST_PER_SECOND = 100

# Histories of each kind of harm, unless the environment says how many.
HISTORIES = int(os.environ.get("BERTH_HISTORIES", "1"))


def controller(directory, port):
    process = berth.Process(
        ["controller", "--listen", f"127.0.0.1:{port}", "--agent-listen", "127.0.0.1:0", "--data-dir", directory / "controller"],
        directory / "controller.log",
    )
    process.wait_for(r"(?m)^Ready")
    return process


def test_controller_killed_again_and_again_answers_as_one_that_never_was(tmp_path):
    port = berth.free_port()
    process = controller(tmp_path, port)
    kills = 0
    try:
        with Histories([f"http://127.0.0.1:{port}"], tmp_path, histories=3, operations=1000) as histories:
            for pause in itertools.cycle([0.4, 1.3, 0.8, 2.1]):
                time.sleep(pause)
                if not histories.at_work():
                    break
                process.kill()
                kills += 1
                process = controller(tmp_path, port)
    finally:
        process.stop()
    assert kills >= 3
    calls = sum(line["operations"] for line in histories.lines)
    assert calls >= 1000, f"{calls} of 3,000 calls were answered or lost, the others refused: that is too few to show anything"


def test_calls_of_many_clients_at_once_are_answered_in_an_order(tmp_path):
    port = berth.free_port()
    process = controller(tmp_path, port)
    try:
        with Histories([f"http://127.0.0.1:{port}"], tmp_path, histories=3, operations=1000, rate=1000, clients=32) as histories:
            pass
    finally:
        process.stop()
    assert all(line["per_second"] >= LEAST_PER_SECOND and line["unanswered"] == 0 for line in histories.lines), histories.lines


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    group = Group(tmp_path_factory.mktemp("three"))
    yield group
    group.stop()


def kill_leader(group):
    leader = group.leader()
    leader.kill()
    time.sleep(1.0)
    group.restart(leader)


def kill_follower(group):
    follower = group.followers()[0]
    follower.kill()
    time.sleep(0.5)
    group.restart(follower)


def freeze_leader(group):
    """A leader that stands still while another is elected, and then goes on where it was."""
    leader = group.leader()
    leader.child.send_signal(signal.SIGSTOP)
    try:
        time.sleep(3.0)
    finally:
        leader.child.send_signal(signal.SIGCONT)


def hand_over(group):
    group.leader().run("members", "transfer-leader", group.followers()[0].id, check=False)


@pytest.mark.parametrize("harm", [kill_leader, kill_follower, freeze_leader, hand_over])
def test_three_controllers_under_harm_answer_as_one_that_never_was_harmed(three, tmp_path, harm):
    endpoints = [member.endpoint for member in three.members]
    times = 0
    seed = 1000 * sum(harm.__name__.encode())
    with Histories(endpoints, tmp_path, histories=HISTORIES, operations=1000, rate=150, seed=seed) as histories:
        while histories.at_work():
            harm(three)
            times += 1
            time.sleep(1.0)
    assert times >= 1
    calls = sum(line["operations"] for line in histories.lines)
    assert calls >= 500 * HISTORIES, f"{calls} of {1000 * HISTORIES} calls were answered or lost: that is too few to show anything"
