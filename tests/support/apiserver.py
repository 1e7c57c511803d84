"""A Kubernetes API server for tests: LIST, WATCH and WatchList of a few collections, and every way to misbehave.

    server = lab.serve(ApiServer(lab.node))
    server.put(obj.service(...))            a new version, told to the watches
    server.quirks.stream = 422              from now on; see Quirks

It listens inside a namespace, in HTTP/1.1; for HTTP/2 put nghttpx in front (see Front).
"""
import copy
import gzip
import http.server
import json
import os
import queue
import select
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
import traceback
import urllib.parse

import k8spb

KINDS = {
    "Service": ("services", "/api/v1/services", "v1"),
    "Node": ("nodes", "/api/v1/nodes", "v1"),
    "EndpointSlice": ("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices", "discovery.k8s.io/v1"),
    "ServiceCIDR": ("servicecidrs", "/apis/networking.k8s.io/v1/servicecidrs", "networking.k8s.io/v1"),
}
PATHS = {path: (name, kind, api) for kind, (name, path, api) in KINDS.items()}
RESET = struct.pack("ii", 1, 0)


class Quirks:
    """How it misbehaves, for requests that begin from now on."""

    def __init__(self):
        self.stream = "ok"      # WatchList: a status, "ignored", "error" (an ERROR event) or "ends" (too soon)
        self.split = False      # every byte a packet of its own
        self.gzip = False       # bodies of lists
        self.gone = "event"     # 410 for a watch: as ERROR event, or as "status"
        self.hold = set()       # names of collections whose requests wait
        self.silent = False     # watches stay open, and nothing comes
        self.refuse = []        # Refusal, in order; those used up are left out
        self.missing = set()    # names of collections that are not there
        self.page_gone = 0      # so many continue tokens are too old
        self.protobuf = False   # for those who accept it, as real servers
        self.fixed = {}         # name -> the version that its lists have, whatever changed elsewhere
        self.raw = {}           # name -> bytes that its streams begin with, in the place of what there is


class Refusal:
    def __init__(self, status, headers=(), body=None, name=None, times=1 << 30, content_type="application/json"):
        self.status, self.headers, self.name, self.times, self.content_type = status, dict(headers), name, times, content_type
        self.body = body if body is not None else status_body(status, "refused by the test")


def status_body(code, message):
    reasons = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 410: "Expired", 422: "Invalid", 429: "TooManyRequests"}
    return json.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                       "reason": reasons.get(code, "InternalError"), "code": code})


def event(kind, item):
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def key_of(item):
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


def selected(item, query):
    labels = item["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", "").split(",")):
        if part.startswith("!") and part[1:] in labels:
            return False
    field = query.get("fieldSelector", "")
    if field.startswith("metadata.name="):
        return item["metadata"]["name"] == field[14:]
    if field == "spec.clusterIP!=None":
        return item["spec"].get("clusterIP") != "None"
    return not field


