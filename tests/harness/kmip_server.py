"""A PyKMIP server and its operator, by the interpreter that has PyKMIP (tests/requirements-kmip.txt).

    kmip_server.py certificates FOLDER         an authority, a server, two of its clients and a stranger's
    kmip_server.py serve FOLDER PORT [MODE..]  the server; its keys are kept in FOLDER
    kmip_server.py do FOLDER PORT VERB ...     one act of the gateway's client: create NAME MASK.., activate ID,
                                               revoke ID REASON, destroy ID, decrypts ID, unwrap ID SCHEME IV CONTEXT BLOB (all but ID
                                               and SCHEME in hexadecimal), which takes the key out and does as
                                               docs/format/ section 9.1 says

Modes make it worse than it is: `lenient` goes on with revoked keys, as the standard allows; `ignore-aad` takes
associated data and forgets it; `no-gcm` has no AES-GCM. While FOLDER/delay holds a number, answers wait so many seconds.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CLIENTS = ("gateway", "other")


def certificates(folder):
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60, cwd=folder)

    def certificate(name, authority, extensions):
        openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "extensions").write_text(f"{extensions}\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n")
        signed_by = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signed_by, "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem")
        (folder / f"{name}.key").chmod(0o600)

    folder.mkdir(parents=True, exist_ok=True)
    for authority in ("ca", "foreign-ca"):
        subject = ["-subj", f"/CN=test authority {authority}", "-addext", "keyUsage=keyCertSign"]
        openssl("req", "-x509", *curve, "-days", "2", *subject, "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
    certificate("server", "ca", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth")
    for client in CLIENTS:
        certificate(client, "ca", "extendedKeyUsage=clientAuth")
    certificate("stranger", "foreign-ca", "extendedKeyUsage=clientAuth")


def serve(folder, port, modes):
    from kmip.core import enums
    from kmip.services.server import KmipServer
    from kmip.services.server.crypto.engine import CryptographyEngine
    from kmip.services.server.engine import KmipEngine

    real_object, real_request = KmipEngine._get_object_with_access_controls, KmipEngine.process_request
    real_encrypt, real_decrypt = CryptographyEngine.encrypt, CryptographyEngine.decrypt
    real_init = CryptographyEngine.__init__

    class AlwaysActive:
        state = enums.State.ACTIVE

        def __init__(self, held):
            self.held = held

        def __getattr__(self, name):
            return getattr(self.held, name)

    def lenient(engine, uid, operation):
        held = real_object(engine, uid, operation)
        return AlwaysActive(held) if operation == enums.Operation.GET else held

    def forgetful(real):
        return lambda *arguments, **named: real(*arguments, **{**named, "auth_additional_data": None})

    def without_gcm(engine):
        real_init(engine)
        del engine._modes[enums.BlockCipherMode.GCM]

    def delayed(engine, *arguments, **named):
        if (folder / "delay").exists():
            time.sleep(float((folder / "delay").read_text() or 0))
        return real_request(engine, *arguments, **named)

    # PyKMIP forks a manager, which would outlive a server that is killed: PR_SET_PDEATHSIG.
    os.register_at_fork(after_in_child=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))
    KmipEngine.process_request = delayed
    if "lenient" in modes:
        KmipEngine._get_object_with_access_controls = lenient
    if "ignore-aad" in modes:
        CryptographyEngine.encrypt, CryptographyEngine.decrypt = forgetful(real_encrypt), forgetful(real_decrypt)
    if "no-gcm" in modes:
        CryptographyEngine.__init__ = without_gcm

    (folder / "policy").mkdir(exist_ok=True)
    # An empty file instead of the configuration in /etc.
    (folder / "server.conf").write_text(
        f"[server]\nhostname=127.0.0.1\nport={port}\ncertificate_path={folder}/server.pem\nkey_path={folder}/server.key\n"
        f"ca_path={folder}/ca.pem\nauth_suite=TLS1.2\npolicy_path={folder}/policy\nenable_tls_client_auth=True\n"
        "tls_cipher_suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\nlogging_level=INFO\n"
        f"database_path={folder}/keys.sqlite\n"
    )
    server = KmipServer(config_path=str(folder / "server.conf"), log_path=str(folder / "server.log"))
    with server:
        server.serve()


def do(folder, port, verb, arguments):
    from kmip.core import enums
    from kmip.pie.client import ProxyKmipClient

    (folder / "client.conf").write_text("[client]\n")
    client = ProxyKmipClient(
        hostname="127.0.0.1",
        port=port,
        cert=f"{folder}/gateway.pem",
        key=f"{folder}/gateway.key",
        ca=f"{folder}/ca.pem",
        ssl_version="PROTOCOL_TLSv1_2",
        config_file=str(folder / "client.conf"),
        kmip_version=enums.KMIPVersion.KMIP_1_2,
    )
    with client:
        if verb == "create":
            name, *masks = arguments
            usage = [enums.CryptographicUsageMask[mask] for mask in masks]
            print(client.create(enums.CryptographicAlgorithm.AES, 256, name=name, cryptographic_usage_mask=usage))
        elif verb == "activate":
            client.activate(arguments[0])
        elif verb == "revoke":
            reason = enums.RevocationReasonCode[arguments[1]]
            occurred = int(time.time()) if "COMPROMISE" in arguments[1] else None
            client.revoke(reason, arguments[0], compromise_occurrence_date=occurred)
        elif verb == "destroy":
            client.destroy(arguments[0])
        elif verb == "decrypts":
            parameters = {
                "cryptographic_algorithm": enums.CryptographicAlgorithm.AES,
                "block_cipher_mode": enums.BlockCipherMode.CBC,
                "padding_method": enums.PaddingMethod.PKCS5,
            }
            sealed, _ = client.encrypt(b"x", arguments[0], parameters, b"0" * 16)
            assert client.decrypt(sealed, arguments[0], parameters, b"0" * 16) == b"x"
        elif verb == "unwrap":
            print(unwrap(client.get(arguments[0]).value, arguments[1], *map(bytes.fromhex, arguments[2:])).hex())
        else:
            raise SystemExit(f"no such verb: {verb}")


def unwrap(kek, scheme, iv, context, blob):
    from hashlib import sha256

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if scheme == "kmip-gcm":
        return AESGCM(kek).decrypt(iv, blob, sha256(b"sof1/wrap-bind\0" + iv + context).digest())
    assert scheme == "aes-cbc-kdf"
    key = b""
    for number in (1, 2):
        chain = Cipher(algorithms.AES(kek), modes.CBC(bytes(16))).encryptor()
        message = b"sof1/wrap-cbc\0" + number.to_bytes(2, "big") + iv + context + bytes(3)
        assert len(message) == 112
        key += (chain.update(message) + chain.finalize())[-16:]
    return AESGCM(key).decrypt(bytes(12), blob, context)


if __name__ == "__main__":
    command, folder, *rest = sys.argv[1:]
    folder = Path(folder).absolute()
    if command == "certificates":
        certificates(folder)
    elif command == "serve":
        serve(folder, int(rest[0]), rest[1:])
    else:
        do(folder, int(rest[0]), rest[1], rest[2:])
