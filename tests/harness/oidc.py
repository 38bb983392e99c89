"""An identity provider in this process: discovery, keys and signed tokens."""

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "sts.amazonaws.com"
DISCOVERY = "/.well-known/openid-configuration"


class Key:
    """A signing key and what is published of it."""

    def __init__(self, kid, algorithm="RS256"):
        self.kid, self.algorithm = kid, algorithm
        if algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def public(self):
        shown = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return {**shown, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def public_pem(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class Issuer:
    """An issuer over HTTPS; it can stop answering and change its keys."""

    def __init__(self, certificates):
        self.keys, self.requests, self.is_down = [Key("first")], [], False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.requests.append(self.path)
                document = issuer.document(self.path)
                self.send_response(200 if document else 503)
                body = json.dumps(document).encode()
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert, certificates.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}/realm"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self, path):
        if self.is_down:
            return None
        return {
            "/realm" + DISCOVERY: {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/realm/keys": {"keys": [key.public() for key in self.keys]},
        }.get(path)

    def claims(self, **changes):
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "job:reports", "iat": now, "nbf": now, "exp": now + 600}
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key=None, headers=None, **changes):
        key = key or self.keys[0]
        headers = {"kid": key.kid, **(headers or {})}
        return jwt.encode(self.claims(**changes), key.private, algorithm=key.algorithm, headers=headers)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