class Watch:
    """One stream: what it waits for, and its queue of bytes; None ends it."""

    def __init__(self, name, query):
        self.name, self.query, self.queue = name, query, queue.Queue()
        self.is_cut = False

    def tell(self, old, new):
        before, after = (o is not None and selected(o, self.query) for o in (old, new))
        if after:
            self.queue.put(event("MODIFIED" if before else "ADDED", new))
        elif before:
            item = copy.deepcopy(old)
            item["metadata"]["resourceVersion"] = (new or old)["metadata"]["resourceVersion"]
            self.queue.put(event("DELETED", item))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def send_response(self, code, message=None):
        """Without "Server", as real ones: who sends that is something in front of them."""
        self.send_response_only(code, message)
        self.send_header("Date", self.date_time_string())

    def check_alive(self):
        """What a thread still reads from a connection that was cut meanwhile is not a request."""
        with self.server.api.lock:
            if not any(c is self.connection for c in self.server.api.connections):
                raise ConnectionResetError

    def is_left(self):
        """The client has closed the connection, or its direction of it."""
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        return bool(poll.poll(0))

    def do_GET(self):
        self.check_alive()
        api, url = self.server.api, urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        name = PATHS.get(url.path, ("",))[0]
        with api.lock:
            api.requests.append((name or url.path, query, {k.lower(): v for k, v in self.headers.items()}, time.monotonic()))
        while name in api.quirks.hold and not api.stopped:
            time.sleep(0.01)
        self.check_alive()
        refusal = self.refusal(api, name)
        if refusal:
            return self.answer(refusal.status, refusal.body.encode(), refusal.headers, refusal.content_type)
        if url.path == "/version":
            return self.answer(200, b"{}")
        if not name or name in api.quirks.missing:
            return self.answer(404, status_body(404, "the server could not find the requested resource").encode())
        if query.get("watch") in ("1", "true"):
            return self.watch(api, name, query)
        return self.list(api, name, query)

    # --- events ---

    def do_POST(self):
        return self.take_event(201, lambda key, told: dict(told))

    def do_PATCH(self):
        return self.take_event(200, lambda key, told: dict(self.server.api.events[key], **told))

    def take_event(self, status, made_of):
        """POST and PATCH of events.k8s.io/v1 alone; what the server would not take is not taken."""
        self.check_alive()
        api, parts = self.server.api, urllib.parse.urlsplit(self.path).path.split("/")
        told = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        with api.lock:
            api.requests.append(("events", {}, {k.lower(): v for k, v in self.headers.items()}, time.monotonic()))
        refusal = self.refusal(api, "events")
        if refusal:
            return self.answer(refusal.status, refusal.body.encode(), refusal.headers, refusal.content_type)
        ns, creates = parts[5], self.command == "POST"
        key = ns, told["metadata"]["name"] if creates else parts[7]
        kind = "application/json" if creates else "application/strategic-merge-patch+json"
        if parts[1:5] != ["apis", "events.k8s.io", "v1", "namespaces"] or parts[6] != "events" or self.headers["Content-Type"] != kind:
            return self.answer(415, status_body(415, "not as events are told").encode())
        with api.lock:
            if creates == (key in api.events):
                code = 409 if creates else 404
                return self.answer(code, status_body(code, "events %s" % key[1]).encode())
            api.events[key] = made_of(key, told)
        return self.answer(status, json.dumps(api.events[key]).encode())

    def refusal(self, api, name):
        given = self.headers.get("Authorization")
        if api.tokens is not None and given not in ["Bearer " + t for t in api.tokens]:
            return Refusal(401, body=status_body(401, "Unauthorized"))
        with api.lock:
            for r in api.quirks.refuse:
                if r.times > 0 and r.name in (None, name):
                    r.times -= 1
                    return r
        return None

    def is_protobuf(self):
        return self.server.api.quirks.protobuf and "protobuf" in self.headers.get("Accept", "")

    def answer(self, status, body, headers=None, content_type="application/json"):
        if self.is_protobuf() and content_type == "application/json":
            body, content_type = k8spb.body(json.loads(body)), "application/vnd.kubernetes.protobuf"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        self.end_headers()
        self.send(body)

    def send(self, data):
        if not self.server.api.quirks.split:
            self.wfile.write(data)
            return
        for i in range(len(data)):
            self.wfile.write(data[i:i + 1])

    # --- LIST ---

    def list(self, api, name, query):
        kind, version = next((k, v) for k, (n, _, v) in KINDS.items() if n == name)
        with api.lock:
            items = [o for _, o in sorted(api.objects[name].items()) if selected(o, query)]
            now = api.quirks.fixed.get(name, api.version)
            if "continue" in query and api.quirks.page_gone > 0:
                api.quirks.page_gone -= 1
                return self.answer(410, status_body(410, "The provided continue parameter is too old").encode())
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(items)
        meta = {"resourceVersion": str(now)}
        if start + limit < len(items):
            meta["continue"] = str(start + limit)
        items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in items[start:start + limit]]
        body = json.dumps({"kind": kind + "List", "apiVersion": version, "metadata": meta, "items": items}).encode()
        if api.quirks.gzip and "gzip" in self.headers.get("Accept-Encoding", ""):
            return self.answer(200, gzip.compress(body), {"Content-Encoding": "gzip"})
        return self.answer(200, body)

    # --- WATCH ---

    def watch(self, api, name, query):
        w, initial = Watch(name, query), query.get("sendInitialEvents") == "true"
        how = api.quirks.stream if initial else "ok"
        if isinstance(how, int):
            return self.answer(how, status_body(how, "sendInitialEvents is forbidden for watch").encode())
        with api.lock:
            self.check_alive()  # a cut ends what has begun, and nothing that was cut begins
            lines, end = api.begin(w, initial, how)
        if end == 410 and api.quirks.gone == "status":
            return self.answer(410, status_body(410, "too old resource version").encode())
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.kubernetes.protobuf;stream=watch" if self.is_protobuf() else "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in lines:
                self.chunk(line)
            if end is None and not api.quirks.silent:
                self.follow(api, w, float(query.get("timeoutSeconds", 1800)))
            elif end is None:
                while not api.stopped and not w.is_cut and not self.is_left():
                    time.sleep(0.02)
            if not w.is_cut:
                self.chunk(b"")
        finally:
            with api.lock:
                api.watches = [x for x in api.watches if x is not w]

    def follow(self, api, w, seconds):
        deadline = time.monotonic() + seconds
        while not api.stopped and not w.is_cut and time.monotonic() < deadline:
            try:
                data = w.queue.get(timeout=0.05)
            except queue.Empty:
                if self.is_left():
                    raise ConnectionResetError
                continue
            if data is None:
                return
            self.chunk(data)

    def chunk(self, data):
        if self.is_protobuf():
            data = k8spb.frames(data)
        if self.server.api.quirks.split and data:
            for i in range(len(data)):
                self.wfile.write(b"1\r\n%s\r\n" % data[i:i + 1])
            return
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address, daemon_threads, block_on_close, request_queue_size = True, True, False, 64

    def finish_request(self, request, address):
        try:
            if self.api.tls:
                request = self.api.tls.wrap_socket(request, server_side=True)
            with self.api.lock:
                if self.api.server is not self:
                    return  # accepted, and stopped before it was heard
                self.api.connections.append(request)
                self.api.n_connections += 1
            Handler(request, address, self)
        except OSError:
            pass  # the peer is gone, or we cut it off
        except Exception:
            with self.api.lock:
                if any(c is request for c in self.api.connections):  # what a thread meets after a cut is nobody's fault
                    self.api.faults.append(traceback.format_exc(limit=-4))
        finally:
            with self.api.lock:
                self.api.connections = [c for c in self.api.connections if c is not request]


