"""A certificate authority and a certificate for loopback names and addresses, made for one run."""

import subprocess

from .settings import tool


class Certificates:
    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        ca_key, request, extensions = folder / "ca-key.pem", folder / "request.pem", folder / "extensions"
        extensions.write_text(
            "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost,DNS:s3.localhost,DNS:*.s3.localhost\nbasicConstraints=CA:FALSE\n"
            "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n"
        )
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        # fmt: off
        _openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=sceau test authority",
                 "-addext", "keyUsage=keyCertSign", "-keyout", ca_key, "-out", self.ca)
        _openssl("req", *curve, "-subj", "/CN=127.0.0.1", "-keyout", self.key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial",
                 "-days", "2", "-extfile", extensions, "-out", self.cert)
        # fmt: on
        self.key.chmod(0o600)


def _openssl(*arguments):
    command = [tool("openssl"), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
