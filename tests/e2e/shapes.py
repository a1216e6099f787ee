"""Holds what a server answers against the service model that botocore ships: the raw document, not what a lenient parser made of it."""

import datetime
import json
import xml.etree.ElementTree as ElementTree

import botocore.session

# Errors that AWS's front door answers with in every service; the models do not list them.
COMMON_ERRORS = {
    "AccessDeniedException",
    "IncompleteSignatureException",
    "InternalFailure",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "NotImplementedException",
    "SerializationException",
    "ServiceUnavailable",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
}

_session = botocore.session.get_session()
_models = {}


def model(service):
    if service not in _models:
        _models[service] = _session.get_service_model(service)
    return _models[service]


def violations(shape, value, path="$"):
    """Every place where a JSON value is not what the shape says."""
    check = globals().get(f"_{shape.type_name}", _other)
    return list(check(shape, value, path))


def _structure(shape, value, path):
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no structure {shape.name}"
        return
    for name in shape.required_members:
        if name not in value:
            yield f"{path}: {shape.name} lacks {name}"
    for name, member in value.items():
        if name not in shape.members:
            yield f"{path}.{name}: {shape.name} has no such member"
        elif member is None:
            yield f"{path}.{name}: null"
        else:
            yield from violations(shape.members[name], member, f"{path}.{name}")


def _list(shape, value, path):
    if not isinstance(value, list):
        yield f"{path}: {value!r} is no list"
        return
    for index, element in enumerate(value):
        yield from violations(shape.member, element, f"{path}[{index}]")


def _map(shape, value, path):
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no map"
        return
    for key, member in value.items():
        yield from violations(shape.value, member, f"{path}.{key}")


def _string(shape, value, path):
    if not isinstance(value, str):
        yield f"{path}: {value!r} is no string"
    elif shape.enum and value not in shape.enum:
        yield f"{path}: {value!r} is not one of {shape.enum}"


def _boolean(shape, value, path):
    if not isinstance(value, bool):
        yield f"{path}: {value!r} is no boolean"


def _integer(shape, value, path):
    if isinstance(value, bool) or not isinstance(value, int):
        yield f"{path}: {value!r} is no {shape.type_name}"


_long = _integer


def _double(shape, value, path):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        yield f"{path}: {value!r} is no number"


_float = _double


def _timestamp(shape, value, path):
    yield from _double(shape, value, path)
    if isinstance(value, (int, float)) and not 1_577_836_800 < value < 4_102_444_800:
        yield f"{path}: {value!r} is no time of this century in seconds: {datetime.datetime.fromtimestamp(0)}"


def _other(shape, value, path):
    yield f"{path}: the tests do not know type {shape.type_name}"


def exchange_violations(target, status, content_type, body):
    """What is wrong with one answer; `target` is the request's `X-Amz-Target`, or `None` for a query service."""
    if target is None:
        return query_violations(status, body)
    operation = model("ecs").operation_model(target.split(".", 1)[1])
    if not content_type.startswith("application/x-amz-json-1.1"):
        return [f"content type {content_type!r}"]
    document = json.loads(body)
    if status == 200:
        if operation.output_shape is None:
            return [] if document == {} else [f"{document!r} where nothing is to be said"]
        return violations(operation.output_shape, document)
    code = document.get("__type", "")
    if code.endswith("ServerException") != (status == 500) and status != 503:
        return [f"{code} with status {status}"]
    declared = {shape.name for shape in operation.error_shapes}
    if code not in declared | COMMON_ERRORS | {"ClientException", "InvalidParameterException"}:
        return [f"{code!r} is no error of {operation.name}"]
    if not isinstance(document.get("message"), str):
        return [f"no message in {document!r}"]
    return []


def query_violations(status, body):
    root = ElementTree.fromstring(body)
    tag = root.tag.split("}")[-1]
    if status != 200:
        return [] if tag == "ErrorResponse" else [f"error document {tag}"]
    shape = model("sts").operation_model(tag.removesuffix("Response")).output_shape
    result = next((child for child in root if child.tag.endswith(shape.name.removesuffix("Response") + "Result")), None)
    if result is None:
        return [f"{tag} without a result"]
    return [f"{child.tag}: no such member" for child in result if child.tag.split("}")[-1] not in shape.members]
