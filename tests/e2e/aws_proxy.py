# SPDX-License-Identifier: Apache-2.0
"""A proxy on loopback between an AWS client and an endpoint, that writes down what passes. Bytes go through as they are, the
Host header too, so signatures stay valid. Each request with its reply is one JSON file; aws_model.py checks them.

    with Recorder("127.0.0.1", endpoint.port, directory) as proxy:
        ... clients talk to proxy.url ...
    proxy.check()          # AssertionError that lists what does not conform

    aws_proxy.py --upstream HOST:PORT --record DIR [--listen PORT]"""

import argparse
import base64
import itertools
import json
import os
import pathlib
import select
import socket
import sys
import threading

HEAD_MAX = 256 << 10
BODY_MAX = 64 << 20


class Broken(Exception):
    """The peer has closed, or does not speak HTTP."""


class Stream:
    """Messages of one side of a connection, with every byte that they were made of."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Broken("closed")
        self.buffer += data

    def until(self, mark, limit):
        while mark not in self.buffer:
            if len(self.buffer) > limit:
                raise Broken("too long a head")
            self.more()
        return self.take(self.buffer.index(mark) + len(mark))

    def take(self, n):
        while len(self.buffer) < n:
            self.more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def chunks(self):
        """(bytes as sent, body)."""
        raw, body = b"", b""
        while True:
            line = self.until(b"\r\n", 1024)
            raw += line
            size = int(line.split(b";")[0], 16)
            if len(body) + size > BODY_MAX:
                raise Broken("too long a body")
            if size == 0:
                while True:
                    line = self.until(b"\r\n", HEAD_MAX)
                    raw += line
                    if line == b"\r\n":
                        return raw, body
            data = self.take(size + 2)
            raw += data
            body += data[:-2]

    def rest(self):
        try:
            while len(self.buffer) < BODY_MAX:
                self.more()
        except Broken:
            pass
        return self.take(len(self.buffer))

    def head(self):
        """(bytes, first line, headers with names in lower case)."""
        raw = self.until(b"\r\n\r\n", HEAD_MAX)
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return raw, first, headers

    def body(self, headers, to_the_end=False):
        """(bytes as sent, body)."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self.chunks()
        if "content-length" in headers:
            n = int(headers["content-length"])
            if not 0 <= n <= BODY_MAX:
                raise Broken("too long a body")
            data = self.take(n)
        else:
            data = self.rest() if to_the_end else b""
        return data, data


class Recorder:
    def __init__(self, host, port, directory, listen=0):
        self.upstream, self.directory = (host, port), pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()
        self.sockets, self.threads = set(), []
        self.listener = socket.create_server(("127.0.0.1", listen), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.closing = False
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if self.closing:
                    client.close()
                    return
                self.sockets.add(client)
                t = threading.Thread(target=self.serve, args=(client,), daemon=True)
                self.threads = [x for x in self.threads if x.is_alive()] + [t]
            t.start()

    def serve(self, client):
        server = None
        try:
            server = socket.create_connection(self.upstream, timeout=30)
            server.settimeout(None)
            with self.lock:
                self.sockets.add(server)
            ins, outs = Stream(client), Stream(server)
            while self.asked(ins, outs) and self.exchange(ins, outs):
                pass
        except (Broken, OSError, ValueError):
            pass
        finally:
            with self.lock:
                for s in filter(None, (client, server)):
                    self.sockets.discard(s)
                    s.close()

    @staticmethod
    def asked(ins, outs):
        """Whether there is a next request. An endpoint that closes between two has closed for the client, too."""
        if ins.buffer:
            return True
        poll = select.poll()
        poll.register(ins.sock, select.POLLIN)
        poll.register(outs.sock, select.POLLIN)
        ready = [fd for fd, _ in poll.poll()]
        return ready == [ins.sock.fileno()]

    def exchange(self, ins, outs):
        """One request and its reply; whether the connection goes on."""
        raw, first, headers = ins.head()
        outs.sock.sendall(raw)
        if headers.get("expect", "").lower() == "100-continue":
            ins.sock.sendall(outs.until(b"\r\n\r\n", HEAD_MAX))
        raw, body = ins.body(headers)
        outs.sock.sendall(raw)
        method, path, _ = (first + "  ").split(" ", 2)
        record = {"request": {"method": method, "path": path, "headers": headers, "body": base64.b64encode(body).decode()},
                  "reply": None}
        try:
            raw, first, answered = outs.head()
            status = int(first.split(" ")[1])
            sent, body = (b"", b"") if method == "HEAD" or status in (204, 304) else outs.body(answered, True)
            record["reply"] = {"status": status, "headers": answered, "body": base64.b64encode(body).decode()}
        finally:
            self.write(record)  # also of one who was never answered
        ins.sock.sendall(raw + sent)
        ended = "content-length" not in answered and "transfer-encoding" not in answered and status not in (204, 304)
        return not ended and "close" not in (answered.get("connection", "").lower(), headers.get("connection", "").lower())

    def write(self, record):
        path = self.directory / f"{os.getpid()}-{self.port}-{next(self.numbers):06}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(record))
        part.rename(path)

    def records(self):
        return [json.loads(p.read_text()) for p in sorted(self.directory.glob("*.json"))]

    def check(self, at_least=1):
        import aws_model

        n, faults = aws_model.check_directory(self.directory)
        assert n >= at_least, f"only {n} exchanges were recorded in {self.directory}"
        assert not faults, "not as AWS's service model has it:\n" + "\n".join(
            f"  {times} times, first in {first}: {fault}" for fault, (times, first) in sorted(faults.items()))
        return n

    def close(self):
        with self.lock:
            self.closing = True
            for s in self.sockets:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.acceptor.join(10)
        for t in self.threads:
            t.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    p = argparse.ArgumentParser(description="Records what AWS clients and an endpoint say to each other.")
    p.add_argument("--upstream", required=True, metavar="HOST:PORT")
    p.add_argument("--record", required=True, metavar="DIR")
    p.add_argument("--listen", type=int, default=0, metavar="PORT")
    a = p.parse_args()
    host, _, port = a.upstream.rpartition(":")
    with Recorder(host, int(port), a.record, a.listen) as proxy:
        print(proxy.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    sys.exit(main())
