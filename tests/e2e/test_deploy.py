"""What `deploy` brings to machines: the units and the Debian package."""

import json
import os
import pathlib
import re
import socket
import subprocess

import pytest

import berth

UNITS = berth.ROOT / "deploy/systemd"
# systemd's own measure of how much a service could do to its machine, from 0 to 10. The agent makes mounts and namespaces, and
# must not have a mount namespace of its own.
EXPOSURE = {"berth-controller": 1.5, "berth-agent": 7.5}


def run(*command, check=True):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False)
    assert not check or result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.mark.parametrize("name", sorted(EXPOSURE))
def test_unit_is_understood_by_systemd_and_restricted(name, tmp_path):
    unit = tmp_path / f"{name}.service"
    unit.write_text((UNITS / f"{name}.service").read_text().replace("/usr/bin/berth", str(berth.BINARY)))
    verified = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    assert "Unknown" not in verified.stderr, verified.stderr
    rated = run("systemd-analyze", "security", "--offline=yes", unit).stdout
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", rated).group(1))
    assert exposure <= EXPOSURE[name], rated


@pytest.mark.parametrize("name", ["controller", "agent"])
def test_flags_of_the_units_and_examples_are_flags_of_berth(name):
    known = set(re.findall(r"--[a-z-]+", run(berth.BINARY, name, "--help").stdout))
    text = (UNITS / f"berth-{name}.service").read_text() + (UNITS / f"{name}.env.example").read_text()
    used = set(re.findall(r"(?<=[ =])--[a-z-]+", text)) - {"--now", "--help"}
    assert used and used <= known, used - known


@pytest.fixture(scope="module")
def package():
    return pathlib.Path(run(berth.ROOT / "deploy/deb.sh", "--no-build").stdout.strip())


def test_package_holds_program_units_and_documents(package):
    listed = run("dpkg-deb", "--contents", package).stdout
    files = {words[5].removeprefix("."): words[0] + " " + words[1] for words in (line.split() for line in listed.splitlines())}
    wanted = {
        "/usr/bin/berth": "-rwxr-xr-x",
        "/lib/systemd/system/berth-controller.service": "-rw-r--r--",
        "/lib/systemd/system/berth-agent.service": "-rw-r--r--",
        "/usr/share/doc/berth/operating.md": "-rw-r--r--",
        "/usr/share/doc/berth/controller.env.example": "-rw-r--r--",
        "/usr/share/doc/berth/copyright": "-rw-r--r--",
    }
    for path, mode in wanted.items():
        assert files.get(path) == f"{mode} 0/0", f"{path}: {files.get(path)}\n{listed}"
    assert not [path for path in files if path.startswith("/etc/")], "configuration is the operator's"
    fields = run("dpkg-deb", "--field", package).stdout
    assert re.search(r"(?m)^Package: berth$", fields) and "libc6" in fields and "containerd" in fields, fields


@pytest.mark.containers
def test_package_installed_makes_user_and_directories_and_starts_nothing(package, tmp_path):
    """Installs into a copy of this machine that is thrown away: an overlay over its root."""
    if os.geteuid() != 0:
        pytest.fail("installing a package needs root")
    script = f"""
        set -e
        mount --make-rprivate /
        mount -t tmpfs none {tmp_path}
        mkdir {tmp_path}/upper {tmp_path}/work {tmp_path}/root
        cp {package} {tmp_path}/upper/berth.deb
        mount -t overlay none -o lowerdir=/,upperdir={tmp_path}/upper,workdir={tmp_path}/work {tmp_path}/root
        mount -t proc none {tmp_path}/root/proc
        mount --bind /dev {tmp_path}/root/dev
        chroot {tmp_path}/root sh -e -c '
            dpkg --install --force-depends /berth.deb
            berth --version
            stat -c "%n %U %a" /var/lib/berth/controller /var/lib/berth/agent /var/backups/berth
            systemd-analyze verify --man=no --recursive-errors=no /lib/systemd/system/berth-controller.service
            dpkg --install --force-depends /berth.deb
            dpkg --purge berth
            test ! -e /usr/bin/berth
            test -d /var/lib/berth/controller
        '
    """
    output = run("unshare", "--mount", "--pid", "--fork", "sh", "-c", script).stdout
    assert "/var/lib/berth/controller berth 700" in output, output
    assert "/var/lib/berth/agent root 700" in output, output
    assert "/var/backups/berth berth 700" in output, output


def test_doctor_finds_a_cluster_well_and_then_gone(tmp_path):
    with berth.dev(tmp_path, "--runtime", "simulated", "--hosts", 2) as process:
        well = process.run("doctor", "--only", "cluster")
        assert "is ready" in well.stdout and "all 2 hosts are connected" in well.stdout and "All is well." in well.stdout, well.stdout
        endpoint = process.endpoint
    gone = subprocess.run(
        [berth.BINARY, "doctor", "--only", "cluster", "--json"],
        capture_output=True, text=True, timeout=60, check=False, env=berth.environment(endpoint),
    )
    assert gone.returncode == 1, gone.stderr
    finding = json.loads(gone.stdout)["cluster"][0]
    assert finding["level"] == "problem" and endpoint in finding["found"] and finding["advice"], finding


def test_doctor_of_an_installation_without_clusters_says_how_to_make_one(tmp_path):
    process = berth.Process(
        ["controller", "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0", "--data-dir", tmp_path / "data"], tmp_path / "log"
    )
    try:
        endpoint = process.wait_for(r"(?m)^Clients: (\S+)$").group(1)
        process.wait_for(r"(?m)^Ready")
        command = [berth.BINARY, "doctor", "--only", "cluster"]
        fresh = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=berth.environment(endpoint))
        assert fresh.returncode == 0 and "PROBLEM" not in fresh.stdout and "keys" not in fresh.stdout, fresh.stdout
        assert "berth aws ecs create-cluster --cluster-name default" in fresh.stdout, fresh.stdout
    finally:
        process.stop()


def test_service_manager_is_told_that_a_controller_serves_lives_and_stops(tmp_path):
    """What systemd would hear of a unit with a watchdog of 3 s."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        process = berth.Process(
            ["controller", "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0", "--data-dir", tmp_path / "data"],
            tmp_path / "log",
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="3000000",
        )
        assert manager.recv(256).startswith(b"READY=1\n")
        assert "Ready" in process.output()
        assert manager.recv(256) == b"WATCHDOG=1"
        assert process.stop() == 0
        heard = b"WATCHDOG=1"
        while heard == b"WATCHDOG=1":
            heard = manager.recv(256)
        assert heard == b"STOPPING=1"
