"""Histories of API calls, made and checked by the program `histories`, while a test does harm to the controllers."""

import os
import pathlib
import re
import subprocess

import berth

BINARY = os.environ.get("BERTH_HISTORIES_BINARY", str(pathlib.Path(berth.BINARY).with_name("histories")))
DEADLINE = 300


class Histories:
    """The program at work: `with Histories(endpoints, ...) as histories:`, then harm in the block; `histories.lines` when it has left it."""

    def __init__(self, endpoints, directory, histories=1, operations=1000, rate=200, clients=8, seed=0):
        self.log = pathlib.Path(directory) / "histories.log"
        options = {"histories": histories, "operations": operations, "rate": rate, "clients": clients, "seed": seed}
        self.arguments = [BINARY, *(word for name, value in options.items() for word in (f"--{name}", str(value))), *endpoints]
        self.lines = []

    def __enter__(self):
        self.out = self.log.open("wb")
        self.child = subprocess.Popen(
            self.arguments, stdout=self.out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=berth.environment()
        )
        return self

    def at_work(self):
        return self.child.poll() is None

    def __exit__(self, failure, *_):
        if failure:
            self.child.kill()
        try:
            self.child.wait(DEADLINE)
        finally:
            self.child.kill()
            self.out.close()
        if failure:
            return
        text = self.log.read_text()
        assert self.child.returncode == 0, text
        self.lines = [{name: float(value) for name, value in re.findall(r"(\w+)=(\d+)", line)} for line in text.splitlines()]
        assert all(line["faults"] == 0 for line in self.lines), text