class Server6(Server):
    address_family = socket.AF_INET6


class ApiServer:
    def __init__(self, ns, *items, address="127.0.0.1", tls=None, tokens=None):
        """tls: an ssl.SSLContext; tokens: those that are accepted, None: no need for one."""
        self.ns, self.tls, self.tokens, self.quirks = ns, tls, tokens, Quirks()
        self.lock = threading.RLock()
        self.objects = {name: {} for name, _, _ in KINDS.values()}
        self.version, self.oldest, self.history = 100, 100, []
        self.events = {}  # (namespace, name) -> as it was told
        self.requests, self.watches, self.connections, self.n_connections = [], [], [], 0
        self.faults = []  # of this server, that a request met
        self.address, self.server = (address, 0), None
        self.put(*items)
        self.start()

    # --- life ---

    def start(self):
        self.stopped = False
        with self.ns:
            self.server = (Server6 if ":" in self.address[0] else Server)(self.address, None)
        self.address = self.server.server_address[:2]
        self.server.api = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self):
        """As a server that is killed: nobody listens, connections are reset."""
        self.stopped = True
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            self.server = None
            self.cut()
        return self

    def close(self):
        """Fails a test whose requests met a fault of this server: what came of that in the agent tells less."""
        if not self.stopped:
            self.stop()
        if self.faults:
            raise RuntimeError("the API server of the test: %s" % self.faults[0])

    def cut(self, how="reset"):
        """Break all connections: "reset", "close", or "half" (only our direction)."""
        with self.lock:
            for w in self.watches:
                w.is_cut = True
            self.watches = []
            for c in self.connections:
                try:
                    if how == "reset":
                        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    if how == "reset" and self.tls is None:
                        with open(os.devnull, "r+b") as null:
                            os.dup2(null.fileno(), c.fileno())  # closes it without a goodbye
                    else:
                        c.shutdown(socket.SHUT_WR if how == "half" else socket.SHUT_RDWR)
                except OSError:
                    pass
            self.connections = []

    @property
    def url(self):
        host = "[%s]" % self.address[0] if ":" in self.address[0] else self.address[0]
        return "%s://%s:%d" % ("https" if self.tls else "http", host, self.address[1])

    # --- objects ---

    def put(self, *items):
        for item in items:
            self.change(item["kind"], key_of(item), copy.deepcopy(item))
        return self

    def delete(self, item):
        self.change(item["kind"], key_of(item), None)

    def change(self, kind, key, new):
        with self.lock:
            name = KINDS[kind][0]
            old = self.objects[name].pop(key, None)
            self.version += 1
            if new:
                new["metadata"]["resourceVersion"] = str(self.version)
                self.objects[name][key] = new
            else:
                old = copy.deepcopy(old)
                old["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, name, old, new))
            for w in self.watches:
                if w.name == name:
                    w.tell(old, new)

    def inject(self, name, data):
        """Bytes for every watch of a collection, whatever they are."""
        with self.lock:
            for w in self.watches:
                if w.name == name:
                    w.queue.put(data)

    def end_watches(self):
        with self.lock:
            for w in self.watches:
                w.queue.put(None)
            self.watches = []

    def forget(self):
        """Watches from any version before now are too old."""
        with self.lock:
            self.oldest, self.history = self.version + 1, []
            self.version += 1

    def rewind(self, version):
        """The store is restored from a backup: its versions go back. Versions from the future get silence."""
        with self.lock:
            self.version, self.oldest, self.history = version, 0, []

    def begin(self, w, initial, how):
        """-> (lines to send first, None or why the stream ends then); the watch is on from here."""
        name = w.name
        kind, api = next((k, v) for k, (n, _, v) in KINDS.items() if n == name)
        if name in self.quirks.raw:
            self.watches.append(w)
            return [self.quirks.raw[name]], None
        if how == "error":
            return [event("ERROR", json.loads(status_body(500, "etcdserver: RequestWatchProgress is not supported")))], 500
        since = int(w.query.get("resourceVersion") or 0)
        if not initial and since < self.oldest:
            return [event("ERROR", json.loads(status_body(410, "too old resource version: %d (%d)" % (since, self.oldest))))], 410
        lines = []
        if initial:
            lines = [event("ADDED", o) for o in self.objects[name].values() if selected(o, w.query)]
            if how == "ends":
                return lines, "ends"
            if how != "ignored":
                lines.append(event("BOOKMARK", {"kind": kind, "apiVersion": api, "metadata": {
                    "resourceVersion": str(self.quirks.fixed.get(name, self.version)), "annotations": {"k8s.io/initial-events-end": "true"}}}))
        else:
            for version, changed, old, new in self.history:
                if changed == name and version > since:
                    w.tell(old, new)
        if initial or since <= self.version:
            self.watches.append(w)
        return lines, None

    # --- what the client did ---

    def asked(self, name, **query):
        """Requests for a collection with these parameters."""
        with self.lock:
            return [r for r in self.requests if r[0] == name and all(r[1].get(k) == v for k, v in query.items())]

    def watching(self, name):
        with self.lock:
            return [w for w in self.watches if w.name == name]


def kubeconfig(folder, server, cluster=None, user=None, name="kubeconfig"):
    """Write one that leads to that address. -> its path"""
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        json.dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "k", "cluster": dict({"server": server}, **(cluster or {}))}],
            "users": [{"name": "u", "user": user or {}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        }, f)
    return path


