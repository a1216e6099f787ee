"""What is refused: requests that are not signed rightly, not well formed, or ask for what is not there. Nothing changes by them."""

import datetime
import http.client
import json

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.exceptions import ClientError

import berth

CONTAINER = {"name": "app", "image": "busybox", "memory": 32}


def raw(cluster, operation, body, secret=berth.SECRET, key=berth.ACCESS_KEY, age=0, sign=True, tamper=None, region=berth.REGION):
    """Sends a body as it is, signed by botocore; returns status and document."""
    url = f"{cluster.recorder.endpoint}/"
    headers = {"X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    request = botocore.awsrequest.AWSRequest("POST", url, headers=headers, data=body)
    if sign:
        credentials = botocore.credentials.Credentials(key, secret)
        auth = SigV4At(credentials, "ecs", region, age)
        auth.add_auth(request)
    prepared = request.prepare()
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=30)
    connection.request("POST", "/", body=tamper or prepared.body, headers=dict(prepared.headers.items()))
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


class SigV4At(botocore.auth.SigV4Auth):
    """Signs as if it were `age` seconds ago."""

    def __init__(self, credentials, service, region, age):
        super().__init__(credentials, service, region)
        self.age = age

    def add_auth(self, request):
        now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=self.age)
        request.context["timestamp"] = now.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        to_sign = self.string_to_sign(request, canonical)
        self._inject_signature_to_request(request, self.signature(to_sign, request))


CREATE = json.dumps({"clusterName": "forbidden"}).encode()


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"secret": "x" * 40}, "InvalidSignatureException"),
        ({"key": "AKIANOBODYKNOWSTHIS0"}, "UnrecognizedClientException"),
        ({"sign": False}, "MissingAuthenticationTokenException"),
        ({"age": 3600}, "InvalidSignatureException"),
        ({"age": -3600}, "InvalidSignatureException"),
        ({"tamper": CREATE.replace(b"forbidden", b"forbiddon")}, "InvalidSignatureException"),
    ],
    ids=["wrong-secret", "unknown-key", "unsigned", "stale", "of-the-future", "changed-on-the-way"],
)
def test_request_with_bad_signature_is_refused_and_changes_nothing(simulated, how, code):
    status, document = raw(simulated, "CreateCluster", CREATE, **how)
    assert (status, document["__type"]) == (400, code), document
    arns = berth.pages(simulated.ecs, "list_clusters", "clusterArns")
    assert not any("forbidd" in arn for arn in arns)


def test_wrong_secret_in_a_query_service_answers_in_its_protocol(simulated):
    sts = berth.client(simulated.recorder.endpoint, "sts", secret="x" * 40)
    with pytest.raises(ClientError) as error:
        sts.get_caller_identity()
    assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("CreateCluster", b'{"clusterName": ', "SerializationException"),
        ("CreateCluster", b'["not", "an", "object"]', "SerializationException"),
        ("CreateCluster", b'{"clusterName": 7}', "SerializationException"),
        ("CreateCluster", b"\xff\xfe", "SerializationException"),
        ("RunTask", b'{"taskDefinition": "x", "count": "three"}', "SerializationException"),
        ("RunTask", b"{}", "InvalidParameterException"),
        ("DescribeTasks", b"{}", "InvalidParameterException"),
        ("RegisterTaskDefinition", b'{"family": "x"}', "InvalidParameterException"),
        ("NoSuchOperation", b"{}", "UnknownOperationException"),
    ],
    ids=lambda value: value.decode(errors="replace") if isinstance(value, bytes) else value,
)
def test_malformed_request_is_refused(simulated, operation, body, code):
    if operation == "NoSuchOperation":
        # The recorder knows no shape for it, so it is asked past the recorder.
        simulated = type("Direct", (), {"recorder": type("Direct", (), {"endpoint": simulated.dev.endpoint})})
    status, document = raw(simulated, operation, body)
    assert (status, document["__type"]) == (400, code), document


def refused(call, code, *parts):
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] == code, error.value
    for part in parts:
        assert part in error.value.response["Error"]["Message"], error.value


def test_values_out_of_range_are_refused(simulated):
    ecs = simulated.ecs
    ecs.register_task_definition(family="range", containerDefinitions=[CONTAINER])
    for count in (0, 11):
        refused(lambda count=count: ecs.run_task(cluster="shop", taskDefinition="range", count=count), "InvalidParameterException")
    refused(
        lambda: ecs.create_service(cluster="shop", serviceName="range", taskDefinition="range", desiredCount=-1),
        "InvalidParameterException",
    )
    refused(lambda: ecs.create_cluster(clusterName="not a name!"), "InvalidParameterException")
    refused(lambda: ecs.describe_tasks(cluster="shop", tasks=["0" * 32] * 101), "InvalidParameterException")
    assert ecs.describe_services(cluster="shop", services=["range"])["services"] == []


def test_unknown_things_are_ecs_exceptions(simulated):
    ecs = simulated.ecs
    ecs.register_task_definition(family="known", containerDefinitions=[CONTAINER])
    refused(lambda: ecs.run_task(cluster="nowhere", taskDefinition="known"), "ClusterNotFoundException", "Cluster not found.")
    refused(lambda: ecs.list_services(cluster="nowhere"), "ClusterNotFoundException")
    refused(lambda: ecs.update_service(cluster="shop", service="nothing", desiredCount=1), "ServiceNotFoundException")
    refused(lambda: ecs.delete_service(cluster="shop", service="nothing"), "ServiceNotFoundException")
    refused(lambda: ecs.run_task(cluster="shop", taskDefinition="unheard-of"), "ClientException")
    refused(lambda: ecs.run_task(cluster="shop", taskDefinition="known:99"), "ClientException")
    refused(lambda: ecs.stop_task(cluster="shop", task="0" * 32), "InvalidParameterException")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("proxyConfiguration", {"containerName": "app", "type": "APPMESH"}),
        ("inferenceAccelerators", [{"deviceName": "d", "deviceType": "eia1.medium"}]),
        ("volumes", [{"name": "v", "fsxWindowsFileServerVolumeConfiguration": {
            "fileSystemId": "fs-1", "rootDirectory": "/", "authorizationConfig": {"credentialsParameter": "c", "domain": "d"}}}]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_task_definition_with_a_field_not_honoured_is_refused_by_name(simulated, member, value):
    ecs = simulated.ecs
    name = "fsxWindowsFileServerVolumeConfiguration" if member == "volumes" else member
    for part in ([member] if member == "volumes" else [name]):
        refused(
            lambda: ecs.register_task_definition(family="refused", containerDefinitions=[CONTAINER], **{member: value}),
            "ClientException",
            part,
        )
    refused(lambda: ecs.describe_task_definition(taskDefinition="refused"), "ClientException")


def test_operation_without_behaviour_names_itself(simulated):
    with pytest.raises(ClientError) as error:
        simulated.ecs.list_gateways()
    assert "ListGateways" in error.value.response["Error"]["Message"]
