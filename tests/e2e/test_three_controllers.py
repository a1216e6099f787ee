"""Three controllers: any of them takes any call, nothing acknowledged is lost, and nobody gets in without what it takes."""

import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

import berth
from members import Group, Member, Writer, families, register


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    cluster = Group(tmp_path_factory.mktemp("three"))
    yield cluster
    cluster.stop()


@pytest.fixture
def host(group):
    """A simulated host that knows all controllers."""
    controllers = [flag for member in group.members for flag in ("--controller", member.agent_endpoint)]
    agent = berth.Process(
        ["agent", *controllers, "--data-dir", group.directory / "agent", "--runtime", "simulated", "--host-name", "host-1"],
        group.directory / "agent.log",
    )
    registered = lambda: berth.instances_of(group.members[0].client(), "default")
    group.members[0].client().create_cluster(clusterName="default")
    berth.wait_until(registered, "the host has registered", 60)
    yield agent
    agent.stop()


def test_write_through_any_member_is_read_through_every_other_at_once(group):
    for number, member in enumerate(group.members):
        register(member.client(), f"through-{number}")
        for other in group.members:
            assert f"through-{number}" in families(other.client()), f"written through {member.name}, read through {other.name}"
    listed = group.members[1].run("members", "list").stdout
    assert listed.count("voter") == 2 and listed.count("leader") == 1, listed


def test_tasks_run_through_a_follower(group, host):
    follower = group.followers()[0].client()
    register(follower, "small")
    answer = follower.run_task(cluster="default", taskDefinition="small", clientToken="once")
    [task] = answer["tasks"]
    assert answer["failures"] == [], "the leader has placed it"
    berth.wait_until(lambda: berth.running(follower, "default"), "the task runs", 30)
    again = group.followers()[1].client().run_task(cluster="default", taskDefinition="small", clientToken="once")
    assert [t["taskArn"] for t in again["tasks"]] == [task["taskArn"]], "the same request through another member"
    logs = group.followers()[1].run("logs", task["taskArn"].split("/")[-1])
    assert logs.returncode == 0, "the leader has asked the host"
    stopped = follower.stop_task(cluster="default", task=task["taskArn"])["task"]
    assert stopped["desiredStatus"] == "STOPPED"


def test_leader_killed_loses_nothing_and_comes_back(group):
    leader = group.leader()
    writer = Writer(group.members)
    writer.start()
    try:
        berth.wait_until(lambda: len(writer.acknowledged) >= 20, "writes are acknowledged", 60)
        leader.kill()
        before = len(writer.acknowledged)
        berth.wait_until(lambda: len(writer.acknowledged) >= before + 20, "writes go on without the leader", 60)
    finally:
        writer.stop()
    assert group.leader() is not leader
    back = group.restart(leader)
    for member in group.members:
        missing = set(writer.acknowledged) - families(member.client())
        assert not missing, f"{member.name} lost {len(missing)} of {len(writer.acknowledged)}: {sorted(missing)[:5]}"
    assert back.members()[back.id]["role"] == "VOTER"


def test_leader_told_to_stop_hands_over_first(group):
    leader = group.leader()
    assert leader.stop(signal.SIGTERM) == 0
    # Whoever leads now was handed leadership: a follower would have noticed a broken connection otherwise.
    successor = group.leader()
    assert "the connection to a member ended" not in leader.output().split("role=Follower")[0]
    register(successor.client(), "after-the-hand-over")
    group.restart(leader)


def test_leadership_is_moved_on_demand(group):
    leader, follower = group.leader(), group.followers()[0]
    follower.run("members", "transfer-leader", follower.id)
    assert group.leader() is follower
    refused = leader.run("members", "transfer-leader", "12345", check=False)
    assert refused.returncode == 1 and "no member 12345" in refused.stderr
    leader.run("members", "transfer-leader", leader.name)
    assert group.leader() is leader
    refused = leader.run("members", "transfer-leader", "nobody", check=False)
    assert refused.returncode == 1 and "`berth members list` shows those" in refused.stderr


def test_member_is_removed_and_another_takes_its_place(group):
    joined = group.join(through=1)
    group.wait_for_votes(4)
    group.members[0].run("members", "remove", joined.name)
    berth.wait_until(lambda: joined.child.poll() is not None, "the removed member stops", 30)
    assert "was removed from its cluster" in joined.output()
    assert joined.id not in group.members[0].members()
    again = joined.again()
    again.child.wait(60)
    assert again.child.returncode == 3, "a removed member does not come back"
    assert "removed" in again.output()
    assert "no member" in group.members[0].run("members", "remove", "77", check=False).stderr
    group.members.pop()


