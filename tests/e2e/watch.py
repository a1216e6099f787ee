"""Looks at a service while something happens to it."""

import threading

import berth


class Watch:
    """Looks at a service of the cluster `shop` again and again, and remembers the fewest tasks that ran and the most that were there."""

    def __init__(self, endpoint, name):
        self.ecs, self.name, self.fewest, self.most = berth.client(endpoint), name, 10**6, 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.over.wait(0.1):
            service = berth.service_of(self.ecs, "shop", self.name)
            self.fewest = min(self.fewest, service["runningCount"])
            self.most = max(self.most, service["runningCount"] + service["pendingCount"])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
