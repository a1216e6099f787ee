"""A real registry on loopback (Debian's `docker-registry`), and images made for it: of many layers, for several platforms."""

import gzip
import hashlib
import importlib.util
import io
import json
import pathlib
import platform
import subprocess
import tarfile
import urllib.error
import urllib.request

import berth

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def sample_layer():
    """The file system of the sample image, as a tar."""
    spec = importlib.util.spec_from_file_location("sample_image", berth.ROOT / "deploy/sample-image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.layer(pathlib.Path("/bin/busybox").read_bytes())


def layer(files):
    """A tar with these files; a name that ends with a slash is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type, info.mode, info.size = (tarfile.DIRTYPE, 0o755, 0) if name.endswith("/") else (tarfile.REGTYPE, 0o644, len(text))
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Registry:
    """The registry, over plain HTTP, with its data in a directory."""

    def __init__(self, directory):
        self.host = f"127.0.0.1:{berth.free_port()}"
        config = pathlib.Path(directory) / "registry.yml"
        storage = {"filesystem": {"rootdirectory": str(pathlib.Path(directory) / "blobs")}}
        # Written as JSON, which is YAML.
        config.write_text(json.dumps({"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": self.host}}))
        self.log = (pathlib.Path(directory) / "registry.log").open("wb")
        self.child = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=self.log, stderr=self.log)
        berth.wait_until(self._answers, "the registry answers", 30)

    def _answers(self):
        assert self.child.poll() is None, "docker-registry has ended; see its log"
        try:
            return self._request("GET", "/v2/").status == 200
        except urllib.error.URLError:
            return False

    def _request(self, method, path, body=None, kind="application/octet-stream"):
        url = path if path.startswith("http") else f"http://{self.host}{path}"
        request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
        return urllib.request.urlopen(request, timeout=30)

    def blob(self, repository, data, kind):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        where = self._request("POST", f"/v2/{repository}/blobs/uploads/", b"").headers["Location"]
        self._request("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def manifest(self, repository, tag, document, kind):
        data = json.dumps({"schemaVersion": 2, "mediaType": kind, **document}).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self._request("PUT", f"/v2/{repository}/manifests/{tag or digest}", data, kind)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def image(self, repository, tag, layers, architecture=HERE, command=("sleep", "1000")):
        """Pushes an image of these layers (tars); returns its descriptor."""
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        packed = [self.blob(repository, gzip.compress(tar, mtime=0), kind) for tar in layers]
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest() for tar in layers]},
        }
        config = self.blob(repository, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
        pushed = self.manifest(repository, tag, {"config": config, "layers": packed}, MANIFEST)
        return {**pushed, "platform": {"architecture": architecture, "os": "linux"}}

    def close(self):
        self.child.terminate()
        self.child.wait(30)
        self.log.close()
