"""A site whose key-encryption key lies in a file, where a test can have it."""

import re
from types import SimpleNamespace

from .fronts import boto
from .gateway import Site


class SoftwareSite(Site):
    """A site with software keys: no token to start, and every key computable by the test."""

    def __init__(self, folder, store, control_bucket):
        token = SimpleNamespace(env={}, module="", pin_file="", pass_environment=[])
        super().__init__(folder, store, token, control_bucket)
        self.key_file = folder / "kek"

    def config(self, name, *arguments, **options):
        path = super().config(name, *arguments, **options)
        text = re.sub(r"\[keys\.pkcs11\].*?(?=\[access\])", f'[keys.insecure_local]\nkey_file = "{self.key_file}"\n',
                      path.read_text(), flags=re.S)
        path.write_text(text.replace('provider = "pkcs11"', 'provider = "insecure-local"'))
        return path

    def begin(self, store=None):
        """Makes the control bucket and the keyring; `store`: where, if not through the site's own."""
        store = store or self.store
        boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=self.control_bucket)
        self.enrol()
        return self

    def keks(self):
        """The key-encryption keys by version."""
        lines = (line.split() for line in self.key_file.read_text().splitlines())
        return {int(words[1]): bytes.fromhex(words[2]) for words in lines if words and words[0] == "key"}
