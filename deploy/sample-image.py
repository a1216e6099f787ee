#!/usr/bin/env python3
"""Makes the sample image: a web server of one page, from the static busybox that Debian ships.

    deploy/sample-image.py OUT.tar [--name NAME] [--busybox PATH]

Writes an OCI image archive for `berth image import`. Needs nothing but Python's own library. The page tells which host
and which task served it, as far as the environment of the container says so.
"""

import argparse
import gzip
import hashlib
import io
import json
import platform
import tarfile

START = """#!/bin/sh
# Writes the page, then serves it. PORT is what the task definition asks for, else 80.
mkdir -p /www
{
    echo "<!doctype html><title>Berth</title><h1>It works</h1>"
    echo "<p>Served by container $(hostname)"
    [ -z "$ECS_CONTAINER_METADATA_URI_V4" ] || echo "<p>Metadata: $ECS_CONTAINER_METADATA_URI_V4"
    env | grep -E '^(BERTH|PAGE)_' | sort | sed 's/^/<p>/'
} > /www/index.html
echo "serving port ${PORT:-80}"
exec httpd -f -v -p "${PORT:-80}" -h /www
"""

APPLETS = ["cat", "echo", "env", "false", "grep", "hostname", "httpd", "kill", "ls", "mkdir", "nc", "ps", "sed", "sh", "sleep", "sort", "true", "wget"]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer(busybox: bytes) -> bytes:
    """The file system, as a tar with nothing in it that changes from run to run."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        def add(name, kind=tarfile.REGTYPE, data=b"", mode=0o755, target=""):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname = kind, mode, len(data), target
            tar.addfile(info, io.BytesIO(data) if data else None)

        for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "www"]:
            add(folder, tarfile.DIRTYPE, mode=0o1777 if folder == "tmp" else 0o755)
        add("bin/busybox", data=busybox)
        for applet in APPLETS:
            add(f"bin/{applet}", tarfile.SYMTYPE, target="busybox")
        add("bin/serve", data=START.encode())
        add("etc/passwd", data=b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", mode=0o644)
        add("etc/group", data=b"root:x:0:\nnogroup:x:65534:\n", mode=0o644)
    return buffer.getvalue()


def image(busybox: bytes, name: str) -> dict[str, bytes]:
    """The files of the archive, by name."""
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(data: bytes, media_type: str) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    tar = layer(busybox)
    packed = blob(gzip.compress(tar, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/serve"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
    }
    config_blob = blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config_blob,
        "layers": [packed],
    }
    manifest_blob = blob(json.dumps(manifest).encode(), manifest["mediaType"])
    manifest_blob["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[-1]}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest_blob]}).encode()
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the sample image from a static busybox.")
    parser.add_argument("out", help="archive to write")
    parser.add_argument("--name", default="docker.io/library/berth-sample:latest", help="full name of the image")
    parser.add_argument("--busybox", default="/bin/busybox", help="a static busybox (Debian's busybox-static)")
    arguments = parser.parse_args()
    with open(arguments.busybox, "rb") as file:
        files = image(file.read(), arguments.name)
    with tarfile.open(arguments.out, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    print(f"{arguments.out}: {arguments.name}")


if __name__ == "__main__":
    main()
