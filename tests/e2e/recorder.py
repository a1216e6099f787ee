"""A proxy between clients and the controller that holds every answer against the model. Clients sign for the proxy's address, and the
request goes on as it came, so the signature stays good."""

import collections
import http.client
import http.server
import threading

import shapes


class Recorder:
    """Forwards to `port` on loopback; `violations` lists what was wrong, `calls` counts the operations."""

    def __init__(self, port):
        self.violations = []
        self.calls = collections.Counter()
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    upstream.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        upstream.putheader(name, value)
                    upstream.endheaders(body)
                    answer = upstream.getresponse()
                    data = answer.read()
                finally:
                    upstream.close()
                recorder.check(self.headers, answer.status, answer.getheader("content-type", ""), data)
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def check(self, headers, status, content_type, body):
        target = headers.get("x-amz-target")
        try:
            found = shapes.exchange_violations(target, status, content_type, body)
        except Exception as error:  # whatever cannot be read is not what the model says
            found = [f"cannot be read: {error!r}: {body[:500]!r}"]
        self.calls[(target or "query").split(".")[-1]] += 1
        self.violations += [f"{target} ({status}): {violation}" for violation in found]

    def close(self):
        self._server.shutdown()
        self._server.server_close()
