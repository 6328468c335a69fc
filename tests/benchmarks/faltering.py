"""A server whose first start fails, as one that met a port in use: python -m faltering, for `test_peers`.

FALTERS_IN is a folder that each start leaves a file in, FALTERS how many starts fail.
"""

import http.server
import json
import os
import tempfile
from pathlib import Path


class Answers(http.server.BaseHTTPRequestHandler):
    """The same probability for every tile."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the tile, answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"defect_probability": 0.25}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    starts = Path(os.environ["FALTERS_IN"])
    tempfile.mkstemp(dir=starts)
    if len(list(starts.iterdir())) <= int(os.environ["FALTERS"]):
        raise SystemExit("the port is in use")
    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PEER_PORT"])), Answers).serve_forever()
