"""What is started with the wrong directory or for the wrong account is refused before it does harm, and told how to do better."""

import shutil

import pytest

import berth
from members import Group
from test_hosts_join import NOT_LET_IN, Host


@pytest.fixture
def group(tmp_path):
    directory = tmp_path / "cluster"
    directory.mkdir()
    cluster = Group(directory, count=1)
    cluster.members[0].client().create_cluster(clusterName="default")
    yield cluster
    cluster.stop()


@pytest.fixture
def host(group):
    """A host that has joined, and was stopped."""
    member = group.members[0]
    joined = Host(group, "host-1", "--join", member.token(role="agent"), "--peer", member.address).connected()
    joined.stop()
    return joined


def contents(folder):
    """All files by their names, with what is in those that say who somebody is; but for those of a store, which go on while it is used."""
    files = [path for path in folder.rglob("*") if path.is_file() and "store" not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): path.read_bytes() if path.suffix in (".pem", ".json") else None for path in files}


def refused(tmp_path, *arguments):
    """The last words of a program that is not to be started again like that."""
    return last_words(berth.Process(arguments, tmp_path / "refused.log"))


def last_words(process):
    try:
        assert process.child.wait(60) == NOT_LET_IN, process.output()
    finally:
        process.stop()
    return process.output()


def test_agent_on_the_directory_of_a_controller_is_refused_and_the_controller_stays_what_it_was(group, tmp_path):
    member = group.members[0]
    token, before = member.token(role="agent"), contents(member.data_dir)
    said = refused(
        tmp_path, "agent", "--data-dir", member.data_dir, "--runtime", "simulated", "--join", token, "--peer", member.address
    )
    assert f"{member.data_dir} is the data directory of a controller, whose store is in it" in said and "--data-dir" in said, said
    assert contents(member.data_dir) == before
    group.restart(member).client().list_clusters()


@pytest.mark.parametrize("how", ["--bootstrap", "--join-file", "alone"])
def test_controller_on_the_directory_of_an_agent_is_refused_and_the_agent_stays_what_it_was(group, host, tmp_path, how):
    member = group.members[0]
    before = contents(host.data_dir)
    token = tmp_path / "token"
    token.write_text(member.token())
    flags = {"--bootstrap": [how], "--join-file": [how, token, "--peer", member.address], "alone": []}[how]
    ports = ["--listen", f"127.0.0.1:{berth.free_port()}"]
    process = berth.Process(
        ["controller", "--data-dir", host.data_dir, *ports, *flags], tmp_path / "refused.log", BERTH_ROOT_ACCESS_KEY_ID=None,
        BERTH_ROOT_SECRET_ACCESS_KEY=None,
    )
    said = last_words(process)
    assert f"{host.data_dir} is the data directory of an agent, whose ledger is in it" in said and "--data-dir" in said, said
    assert contents(host.data_dir) == before
    Host(group, "host-1").connected().stop()


def test_controller_with_the_identity_of_an_agent_says_so_and_comes_back_as_it_says(group, host, tmp_path):
    member = group.members[0]
    member.stop()
    identity = member.data_dir / "identity"
    identity.rename(tmp_path / "lost")
    shutil.copytree(host.data_dir / "identity", identity)
    said = last_words(member.again())
    assert f"the certificate in {identity} is for berth://" in said and f"this controller is member {member.id}" in said, said
    assert "--bootstrap" in said and "removed from" not in said, said
    # It was the only one.
    shutil.rmtree(identity)
    (member.data_dir / "member.json").rename(tmp_path / "member.json")
    group.members[0] = member.again("--bootstrap").ready()
    assert group.members[0].id == member.id
    assert [arn.rsplit("/")[-1] for arn in group.members[0].client().list_clusters()["clusterArns"]] == ["default"]
    Host(group, "host-1").connected().stop()


def test_agent_with_the_identity_of_a_controller_says_so_and_does_not_join_over_it(group, host, tmp_path):
    member = group.members[0]
    identity = host.data_dir / "identity"
    shutil.rmtree(identity)
    shutil.copytree(member.data_dir / "identity", identity)
    before = contents(identity)
    token = member.token(role="agent")
    said = refused(
        tmp_path, "agent", "--data-dir", host.data_dir, "--runtime", "simulated", "--join", token, "--peer", member.address
    )
    assert f"the certificate in {identity} is for berth://" in said and "is no agent" in said, said
    assert contents(identity) == before


@pytest.mark.parametrize(("time", "is_good"), [("59s", False), ("1m", True), ("30d", True), ("31d", False)])
def test_lifetime_of_a_token_is_told_by_the_command_as_the_api_takes_it(group, time, is_good):
    asked = group.members[0].run("token", "create", "--role", "agent", "--expires", time, check=False)
    assert (asked.returncode == 0) == is_good, asked.stderr
    assert is_good or "between 1m and 30d" in asked.stderr, asked.stderr


OTHER_ACCOUNT = "999999999999"
ADVICE = f"the account of the cluster is {berth.ACCOUNT}, and this host says {OTHER_ACCOUNT}: start it with --account-id {berth.ACCOUNT}"


def test_host_of_another_account_is_not_let_in_and_its_token_stays_good(group, tmp_path):
    member = group.members[0]
    token = member.token(role="agent")
    joining = ["agent", "--data-dir", tmp_path / "host-1", "--runtime", "simulated", "--join", token, "--peer", member.address]
    said = refused(tmp_path, *joining, "--account-id", OTHER_ACCOUNT)
    assert "does not let this host join" in said and ADVICE in said, said
    assert member.run("hosts", "--format", "json").stdout.strip() == "[]"
    Host(group, "host-2", "--join", token, "--peer", member.address).connected().stop()


def test_host_that_has_joined_and_is_started_for_another_account_ends_and_is_the_same_as_it_was_afterwards(group, host, tmp_path):
    before = host.instance()["containerInstanceArn"]
    said = refused(tmp_path, "agent", "--data-dir", host.data_dir, "--runtime", "simulated", "--account-id", OTHER_ACCOUNT)
    assert "the cluster does not take this host" in said and ADVICE in said, said
    again = Host(group, "host-1").connected()
    assert again.instance()["containerInstanceArn"] == before
    again.stop()


def test_host_of_another_account_than_that_of_a_controller_by_itself_is_refused(tmp_path):
    controller = berth.Process(
        ["controller", "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0", "--data-dir", tmp_path / "data"], tmp_path / "log"
    )
    try:
        url = controller.wait_for(r"(?m)^Agents: (\S+)$").group(1)
        controller.wait_for(r"(?m)^Ready")
        flags = ["--runtime", "simulated", "--controller", url, "--account-id", OTHER_ACCOUNT]
        assert ADVICE in refused(tmp_path, "agent", "--data-dir", tmp_path / "host", *flags)
    finally:
        controller.stop()
