"""Certificates that have expired: whoever shows one is refused, and a host that has no other says so and comes back with a new token."""

import socket
import ssl
import subprocess

import pytest

import berth
import faults
from members import Group

# Certificates are good for a week.
LATER = 8 * 24 * 3600


@pytest.fixture
def clock(tmp_path):
    """The time of day of everything in these tests."""
    return faults.Clock(tmp_path)


@pytest.fixture
def group(tmp_path, clock):
    group = Group(tmp_path, 1, **clock.variables)
    try:
        yield group
    finally:
        group.stop()


def run(member, clock, *words):
    """A command at the time that all agree on."""
    result = subprocess.run(
        [berth.BINARY, *words], capture_output=True, text=True, check=False, timeout=60,
        env=berth.environment(member.endpoint, **clock.variables),
    )
    assert result.returncode == 0, f"{words}: {result.stderr}"
    return result.stdout.strip()


def agent(tmp_path, clock, *words):
    arguments = ["agent", "--data-dir", tmp_path / "host-1", "--runtime", "simulated", "--host-name", "host-1", "--zone", "zone-a"]
    return berth.Process([*arguments, *words], tmp_path / "host-1.log", **clock.variables)


def test_host_whose_certificate_has_expired_is_refused_and_comes_back_with_a_token(group, clock, tmp_path):
    member = group.members[0]
    host = agent(tmp_path, clock, "--join", run(member, clock, "token", "create", "--role", "agent"), "--peer", member.address)
    host.wait_for("registered with the controllers")
    host.stop()
    member.stop()
    clock.shift(LATER)
    # A controller that leads by itself makes its own next certificate.
    member = group.restart(member)
    host = agent(tmp_path, clock)
    assert host.child.wait(60) == 3, host.output()
    assert "expired" in host.output() and "token" in host.output(), host.output()
    token = run(member, clock, "token", "create", "--role", "agent")
    host = agent(tmp_path, clock, "--join", token, "--peer", member.address)
    try:
        host.wait_for("registered with the controllers")
    finally:
        host.stop()


def knock(member, identity):
    """Shows a certificate at the port for members and agents; raises what the other end says to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(identity)
    with socket.create_connection(("127.0.0.1", member.ports[1]), timeout=10) as raw, context.wrap_socket(raw) as secured:
        secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        return secured.recv(1024)


def test_certificate_of_a_controller_is_refused_once_it_has_expired(group, clock, tmp_path):
    member = group.members[0]
    kept, old = member.data_dir / "identity" / "identity.pem", tmp_path / "old.pem"
    old.write_bytes(kept.read_bytes())
    assert knock(member, old), "it is good until then"
    member.stop()
    clock.shift(LATER)
    member = group.restart(member)
    with pytest.raises(ssl.SSLError, match="(?i)certificate expired"):
        knock(member, old)
    berth.wait_until(lambda: f"/controller/{member.id} expired at " in member.output(), "it is said who was refused", 10)
    # First it signs itself one, to lead with; as leader it takes another, which the group knows of.
    member.wait_for("renewed this controller's certificate")
    assert kept.read_bytes() != old.read_bytes()
    assert knock(member, kept)
