#!/usr/bin/env python3
"""Probers that people have, against the health ports: haproxy, keepalived, curl, and nginx as a PROXY sender.

Each runs beside the agent in the node's namespace and asks the node's own address; it has to see the node go and
come back. What it sends is read from 'proxylet probes'.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import objects as obj
from harness import Skip, check, equal, wait

NODE, MAIN, SHARED, PORT = "192.0.2.1", 10256, 10356, 31999
TAINT = "ToBeDeletedByClusterAutoscaler"
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"


def need(program, package, path=None):
    found = path if path and os.path.exists(path) else shutil.which(path or program) or shutil.which("/usr/sbin/" + program)
    if not found:
        raise Skip("%s is not installed (Debian package %s)" % (program, package))
    return found


def start(lab, **health):
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10", vips=["203.0.113.10"], externalTrafficPolicy="Local",
                                    allocateLoadBalancerNodePorts=False, healthCheckNodePort=PORT),
            obj.slice_of("web", ["10.244.1.2"]))
    agent = lab.run(proxylet={"health": health}).ready()
    wait(lambda: agent.get(port=PORT, address=NODE)[0] == 200, "the port of the Service")
    return agent


def eligible(lab, yes):
    lab.put("node.json", obj.node(taints=[] if yes else [TAINT]))


def probes(agent):
    """-> the probes the agent has seen, without our own"""
    p = agent.lab.command("probes", "--socket", agent.socket, "-o", "json")
    equal((p.returncode, p.stderr), (0, ""), "proxylet probes")
    return [x for x in json.loads(p.stdout)["probes"] if x["peer"].startswith(NODE)]


class Program:
    """A prober in the foreground; ended with the test."""

    def __init__(self, lab, *argv, **environment):
        self.log = os.path.join(lab.folder, os.path.basename(argv[0]) + ".log")
        with open(self.log, "w") as log, lab.node:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                                            env=dict(os.environ, **environment))
        lab.serve(self)

    def text(self):
        with open(self.log, errors="replace") as f:
            return "exit status %s\n%s" % (self.process.poll(), f.read()[-2000:])

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def write(lab, name, text):
    path = os.path.join(lab.folder, name)
    with open(path, "w") as f:
        f.write(text)
    return path


# --- haproxy ---

HAPROXY = """
global
    stats socket {folder}/haproxy.sock mode 600
defaults
    mode tcp
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    timeout check 60s
    default-server check inter 100ms rise 1 fall 1
backend default_check
    option httpchk
    server s {node}:{service}
backend healthz
    option httpchk GET /healthz
    server s {node}:{main}
backend http11
    option httpchk
    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host x hdr User-Agent haproxy-http11
    server s {node}:{shared}
backend v1
    option httpchk GET /healthz
    server s {node}:{shared} check-send-proxy send-proxy
backend v2
    option httpchk GET /healthz
    server s {node}:{shared} check-send-proxy send-proxy-v2
backend layer4
    server s {node}:{main}
backend layer4_v1
    server s {node}:{shared} check-send-proxy send-proxy
backend layer4_v2
    server s {node}:{service} check-send-proxy send-proxy-v2
