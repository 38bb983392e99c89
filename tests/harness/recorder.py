"""A store that remembers every byte it was sent: a forwarder in front of the real one."""

import socket
import threading


class Recorder:
    """Forwards connections to a store and keeps what goes towards it."""

    def __init__(self, store):
        self.access_key, self.secret_key = store.access_key, store.secret_key
        self._target = store.url.split("//")[1].split(":")
        self._received, self._lock = [], threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def received(self):
        with self._lock:
            return b"".join(self._received)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            store = socket.create_connection((self._target[0], int(self._target[1])))
            for source, sink, keep in ((client, store, True), (store, client, False)):
                threading.Thread(target=self._copy, args=(source, sink, keep), daemon=True).start()

    def _copy(self, source, sink, keep):
        try:
            while data := source.recv(65536):
                if keep:
                    with self._lock:
                        self._received.append(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        self._listener.close()