class Authority:
    """A certificate authority (openssl)."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.cert, self.key = self.file(name + ".crt"), self.file(name + ".key")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", "/CN=" + name, "-keyout", self.key, "-out", self.cert)

    def file(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def openssl(*argv):
        p = subprocess.run(["openssl", *argv], capture_output=True, text=True)
        if p.returncode:
            raise RuntimeError("openssl %s: %s" % (" ".join(argv), p.stderr))

    def issue(self, name, days=2, alt="IP:127.0.0.1", subject=None):
        """-> (certificate, key)"""
        cert, key, request, extra = (self.file(name + end) for end in (".crt", ".key", ".csr", ".ext"))
        with open(extra, "w") as f:
            f.write("subjectAltName=%s\n" % alt)
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject or "/CN=" + name,
                     "-keyout", key, "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", str(days),
                     "-extfile", extra, "-out", cert)
        return cert, key

    def context(self, cert, key, clients=None):
        """For a server; clients: the Authority of those that may connect."""
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(cert, key)
        if clients:
            c.verify_mode = ssl.CERT_REQUIRED
            c.load_verify_locations(clients.cert)
        return c


class Front:
    """nghttpx in front of an ApiServer: TLS and HTTP/2, as if they were the server's own unless it shows itself."""

    @staticmethod
    def is_installed():
        return shutil.which("nghttpx") is not None

    def __init__(self, lab, api, cert, key, port=8443, shows=False):
        self.ns, self.port = api.ns, port
        self.argv = ["nghttpx", "--conf=/dev/null", "-f127.0.0.1,%d" % port, "-b127.0.0.1,%d" % api.address[1], "--workers=1",
                     "--backend-read-timeout=1h", "--frontend-http2-read-timeout=1h", "--log-level=ERROR",
                     *([] if shows else ["--no-via", "--no-server-rewrite"]), key, cert]
        self.log = os.path.join(lab.folder, "nghttpx-%d.log" % port)
        self.start()

    def start(self):
        with open(self.log, "a") as log, self.ns:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        return self

    @property
    def url(self):
        return "https://127.0.0.1:%d" % self.port

    def signal(self, number):
        os.killpg(self.process.pid, number)  # a supervisor and its worker

    def close(self):
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)
        deadline = time.monotonic() + 10
        while ":%d" % self.port in self.ns.sh("ss", "-Hltn") and time.monotonic() < deadline:
            time.sleep(0.01)  # the worker, whom nobody waits for
