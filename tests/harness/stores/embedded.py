"""The small store inside `sceau dev`, alone."""

from ..process import Server, free_port
from ..settings import DEVSTORE
from .keys import ACCESS_KEY, SECRET_KEY


class EmbeddedStore:
    """The embedded store alone, from its example server."""

    name = "devstore"
    title = "embedded store"
    access_key, secret_key = ACCESS_KEY, SECRET_KEY

    def __init__(self, folder):
        folder.mkdir(parents=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        arguments = [DEVSTORE, f"127.0.0.1:{port}", folder / "data", ACCESS_KEY, SECRET_KEY]
        self.server = Server("devstore", arguments, folder)
        self.server.wait_port(port)

    def stop(self):
        self.server.stop()
