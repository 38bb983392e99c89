"""obstore: it trusts the authority that SSL_CERT_FILE names."""

import sys
from importlib.metadata import version as installed

import obstore
from drive import serve
from obstore.store import S3Store

url, bucket = sys.argv[1:3]
store = S3Store(
    bucket, endpoint=url, virtual_hosted_style_request=False, client_options={"allow_http": url.startswith("http:")}
)


def version():
    return {"version": installed("obstore")}


def put(path, key):
    with open(path, "rb") as body:
        obstore.put(store, key, body.read(), use_multipart=False)


def multipart(path, key, part):
    with open(path, "rb") as body:
        obstore.put(store, key, body, use_multipart=True, chunk_size=int(part))


def get(key, path):
    with open(path, "wb") as output:
        output.write(bytes(obstore.get(store, key).bytes()))


def ranged(key, first, last, path):
    with open(path, "wb") as output:
        output.write(bytes(obstore.get_range(store, key, start=int(first), end=int(last) + 1)))


def sizes(prefix):
    return {"sizes": {item["path"]: item["size"] for page in obstore.list(store, prefix=prefix) for item in page}}


def copy(source, target):
    obstore.copy(store, source, target)


def delete(key):
    obstore.delete(store, key)


def create(path, key):
    """Writes only where nothing is."""
    with open(path, "rb") as body:
        try:
            obstore.put(store, key, body.read(), mode="create", use_multipart=False)
        except obstore.exceptions.AlreadyExistsError:
            return {"exists": True}
    return {"exists": False}


serve(
    {
        "version": version, "put": put, "get": get, "range": ranged, "multipart": multipart,
        "list": sizes, "copy": copy, "delete": delete, "create": create,
    }
)  # fmt: skip
