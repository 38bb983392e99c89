"""The key management service of AWS as moto plays it: with users, rights and signatures checked."""

import os
import signal
import ssl
import urllib.request

import boto3

from .process import Server, free_port
from .settings import tool

REGION = "eu-west-3"
# What a gateway may do, and no more (docs/operations.md); moto knows no resources.
POLICY = """{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*",
"Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:GenerateRandom"]}]}"""
ADMIN = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": "*"}]}'


class AwsKms:
    """A server with one key, an administrator, and a user with the least rights; over TLS."""

    # What `Site` wants to know of a token, before another table takes the place of [keys.pkcs11].
    env, pass_environment, module, pin_file = {}, [], "/none", "/none"
    provider = "aws-kms"

    def __init__(self, folder, certificates):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, port = folder, free_port()
        self.ca, self.address = certificates.ca, f"https://127.0.0.1:{port}"
        tls = ["--ssl", "--ssl-cert", certificates.cert, "--ssl-key", certificates.key]
        self.server = Server("moto-kms", [tool("moto_server"), "-H", "127.0.0.1", "-p", port, *tls], folder)
        self.server.wait_port(port)
        iam = self.client("iam", "none", "none")
        users = {}
        for name, policy in (("admin", ADMIN), ("sceau", POLICY)):
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
            key = iam.create_access_key(UserName=name)["AccessKey"]
            users[name] = key["AccessKeyId"], key["SecretAccessKey"]
        self.access_key, self.secret = users["sceau"]
        self.secret_file = folder / "secret"
        self.write_secret(self.secret)
        self.admin, self.iam = self.client("kms", *users["admin"]), self.client("iam", *users["admin"])
        self.make_key()
        # From here on every request needs a user with the right, and a signature.
        request = urllib.request.Request(f"{self.address}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"})
        trust = ssl.create_default_context(cafile=self.ca)
        urllib.request.urlopen(request, timeout=10, context=trust).close()

    def make_key(self):
        """The key of configurations that are written from now on."""
        made = self.admin.create_key(KeyUsage="ENCRYPT_DECRYPT", MultiRegion=False)["KeyMetadata"]
        self.key, self.arn = made["KeyId"], made["Arn"]

    def client(self, service, access_key, secret):
        keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret}
        return boto3.client(service, endpoint_url=self.address, region_name=REGION, verify=str(self.ca), **keys)

    def write_secret(self, secret):
        self.secret_file.write_text(secret)
        self.secret_file.chmod(0o600)

    def freeze(self):
        """The server takes connections and answers nothing."""
        os.kill(self.server.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.server.pid, signal.SIGCONT)

    def table(self):
        """The lines of a configuration."""
        return f'''[keys.aws_kms]
key = "{self.arn}"
address = "{self.address}"
ca_file = "{self.ca}"
[keys.aws_kms.credentials]
source = "static"
access_key = "{self.access_key}"
secret_file = "{self.secret_file}"
'''

    def stop(self):
        self.thaw()
        self.server.stop()
