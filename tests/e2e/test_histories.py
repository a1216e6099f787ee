"""What clients of one controller were answered has an explanation: no acknowledged write lost, no read of the past. `test_faults.py` has several."""

import itertools
import time

import berth
from histories import Histories

# Results of fewer calls say little.
LEAST_PER_SECOND = 100


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
