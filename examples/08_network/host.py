# SPDX-License-Identifier: MIT
"""The host's side of the network example: it serves pages and names to the guest. Started by `tools/demo network`, it
builds the guest and boots it twice: with a virtio network card on QEMU's user network, and with gvproxy over vsock. It
shows the pages of both directions and the path of each."""
import contextlib
import hashlib
import http.server
import io
import pathlib
import random
import re
import socket
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/vsock")]
import backend  # noqa: E402
import demonstration  # noqa: E402
import guestrun  # noqa: E402
import gvproxy  # noqa: E402
from demonstration import MISMATCH, Problem, say, settings  # noqa: E402

HOST = "host.containers.internal"  # gvproxy's name of this machine; on the user network `Names` resolves it
USER_NETWORK_HOST = "10.0.2.2"  # this machine's 127.0.0.1 there
CID = 4


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Pages(http.server.ThreadingHTTPServer):
    """A web server on a port of 127.0.0.1, with pages in memory: path -> bytes. `held` delays pages: path -> (count,
    event) sends `count` bytes, and the rest when the event is set."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, pages):
        self.pages, self.held, self.asked = dict(pages), {}, []
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def port(self):
        return self.server_address[1]

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # a client that has disconnected is no error
            super().handle_error(request, client_address)


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        data = self.server.pages.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        count, event = self.server.held.get(self.path, (0, None))
        if event:
            self.wfile.write(data[:count])
            event.wait(guestrun.HANG)
        self.wfile.write(data[count:])

    def log_message(self, *_):
        pass


class Names(threading.Thread):
    """A name server on a UDP port of 127.0.0.1. It resolves these names only: name -> IPv4 address."""

    def __init__(self, names):
        super().__init__(daemon=True)
        self.names, self.asked = names, []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]

    def run(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                query, sender = self.sock.recvfrom(512)
                self.sock.sendto(self.answer(query), sender)

    def answer(self, query):
        """Returns the reply to a query with one question (RFC 1035): the address, or that the name does not exist."""
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("ascii", "replace"))
            at += 1 + query[at]
        question, name = query[12:at + 5], ".".join(labels)
        self.asked.append(name)
        address = self.names.get(name)
        flags = b"\x81\x80" if address else b"\x81\x83"
        record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + socket.inet_aton(address) if address else b""
        return query[:2] + flags + b"\x00\x01" + (b"\x00\x01" if address else b"\x00\x00") + b"\x00\x00\x00\x00" + question + record


@contextlib.contextmanager
def serve(pages):
    """Serves pages and names to a guest until the block ends."""
    with Pages(pages) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        names = Names({HOST: USER_NETWORK_HOST})
        names.start()
        try:
            yield server, names
        finally:
            server.shutdown()
            names.sock.close()


def free_port():
    """Returns a port of 127.0.0.1 to listen at later. Linux gives ports from 32768 on to outgoing connections, of which one could
    have taken it by then: this one is below."""
    for _ in range(1000):
        port = random.randrange(20000, 32768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no free port")


def card(port, device="virtio-net-pci", options=""):
    """Returns QEMU's arguments for a network card on a user network, with the guest's port 80 at this port of
    127.0.0.1."""
    return ["-netdev", f"user,id=network,hostfwd=tcp:127.0.0.1:{port}-:80",
            "-device", ",".join(filter(None, [f"{device},netdev=network,id=card", options]))]


def get(port, path="/", timeout=guestrun.HANG):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as answer:
        return answer.read()


# ---- tools/demo network ----

def build():
    return demonstration.build("08_network", "Building the guest, with lwIP (only the first time takes a while)")


def show(image, title, way, extra, port, prepare=lambda: None):
    """Boots once: the guest fetches a page from this machine, and this machine one from the guest."""
    page = f"Hello from the host, {time.strftime('%Y-%m-%d %H:%M:%S')}.\n".encode()
    say(f"\n{title}")
    seen = []

    def visit():
        prepare()
        seen.append(get(port).decode())
        get(port, "/end")

    class Indented(io.StringIO):
        def write(self, text):
            sys.stdout.write(re.sub(r"^(?=.)", "  ", text, flags=re.M) if self.at_start else re.sub(r"(?<=\n)(?=.)", "  ", text))
            self.at_start = text.endswith("\n")
            return len(text)

        def flush(self):
            sys.stdout.flush()

    stream, complaints = Indented(), io.StringIO()
    stream.at_start = True
    with serve({"/page.txt": page}) as (server, names):
        words = f"{way} url=http://{HOST}:{server.port}/page.txt sha256={sha256(page)} length={len(page)} show=yes"
        if "virtio" in way:
            words += f" dns={USER_NETWORK_HOST}:{names.port}"
        status, _ = guestrun.boot(image, append=words, extra=extra, stream=stream, errors=complaints, timeout=60,
                                  script=[("HTTP: serving at", visit)])
    if status != 0:
        raise Problem(f"the guest ended with {status}: {complaints.getvalue().strip()}", MISMATCH)
    say("And the host fetched from the guest:\n  " + seen[0].rstrip("\n"))


def demo():
    settings()
    image = build()
    port = free_port()
    show(image, "1. A virtio network card, on QEMU's user network", "net=virtio", card(port), port)
    for missing in filter(None, (backend.missing(), gvproxy.missing())):
        raise Problem(missing)
    port = free_port()
    with backend.serve(CID) as vsock, gvproxy.serve(vsock.path(CID)) as network:
        show(image, "2. No network card: gvproxy, over a vsock device", "net=vsock", vsock.arguments(CID), port,
             lambda: network.expose(f"127.0.0.1:{port}", "192.168.127.2:80"))
    say("\nAll well: both pages came whole, both ways.")


if __name__ == "__main__":
    sys.exit(demonstration.status_of(demo))
