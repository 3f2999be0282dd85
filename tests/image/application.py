"""The application of the tests' task: an answer takes 50 ms, and SIGTERM ends it at once, as it ends most.

It runs in a container from the image's bare base, so it takes nothing but the standard library.
"""

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/work":
            time.sleep(0.05)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """No test reads it."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