def refused_joiner(group, token, *arguments):
    """What a controller says that is not let in."""
    directory = group.directory / f"refused-{berth.free_port()}"
    directory.mkdir()
    joiner = Member(directory, "joiner", "--join", token, "--peer", group.members[0].address, *arguments)
    try:
        joiner.child.wait(60)
    finally:
        joiner.kill()
    assert joiner.child.returncode == 3, joiner.output()
    return joiner.output()


def test_token_that_is_no_good_lets_nobody_in(group):
    member = group.members[0]
    revoked = member.token()
    revoked_id = revoked.split(".")[3]
    member.run("token", "revoke", revoked_id)
    assert "revoked" in refused_joiner(group, revoked)
    assert "for the role agent" in refused_joiner(group, member.token(role="agent"))
    used = group.members[1].token()
    joined = group.add("--join", used, "--peer", member.address)
    assert "used up" in refused_joiner(group, used)
    parts = member.token().split(".")
    parts[4] = ("B" if parts[4][0] == "A" else "A") + parts[4][1:]
    assert "no such join token" in refused_joiner(group, ".".join(parts)), "the secret is another"
    group.members[0].run("members", "remove", joined.id, "--force")
    joined.child.wait(30)
    group.members.pop()
    listed = member.run("token", "list").stdout
    assert "used up" in listed and "revoked" in listed, listed


def test_token_of_another_cluster_is_sent_to_nobody(group, tmp_path):
    other = Member(tmp_path, "other", "--bootstrap").ready()
    try:
        assert "not a controller of that cluster" in refused_joiner(group, other.token())
    finally:
        other.stop()


def test_plain_text_and_foreign_certificates_are_refused(group, tmp_path):
    member = group.members[0]
    with socket.create_connection(("127.0.0.1", member.ports[1]), timeout=10) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        answer = b""
        while more := plain.recv(1024):
            answer += more
        assert b"HTTP" not in answer, answer
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=stranger", "-addext", "subjectAltName=URI:berth://home/controller/1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    with socket.create_connection(("127.0.0.1", member.ports[1]), timeout=10) as raw:
        with pytest.raises(ssl.SSLError, match="(?i)unknown.ca|alert"):
            with context.wrap_socket(raw) as secured:
                secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                secured.recv(1024)
    with socket.create_connection(("127.0.0.1", member.ports[1]), timeout=10) as raw:
        older = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        older.check_hostname, older.verify_mode = False, ssl.CERT_NONE
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            older.wrap_socket(raw)


def test_data_directory_without_its_store_is_not_taken_up_again(tmp_path):
    member = Member(tmp_path, "lonely", "--bootstrap").ready()
    identity = member.id
    member.stop()
    (member.data_dir / "store").rename(member.data_dir / "store.lost")
    again = member.again("--bootstrap")
    again.child.wait(30)
    assert again.child.returncode == 3
    assert f"members remove {identity}" in again.output() and "new token" in again.output()


def test_member_whose_store_is_damaged_says_so_and_is_replaced(group):
    damaged = group.followers()[0]
    damaged.stop()
    identity = damaged.id
    database = damaged.data_dir / "store" / "db"
    content = bytearray(database.read_bytes())
    for place in range(0, len(content), 512):
        content[place] ^= 0xFF
    database.write_bytes(content)
    again = damaged.again()
    again.child.wait(60)
    assert again.child.returncode == 3, again.output()
    assert f"members remove {identity}" in again.output() and "new token" in again.output(), again.output()
    group.members.remove(damaged)
    group.members[0].run("members", "remove", identity)
    joined = group.join()
    group.wait_for_votes(3)
    assert joined.id != identity
    assert "through-0" in families(joined.client())


def test_authority_is_rotated_while_all_go_on(group):
    member = group.members[0]
    before = member.run("ca", "show").stdout
    rotated = member.run("ca", "rotate", "--wait", "60s").stdout
    after = member.run("ca", "show").stdout
    assert "trusted no longer" in rotated and "no rotation is under way" in after
    assert before.split("signs")[1].split()[0] != after.split("signs")[1].split()[0]
    register(group.members[2].client(), "after-the-rotation")
    restarted = group.restart(group.followers()[0])
    assert "after-the-rotation" in families(restarted.client())
    group.join()
    group.wait_for_votes(4)