"""
FOLLOW = ("healthz", "http11", "v1", "v2")  # what the node says
OTHERS = ("default_check", "layer4", "layer4_v1", "layer4_v2")


def haproxy_status(lab):
    """-> {backend: (status, last check)}"""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(os.path.join(lab.folder, "haproxy.sock"))
            s.sendall(b"show stat\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
    except OSError:
        return {}
    names, *rows = [line.split(",") for line in text.lstrip("# ").splitlines() if line]
    found = [dict(zip(names, r)) for r in rows]
    return {r["pxname"]: (r["status"].split()[0], r["check_status"]) for r in found if r["svname"] == "s" and r["check_status"]}


def test_haproxy(lab):
    program = need("haproxy", "haproxy")
    agent = start(lab)
    names = dict(folder=lab.folder, node=NODE, main=MAIN, shared=SHARED, service=PORT)
    ha = Program(lab, program, "-db", "-f", write(lab, "haproxy.cfg", HAPROXY.format(**names)))

    def all_are(want):
        now = haproxy_status(lab)
        return all(b in now and now[b][0] == want[b] and now[b][1] != "INI" for b in want) and now  # INI: has not asked yet

    up = dict.fromkeys(FOLLOW + OTHERS, "UP")
    wait(lambda: all_are(up) or ha.process.poll() is not None, "all UP")
    check(ha.process.poll() is None, "haproxy ends: %s", ha.text())
    eligible(lab, False)
    now = wait(lambda: all_are({**up, **dict.fromkeys(FOLLOW, "DOWN")}), "those that ask for the node DOWN")
    equal({b: now[b][1] for b in FOLLOW}, {b: "L7STS" for b in FOLLOW}, "why they are down")
    equal((now["default_check"][1], now["layer4"][1]), ("L7OK", "L4OK"), "the others")
    eligible(lab, True)
    wait(lambda: all_are(up), "all UP again")
    seen = probes(agent)
    for what, match in (("OPTIONS of HTTP/1.0", lambda p: p["method"] == "OPTIONS" and p["listener"] == "svc/default/web"),
                        ("GET by HTTP/1.1", lambda p: p["userAgent"] == "haproxy-http11" and p["listener"] == "shared"),
                        ("v1 with addresses", lambda p: p["claimed"] and p["status"] == 200),
                        # a check of layer 4 alone ends before its handshake does, and nobody here can see it
                        ("v1 without request", lambda p: p["outcome"] == "tcp_only" and p["listener"] == "shared" and p["claimed"]),
                        ("v2 without request", lambda p: p["outcome"] == "tcp_only" and p["listener"] == "svc/default/web")):
        check(any(match(p) for p in seen), "no probe is a %s: %s", what, seen[-20:])
    # Chatty, but none of it is a fault of either side.
    equal({p["outcome"] for p in seen} - {"http", "tcp_only"}, set(), "outcomes")


# --- keepalived ---

KEEPALIVED = """
global_defs {{
    router_id proxylet
    checker_log_all_failures true
}}
virtual_server 198.51.100.7 80 {{
    delay_loop 0.2
    protocol TCP
    real_server {node} {port} {{
        HTTP_GET {{
            http_protocol {version}
            url {{
                path /healthz
                status_code 200
            }}
            connect_timeout 1
            retry 1
            delay_before_retry 0.1
        }}
        notify_up "{up}"
        notify_down "{down}"
    }}
}}
"""


def keepalived(lab, version):
    program = need("keepalived", "keepalived")
    agent = start(lab)
    marks = [os.path.join(lab.folder, m) for m in ("up", "down")]
    scripts = []
    for mark in marks:
        other = marks[1 - marks.index(mark)]
        scripts.append(write(lab, os.path.basename(mark) + ".sh", "#!/bin/sh\nrm -f %s; touch %s\n" % (other, mark)))
        os.chmod(scripts[-1], 0o755)
    config = KEEPALIVED.format(node=NODE, port=SHARED, version=version, up=scripts[0], down=scripts[1])
    pids = [os.path.join(lab.folder, p) for p in ("ka.pid", "checkers.pid")]
    ka = Program(lab, program, "-n", "-l", "-D", "-C", "-p", pids[0], "-c", pids[1], "-f", write(lab, "keepalived.conf", config),
                 **balancer_of(lab))

    def has_asked():
        check(ka.process.poll() is None, "keepalived ends: %s", ka.text())
        return [p for p in probes(agent) if p["userAgent"] == "KeepAliveClient" and p["status"] == 200]

    wait(has_asked, "a probe of keepalived; %s" % ka.text())
    eligible(lab, False)
    wait(lambda: os.path.exists(marks[1]), "keepalived sees the node go")
    eligible(lab, True)
    wait(lambda: os.path.exists(marks[0]), "keepalived sees it come back")


def balancer_of(lab):
    """Its checkers belong to its load balancer, which does not start without IPVS in the kernel. -> environment"""
    if lab.node.sh("sh", "-c", "modprobe -q ip_vs 2>/dev/null; cat /proc/net/ip_vs 2>/dev/null || true"):
        return {}
    return {"LD_PRELOAD": os.path.join(os.path.dirname(lab.agent), "tests", "support", "no_ipvs.so")}


def test_keepalived(lab):
    keepalived(lab, "1.0")


def test_keepalived_http11(lab):
    keepalived(lab, "1.1")


# --- curl ---

CURLS = (
    ("plain", (), "200 1.1", None),
    ("HTTP/1.0", ("--http1.0",), "200 1", None),
    ("HEAD", ("--head",), "200 1.1", None),
    ("PROXY v1", ("--haproxy-protocol",), "200 1.1", "claimed"),
    ("PROXY v1 and HTTP/1.0", ("--haproxy-protocol", "--http1.0"), "200 1", "claimed"),
    ("POST with a body", ("--data-binary", "@/bin/sh"), "200 1.1", None),
    ("Expect", ("--data", "x", "-H", "Expect: 100-continue"), "200 1.1", None),
    ("chunked", ("-T", "/etc/passwd", "-X", "POST", "-H", "Transfer-Encoding: chunked"), "200 1.1", None),
    ("HTTP/2 with prior knowledge", ("--http2-prior-knowledge",), None, None),
    ("a path that is none", ("--request-target", "/healthz/"), "404 1.1", None),
)


def test_curl(lab):
    program = need("curl", "curl")
    agent = start(lab)
    for port in (MAIN, SHARED, PORT):
        for name, flags, want, claimed in CURLS:
            url = "http://%s:%d/healthz" % (NODE, port)
            with lab.node:
                p = subprocess.run([program, "-sS", "-m", "60", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", *flags, url],
                                   capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
            if want is None:
                check(p.returncode != 0, "%s on port %d: curl is content with %s", name, port, p.stdout)
                continue
            if port == PORT:
                want = want.replace("404", "200")  # any path
            equal((p.returncode, p.stdout, p.stderr), (0, want, ""), "%s on port %d" % (name, port))
            wait(lambda: bool(probes(agent)[-1]["claimed"]) == bool(claimed), "claimed source, %s" % name)
    with lab.node:
        twice = subprocess.run([program, "-sS", "-v", "-m", "60", url, url], capture_output=True, text=True, timeout=120)
    check("Re-using existing connection" in twice.stderr, "two requests, one connection: %s", twice.stderr)


# --- nginx as a sender ---

NGINX = """
load_module {module};
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
stream {{
    server {{
        listen 127.0.0.1:18001;
        proxy_pass {node}:{shared};
        proxy_protocol on;
    }}
    server {{
        listen [::1]:18002;
        proxy_pass {node}:{service};
        proxy_protocol on;
    }}
}}
"""


def through(lab, address, port):
    with lab.node:
        return obj.http_get(address, port)[0]


def start_nginx(lab):
    program = need("nginx", "nginx")
    module = need("ngx_stream_module", "libnginx-mod-stream", NGINX_STREAM)
    config = write(lab, "nginx.conf", NGINX.format(module=module, folder=lab.folder, node=NODE, shared=SHARED, service=PORT))
    return Program(lab, program, "-e", "stderr", "-p", lab.folder, "-c", config)


def test_nginx_stream(lab):
    """A balancer that sends each client's address: IPv4, and IPv6 in front of an IPv4 backend."""
    ng, agent = start_nginx(lab), start(lab)
    wait(lambda: through(lab, "127.0.0.1", 18001) == 200, "an answer through nginx; %s" % ng.text())
    equal(through(lab, "::1", 18002), 200, "the port of the Service, for a client with IPv6")
    last = probes(agent)
    check(any((p["claimed"] or "").startswith("127.0.0.1:") for p in last), "who is claimed: %s", last)
    check(any((p["claimed"] or "").startswith("[::1]:") for p in last), "who is claimed: %s", last)
    eligible(lab, False)
    wait(lambda: through(lab, "127.0.0.1", 18001) == 503, "503 through nginx")
    equal(through(lab, "::1", 18002), 200, "the port of the Service, on a tainted node")


def test_nginx_and_modes(lab):
    """What the configuration says about headers, followed in place."""
    ng, agent = start_nginx(lab), start(lab, proxyProtocol={"shared": "require", "services": "forbid"})
    wait(lambda: through(lab, "127.0.0.1", 18001) == 200, "a port that wants headers; %s" % ng.text())
    equal(agent.get(port=SHARED, address=NODE)[0], 0, "a plain request there")
    equal(through(lab, "::1", 18002), 0, "a port that wants none")
    equal(agent.get(port=PORT, address=NODE)[0], 200, "a plain request there")
    with open(agent.config) as f:
        config = json.load(f)
    config["proxylet"]["health"] = {"proxyProtocolTrustedCIDRs": ["198.51.100.0/24"]}
    with open(agent.config + ".new", "w") as f:
        json.dump(config, f)
    os.rename(agent.config + ".new", agent.config)
    wait(lambda: through(lab, "127.0.0.1", 18001) == 0, "headers of those who are not trusted")
    wait(lambda: agent.get(port=SHARED, address=NODE)[0] == 200, "a plain request")


if __name__ == "__main__":
    harness.main(globals())
