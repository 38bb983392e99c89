"""moto: AWS-shaped answers for the long tail of operations. It does not verify signatures."""

from ..process import Server, free_port
from ..settings import tool
from .keys import ACCESS_KEY, SECRET_KEY


class Moto:
    """One moto server, everything in memory."""

    name = "moto"
    title = "moto 5.2.5"
    access_key, secret_key = ACCESS_KEY, SECRET_KEY

    def __init__(self, folder):
        folder.mkdir(parents=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.server = Server("moto", [tool("moto_server"), "-H", "127.0.0.1", "-p", port], folder)
        self.server.wait_port(port)

    def stop(self):
        self.server.stop()
