"""The API over TLS: with a certificate of the cluster's authority, or one of somebody else's making."""

import subprocess

import boto3
import botocore.config
import botocore.exceptions
import pytest

import berth
from members import Member


def client(endpoint, bundle):
    """A boto3 client that believes whom the file says."""
    config = botocore.config.Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=30)
    return boto3.client(
        "ecs", endpoint_url=endpoint, region_name=berth.REGION, aws_access_key_id=berth.ACCESS_KEY, aws_secret_access_key=berth.SECRET,
        config=config, verify=bundle if bundle is True else str(bundle),
    )


def hosts(endpoint, **variables):
    return subprocess.run(
        [berth.BINARY, "members", "list"], capture_output=True, text=True, timeout=60, check=False,
        env=berth.environment(endpoint, **variables),
    )


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    process = Member(tmp_path_factory.mktemp("tls"), "secured", "--bootstrap", "--tls", "--tls-name", "controller.example")
    yield process.ready()
    process.stop()


def test_clients_that_believe_the_authority_are_served(member):
    bundle = member.data_dir / "identity" / "authorities.pem"
    endpoint = f"https://localhost:{member.ports[0]}"
    assert client(endpoint, bundle).list_clusters()["clusterArns"] == []
    listed = hosts(endpoint, AWS_CA_BUNDLE=str(bundle))
    assert listed.returncode == 0 and "leader" in listed.stdout, listed.stderr
    doctor = subprocess.run(
        [berth.BINARY, "doctor", "--only", "cluster"], capture_output=True, text=True, timeout=60, check=False,
        env=berth.environment(endpoint, AWS_CA_BUNDLE=str(bundle)),
    )
    assert "cannot connect" not in doctor.stdout + doctor.stderr, doctor.stdout + doctor.stderr


def test_clients_that_do_not_believe_it_or_speak_plain_text_are_not(member):
    endpoint = f"https://localhost:{member.ports[0]}"
    with pytest.raises(botocore.exceptions.SSLError):
        client(endpoint, True).list_clusters()
    with pytest.raises(botocore.exceptions.BotoCoreError):
        client(member.endpoint, True).list_clusters()
    unsaid = hosts(endpoint)
    assert unsaid.returncode == 1 and "AWS_CA_BUNDLE" in unsaid.stderr, unsaid.stderr


def test_certificate_of_somebody_elses_making_is_shown(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    port = berth.free_port()
    process = berth.Process(
        ["controller", "--data-dir", tmp_path / "data", "--listen", f"0.0.0.0:{port}", "--agent-listen", "127.0.0.1:0",
         "--tls-certificate", certificate, "--tls-key", key],
        tmp_path / "log",
    )
    try:
        process.wait_for(r"(?m)^Ready")
        assert client(f"https://localhost:{port}", certificate).list_clusters()["clusterArns"] == []
    finally:
        process.stop()


def test_port_open_to_others_without_tls_is_refused(tmp_path):
    process = berth.Process(
        ["controller", "--data-dir", tmp_path / "data", "--listen", "0.0.0.0:0", "--agent-listen", "127.0.0.1:0"], tmp_path / "log"
    )
    process.child.wait(30)
    assert process.child.returncode == 1
    assert "--tls-certificate" in process.output() and "plain HTTP is for loopback" in process.output()