def ask(member, path):
    """Status and text of one of the paths for operators, which answer at once or not at all."""
    try:
        with urllib.request.urlopen(f"{member.endpoint}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_controllers_that_are_down_are_named_and_one_that_is_left_says_what_it_waits_for(tmp_path):
    group = Group(tmp_path)
    try:
        lost = group.followers()[0]
        lost.kill()
        left = group.running()
        unseen = lambda: [m for m in left[0].members().values() if not m["connected"]]
        berth.wait_until(lambda: [m["memberId"] for m in unseen()] == [lost.id], "it is missed", 60)
        for member in left:
            assert member.run("members", "list").stdout.count("NO") == 1
            doctor = member.run("doctor", "--only", "cluster", check=False)
            assert doctor.returncode == 1 and f"1 of 3 are not in touch with the leader: {lost.name}" in doctor.stdout, doctor.stdout
        for member in left:
            member.kill()
        alone = left[0].again()
        group.members.append(alone)
        berth.wait_until(lambda: answers(alone), "it listens", 60)
        assert ask(alone, "/healthz") == (200, "ok\n")
        berth.wait_until(lambda: "it starts, and waits until a majority" in ask(alone, "/readyz")[1], "it says what it waits for", 60)
        assert ask(alone, "/readyz")[0] == 503 and ask(alone, "/metrics")[0] == 200
        with pytest.raises(botocore.exceptions.ClientError, match="does not serve yet"):
            alone.client().list_clusters()
        group.members.append(lost.again())
        alone.ready()
        assert ask(alone, "/readyz") == (200, "ready\n")
    finally:
        group.stop()


def answers(member):
    try:
        return ask(member, "/healthz")
    except OSError:
        return None


def listed(members, member_id):
    """How each of these members lists that one."""
    return [member.members()[member_id] for member in members]


def has_moved(group, moved, address):
    """Waits until all say that a member is reached there, and that it is in touch with the leader."""
    shown = lambda: [(m["address"], m["connected"]) for m in listed(group.running(), moved.id)]
    berth.wait_until(lambda: set(shown()) == {(address, True)}, f"all reach {moved.name} at {address}", 20)


def start_elsewhere(group, member, *arguments, ports=None):
    moved = member.again(*arguments, ports=ports)
    group.members[group.members.index(member)] = moved
    return moved


def test_member_that_is_started_at_another_address_comes_back_and_all_find_it_there(tmp_path):
    group = Group(tmp_path)
    try:
        for member, flags in zip([*group.followers(), group.leader()], [(), ("--advertise", "localhost:{}"), ()], strict=True):
            member.stop()
            api, _, agents = member.ports
            ports = (api, berth.free_port(), agents)
            moved = start_elsewhere(group, member, *(flag.format(ports[1]) for flag in flags), ports=ports)
            moved.wait_for(r"(?m)^Ready", 20)
            has_moved(group, moved, flags[1].format(ports[1]) if flags else moved.address)
        register(moved.client(), "after-the-moves")
        again = group.restart(moved)
        has_moved(group, again, moved.address)
    finally:
        group.stop()


def test_member_without_which_there_is_no_majority_may_move(tmp_path):
    group = Group(tmp_path)
    try:
        moved, lost = group.followers()
        lost.kill()
        moved.stop()
        ports = (moved.ports[0], berth.free_port(), moved.ports[2])
        moved = start_elsewhere(group, moved, ports=ports)
        moved.wait_for(r"(?m)^Ready", 30)
        has_moved(group, moved, moved.address)
        back = group.restart(lost)
        has_moved(group, moved, moved.address)
        assert back.members()[moved.id]["address"] == moved.address
    finally:
        group.stop()


def test_member_that_nobody_reaches_is_not_said_to_be_in_touch(tmp_path):
    group = Group(tmp_path)
    try:
        deaf = group.followers()[0]
        member_id = deaf.id
        deaf.stop()
        nowhere = f"127.0.0.1:{berth.free_port()}"
        ports = (deaf.ports[0], berth.free_port(), deaf.ports[2])
        deaf = start_elsewhere(group, deaf, "--advertise", nowhere, ports=ports)
        left = [member for member in group.running() if member is not deaf]
        berth.wait_until(lambda: {m["address"] for m in listed(left, member_id)} == {nowhere}, "it has said where it is", 30)
        assert not any(m["connected"] for m in listed(left, member_id)), "it is heard, and hears nobody"
        doctor = left[0].run("doctor", "--only", "cluster", check=False)
        assert f"1 of 3 are not in touch with the leader: {deaf.name}" in doctor.stdout, doctor.stdout
        deaf.kill()
        deaf = start_elsewhere(group, deaf, "--advertise", deaf.address)
        deaf.wait_for(r"(?m)^Ready", 20)
        has_moved(group, deaf, deaf.address)
    finally:
        group.stop()
