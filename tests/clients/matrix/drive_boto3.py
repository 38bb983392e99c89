"""boto3 of whichever Python runs this: credentials, region and authority come from the environment."""

import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from drive import serve

url, bucket = sys.argv[1:3]
# Of its own it would sign URLs with version 2.
s3 = boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"))


def version():
    return {"version": boto3.__version__}


def put(path, key):
    with open(path, "rb") as body:
        s3.put_object(Bucket=bucket, Key=key, Body=body)


def get(key, path):
    s3.download_file(bucket, key, path)


def ranged(key, first, last, path):
    answer = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")
    with open(path, "wb") as output:
        output.write(answer["Body"].read())


def multipart(path, key, part):
    s3.upload_file(path, bucket, key, Config=TransferConfig(multipart_threshold=int(part), multipart_chunksize=int(part)))


def sizes(prefix):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {"sizes": {item["Key"]: item["Size"] for page in pages for item in page["Contents"]}}


def copy(source, target):
    s3.copy({"Bucket": bucket, "Key": source}, bucket, target)


def delete(key):
    s3.delete_object(Bucket=bucket, Key=key)


def presign(key):
    return {"url": s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})}


serve(
    {
        "version": version, "put": put, "get": get, "range": ranged, "multipart": multipart,
        "list": sizes, "copy": copy, "delete": delete, "presign": presign,
    }
)  # fmt: skip
