"""What is done to the disk and the clock of one process, by libraries that are preloaded into it (`tests/faults/disk.c` and `time.c`)."""

import collections
import contextlib
import errno
import os
import pathlib
import random
import shutil
import struct
import subprocess

import berth

# What a disk writes as one.
PAGE = 4096

# A record of the log that `disk.c` writes: kind, length of the path, offset and length of the write, length of what was there before.
HEAD = struct.Struct("=cIQQQ")


def library(name, directory):
    """Compiles one of the libraries."""
    source, built = berth.ROOT / "tests/faults" / f"{name}.c", pathlib.Path(directory) / f"{name}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl", "-lpthread"], check=True)
    return built


class Disk:
    """A disk under one folder that fails, or loses its power, on demand."""

    def __init__(self, folder, directory):
        self.log = pathlib.Path(directory) / "disk.log"
        self.eio = self.log.with_name("disk.log.eio")
        self.variables = {
            "LD_PRELOAD": str(library("disk", directory)), "BERTH_DISK_FOLDER": str(folder), "BERTH_DISK_LOG": str(self.log),
        }

    def fail(self):
        """Writes and syncs end in EIO from now on."""
        self.eio.touch()

    def mend(self):
        self.eio.unlink()

    def cut_power(self, draws=random):
        """Takes back some of what no sync covers, page by page, once the process is gone. Returns how many writes were in doubt."""
        writes = self._unsynced()
        pages = collections.defaultdict(list)
        for write in writes:
            path, offset, before = write
            for page in range(offset // PAGE, -(-(offset + len(before)) // PAGE)):
                pages[path, page].append(write)
        for (path, page), of_page in pages.items():
            with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
                # A page keeps some first ones of its writes, or none.
                for _, offset, before in reversed(of_page[draws.randint(0, len(of_page)) :]):
                    start, end = max(offset, page * PAGE), min(offset + len(before), (page + 1) * PAGE)
                    file.seek(start)
                    file.write(before[start - offset : end - offset])
        self.log.unlink()
        return len(writes)

    def _unsynced(self):
        log, place, writes = self.log.read_bytes(), 0, []
        while place + HEAD.size <= len(log):
            kind, path_length, offset, written, before_length = HEAD.unpack_from(log, place)
            place += HEAD.size
            path, before = log[place : place + path_length], log[place + path_length : place + path_length + before_length]
            place += path_length + before_length
            if place > len(log):
                break  # cut short: its write did not happen
            if kind == b"s":
                writes = [write for write in writes if write[0] != path]
            else:
                # Where the file ended there is nothing, which reads as zeros.
                writes.append((path, offset, before.ljust(written, b"\0")))
        return writes


class Clock:
    """The time of day of one process, which can be set."""

    def __init__(self, directory):
        self.file = pathlib.Path(directory) / "clock"
        self.file.write_bytes(struct.pack("=q", 0))
        self.variables = {"LD_PRELOAD": str(library("time", directory)), "BERTH_CLOCK_FILE": str(self.file)}

    def shift(self, seconds):
        """The time is from now on so much later than it is."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))


def fill(directory):
    """Leaves no space; returns the file to remove."""
    path = pathlib.Path(directory) / "filling"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path


@contextlib.contextmanager
def small_disk(folder, size):
    """Puts what is in a folder onto a small disk of its own, and back. Nobody may use it at either moment."""
    folder = pathlib.Path(folder)
    aside = folder.with_name(f"{folder.name}.aside")
    folder.rename(aside)
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        shutil.rmtree(aside)
        yield
    finally:
        if not aside.exists():
            shutil.copytree(folder, aside)
        subprocess.run(["umount", folder], check=True)
        os.rmdir(folder)
        aside.rename(folder)
