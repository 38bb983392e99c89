"""The search for secrets: what was planted, in every form that a log or a message may show it in."""

import base64
import re
import urllib.parse
from pathlib import Path

from . import gateway
from .stores.keys import SECRET_KEY as STORE_SECRET_KEY

# A signature of Signature Version 4 in a header, a query or a form.
SIGNATURE = re.compile(rb"[Ss]ignature\"?[=:]\s*\"?[0-9a-f]{64}")


def forms(secret):
    """A secret as it is, in hexadecimal, in base64 at each of three offsets, escaped, and as a list of bytes."""
    secret = secret.encode() if isinstance(secret, str) else secret
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), urllib.parse.quote(secret).encode()}
    for skip in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # Without the characters that depend on what stands before and after.
            text = encode(bytes(skip) + secret).rstrip(b"=")
            found.add(text[(0, 2, 3)[skip] : len(text) - 1 if (len(secret) + skip) % 3 else None])
    found.add(", ".join(map(str, secret)).encode())
    return {form for form in found if len(form) >= 6}


def search(data, canaries):
    """Names of the canaries that are in these bytes."""
    return sorted(name for name, secret in canaries.items() if any(form in data for form in forms(secret)))


def in_logs():
    """What the logs of all gateways of this run have of the secrets that all tests use."""
    secrets = {"client's secret": gateway.SECRET_KEY, "second client's secret": gateway.LIMITED_SECRET_KEY, "store's secret": STORE_SECRET_KEY}
    found = {}
    for path in dict.fromkeys(gateway.LOGS):
        if not Path(path).exists():
            continue
        data = Path(path).read_bytes()
        names = search(data, secrets)
        if SIGNATURE.search(data):
            names.append("a signature")
        if names:
            found[str(path)] = names
    return found
