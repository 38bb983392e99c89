#!/usr/bin/env python3
"""Writes botocore_requests.json: one request for every operation of botocore's S3 model.

Run with a Python that has botocore; the output goes to standard output. Required members get
placeholder values, optional members are left out.
"""

import json
import sys
from urllib.parse import parse_qsl, urlsplit

import botocore
import botocore.session
from botocore.awsrequest import prepare_request_dict
from botocore.serialize import create_serializer

SAMPLES = {"string": "text", "integer": 1, "long": 1, "boolean": True, "timestamp": 1700000000, "blob": b"x", "float": 1.0}
NAMED = {"Bucket": "bkt", "Key": "dir/key", "CopySource": "/bkt/source", "UploadId": "upload", "PartNumber": 1,
         "RequestRoute": "route", "RequestToken": "token", "AnnotationName": "note"}


def sample(name, shape):
    if name in NAMED:
        return NAMED[name]
    if shape.type_name == "structure":
        return {member: sample(member, shape.members[member]) for member in shape.required_members}
    if shape.type_name == "list":
        return [sample("member", shape.member)]
    if shape.type_name == "map":
        return {}
    if getattr(shape, "enum", None):
        return shape.enum[0]
    return SAMPLES[shape.type_name]


def serialise(model, operation, members):
    shape = operation.input_shape
    values = {name: sample(name, shape.members[name]) for name in members} if shape else {}
    request = create_serializer(model.metadata["protocol"], include_validation=False).serialize_to_request(values, operation)
    prepare_request_dict(request, "http://localhost:9000")
    parts = urlsplit(request["url"])
    path = parts.path.lstrip("/")
    bucket, _, key = path.partition("/")
    query = [[name, value] for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    headers = [[name.lower(), str(value)] for name, value in sorted(request["headers"].items()) if name != "User-Agent"]
    return {"operation": operation.name, "method": request["method"], "bucket": bucket, "key": key, "query": query, "headers": headers}


def main():
    model = botocore.session.get_session().get_service_model("s3")
    requests = []
    for name in sorted(model.operation_names):
        operation = model.operation_model(name)
        shape = operation.input_shape
        requests.append(serialise(model, operation, shape.required_members if shape else []))
    lines = ",\n".join(json.dumps(request) for request in requests)
    sys.stdout.write('{"botocore": "%s", "requests": [\n%s\n]}\n' % (botocore.__version__, lines))


main()
