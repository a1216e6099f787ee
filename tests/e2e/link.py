"""A way between two programs on this machine that a test can cut: what is sent then arrives nowhere, and connections hang."""

import contextlib
import selectors
import socket
import threading


class Link:
    """Forwards connections to `port`; `endpoint` is where to connect instead."""

    def __init__(self, port):
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._cut = threading.Event()
        self._pairs = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """From now on nothing goes through, in either direction; nobody is told."""
        self._cut.set()

    def heal(self):
        """Connections from before end, and new ones go through."""
        with self._lock:
            self._cut.clear()
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self._end(pair)

    def close(self):
        self._listener.close()
        self.heal()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    if self._cut.is_set():
                        # Held open, and never answered.
                        self._pairs.append((client,))
                        continue
                    try:
                        server = socket.create_connection(("127.0.0.1", self._to), 5)
                    except OSError:
                        client.close()
                        continue
                    server.settimeout(None)
                    self._pairs.append((client, server))
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client, server):
        with contextlib.suppress(OSError), selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    data = key.fileobj.recv(1 << 16)
                    if self._cut.is_set():
                        # What was under way is lost, and so is all that follows: the receiver hears no more of this connection.
                        return
                    if not data:
                        self._end((client, server))
                        return
                    key.data.sendall(data)

    @staticmethod
    def _end(pair):
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
