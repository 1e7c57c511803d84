#!/usr/bin/env python3
"""Shows proxylet at work: two nodes with pods and a client in network namespaces, the agent on both nodes,
the sample objects of deploy/examples, and real requests through them. Says what it does and what came of it.

    demo.py [--agent build/proxylet]

Exit status: 0 everything is as it should be, 1 something is not, 2 it cannot run here, 130 interrupted.
Touches nothing outside its own namespaces and leaves nothing behind.
"""
import argparse
import collections
import errno
import json
import os
import re
import shutil
import signal
import socket
import sys
import time

import lab as labs

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(os.path.dirname(HERE), "examples")
FRONTEND, API, API6, EMPTY, DNS, VIP = ("10.96.0.10", "10.96.0.20", "fd00:10:96::20", "10.96.0.30", "10.96.0.53", "203.0.113.10")
NODE_PORT, HEALTH_NODE_PORT, HEALTHZ = 30080, 32040, 10256
EVERY_POD = ["pod-1a", "pod-1b", "pod-2a", "pod-2b"]
START_LIMIT, CHANGE_LIMIT = 60.0, 30.0  # seconds; usual are milliseconds
REFUSED, SILENT = "refused", "no answer"


class Gone(Exception):
    """An agent ended, so that nothing further can be shown."""


def connect(ns, address, port, timeout):
    s = ns.socket(labs.family_of(address), socket.SOCK_STREAM)
    s.settimeout(timeout)
    try:
        s.connect((address, port))
    except BaseException:
        s.close()
        raise
    return s


def http(ns, address, port, path="/", timeout=10.0):
    """One request on one connection. -> (status, body), or (REFUSED or SILENT, "")"""
    try:
        with connect(ns, address, port, timeout) as s:
            s.sendall(("GET %s HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n" % path).encode())
            data = b""
            while True:
                more = s.recv(65536)
                if not more:
                    break
                data += more
    except OSError as e:
        return REFUSED if e.errno in (errno.ECONNREFUSED, errno.ECONNRESET) else SILENT, ""
    head, _, body = data.decode(errors="replace").partition("\r\n\r\n")
    return (int(head.split()[1]), body) if head.startswith("HTTP/") else (SILENT, "")


def ask(ns, address, port):
    """-> (pod that answered, client it saw), or (REFUSED or SILENT, "")"""
    status, body = http(ns, address, port)
    return tuple(body.split()) if status == 200 else (status, "")


class UdpClient:
    """Keeps its socket, as resolvers do."""

    def __init__(self, ns, address, port):
        self.sock = ns.socket(labs.family_of(address), socket.SOCK_DGRAM)
        self.sock.settimeout(0.1)  # an answer under way when the flow is cut is lost
        self.sock.connect((address, port))

    def ask(self):
        try:
            self.sock.send(b"who?")
            return self.sock.recv(2048).decode().split()[0]
        except OSError:
            return SILENT

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def tally(answers):
    """['a', 'b', 'a'] -> 'a 2, b 1'"""
    return ", ".join("%s %d" % pair for pair in sorted(collections.Counter(answers).items()))


def ms(seconds):
    return "%.1f ms" % (seconds * 1000) if seconds < 0.1 else "%.0f ms" % (seconds * 1000)


class Report:
    """Aligned lines, colour on a terminal only, and the count."""

    def __init__(self):
        self.passed = self.failed = 0
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.began = time.monotonic()

    def paint(self, code, text):
        return "\033[%sm%s\033[0m" % (code, text) if self.colour else text

    def title(self, text):
        print("\n" + self.paint("1", text), flush=True)

    def check(self, good, what, result):
        self.passed += bool(good)
        self.failed += not good
        mark = self.paint("32", "ok  ") if good else self.paint("1;31", "FAIL")
        print("  %s  %-58s  %s" % (mark, what, result), flush=True)

    def sum(self):
        n = self.passed + self.failed
        text = "all %d as expected" % n if not self.failed else "%d of %d not as expected" % (self.failed, n)
        print("\n%s, %.1f s" % (self.paint("1;31" if self.failed else "1;32", text), time.monotonic() - self.began), flush=True)


class Demo:
    def __init__(self, lab, agent, report):
        self.lab, self.agent, self.report = lab, agent, report
        self.client = lab.client
        self.node1, self.node2 = lab.nodes
        self.pod1a = lab.pod("pod-1a")
        self.objects = os.path.join(lab.folder, "objects")
        self.config = os.path.join(lab.folder, "config.yaml")
        shutil.copytree(EXAMPLES, self.objects)
        with open(self.config, "w") as f:
            f.write("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
                    "mode: nftables\nclusterCIDR: %s\n" % labs.CLUSTER_CIDR)

    # --- tools ---

    def until(self, condition, began, limit=CHANGE_LIMIT):
        """-> seconds from began until condition() held, or None"""
        while True:
            if condition():
                return time.monotonic() - began
            if time.monotonic() - began > limit:
                return None
            for node in self.lab.nodes:
                if node.process and node.process.poll() is not None:
                    raise Gone("the agent on %s ended with status %d" % (node.name, node.process.returncode))

    def changes(self, what, condition, began, limit=CHANGE_LIMIT):
        took = self.until(condition, began, limit)
        self.report.check(took is not None, what, "after " + ms(took) if took is not None else "not within %g s" % limit)

    def edit(self, name, pattern, replacement):
        """Change a file of the objects folder in one step, as editors do. -> when"""
        path, hidden = os.path.join(self.objects, name), os.path.join(self.objects, "." + name)
        with open(path) as f:
            text, n = re.subn(pattern, replacement, f.read())
        if not n:
            raise RuntimeError("nothing to change in " + path)
        with open(hidden, "w") as f:
            f.write(text)
        began = time.monotonic()
        os.rename(hidden, path)
        return began

    def set_web_pods(self, node, up):
        was, now = ("false", "true") if up else ("true", "false")
        return self.edit("web-endpoints.yaml", r"(\[10\.244\.%d\.\d+\]\n  conditions: )\{ready: %s, serving: %s" % (node.number, was, was),
                         r"\1{ready: %s, serving: %s" % (now, now))

    def health(self, node, path="/healthz", port=HEALTHZ):
        return http(self.client, node.address, port, path)[0]

    def spread(self, what, ns, address, port, pods, times=40, sees=None):
        """Many connections: exactly these pods answer, and they see this client."""
        answers = [ask(ns, address, port) for _ in range(times)]
        good = {a[0] for a in answers} == set(pods) and (not sees or {a[1] for a in answers} == {sees})
        self.report.check(good, what, tally(a[0] for a in answers) + (", all saw %s" % sees if sees and good else ""))

    def send_vip_to(self, node):
        """What a load balancer does."""
        self.client.ip("route replace %s via %s" % (VIP, node.address))

    # --- what is shown ---

    def start(self):
        self.report.title("The agent starts on both nodes")
        for node in self.lab.nodes:
            began = time.monotonic()
            node.run(self.agent, self.config, self.objects)
            self.changes("%s: /healthz answers 200, the rules are in the kernel" % node.name,
                         lambda n=node: self.health(n) == 200, began, START_LIMIT)

    def cluster_ip(self):
        self.report.title("ClusterIP: connections are spread over the pods of both nodes")
        self.spread("pod-1a to shop/frontend %s:80" % FRONTEND, self.pod1a, FRONTEND, 80, EVERY_POD, times=100)
        self.spread("node-2 itself to shop/frontend", self.node2.ns, FRONTEND, 80, EVERY_POD, times=100)
        self.spread("pod-1b to shop/api %s:8080" % API, self.lab.pod("pod-1b"), API, 8080, ["pod-1a", "pod-2a"], sees="10.244.1.12")
        self.spread("the same over IPv6, [%s]:8080" % API6, self.lab.pod("pod-1b"), API6, 8080, ["pod-1a", "pod-2a"],
                    sees="fd00:10:244:1::12")

    def node_port(self):
        self.report.title("NodePort: every node answers for all pods")
        for node in self.lab.nodes:
            self.spread("client to %s:%d" % (node.address, NODE_PORT), self.client, node.address, NODE_PORT, EVERY_POD, times=100)

    def virtual_ip(self):
        self.report.title("VIP with externalTrafficPolicy Local: own pods only, the client's address stays")
        for node, pods in ((self.node1, ["pod-1a", "pod-1b"]), (self.node2, ["pod-2a"])):
            self.send_vip_to(node)
            self.spread("client to edge/web %s:80 by way of %s" % (VIP, node.name), self.client, VIP, 80, pods, sees=labs.CLIENT_IP)

    def no_endpoints(self):
        self.report.title("A Service without endpoints refuses at once")
        for ns, name in ((self.pod1a, "pod-1a"), (self.node1.ns, "node-1 itself")):
            began = time.monotonic()
            answer = ask(ns, EMPTY, 80)[0]
            took = time.monotonic() - began
            self.report.check(answer == REFUSED and took < 5, "%s to shop/empty %s:80" % (name, EMPTY), "%s after %s" % (answer, ms(took)))

    def health_check_node_port(self):
        self.report.title("healthCheckNodePort %d: which nodes can take traffic of edge/web" % HEALTH_NODE_PORT)
        for node, pods in ((self.node1, 2), (self.node2, 1)):
            status, body = http(self.client, node.address, HEALTH_NODE_PORT)
            local = json.loads(body).get("localEndpoints") if body else None
            self.report.check((status, local) == (200, pods), "%s has %d pod%s" % (node.name, pods, "s" if pods > 1 else ""),
                              "%s, localEndpoints %s" % (status, local))
        began = self.set_web_pods(self.node1, False)
        self.changes("endpoints file: pods of node-1 not ready -> node-1 503",
                     lambda: self.health(self.node1, "/", HEALTH_NODE_PORT) == 503, began)
        status = self.health(self.node2, "/", HEALTH_NODE_PORT)
        self.report.check(status == 200, "node-2 goes on", status)
        self.send_vip_to(self.node2)
        self.spread("the balancer sends edge/web to node-2", self.client, VIP, 80, ["pod-2a"], times=10, sees=labs.CLIENT_IP)
        began = self.set_web_pods(self.node1, True)
        self.changes("endpoints file: ready again -> node-1 200",
                     lambda: self.health(self.node1, "/", HEALTH_NODE_PORT) == 200, began)
        self.send_vip_to(self.node1)
        self.spread("and node-1 serves from the first connection on", self.client, VIP, 80, ["pod-1a", "pod-1b"], sees=labs.CLIENT_IP)

    def node_health(self):
        self.report.title("Health of the node: /healthz says whether to send traffic, /livez whether the agent works")
        for node in self.lab.nodes:
            both = self.health(node), self.health(node, "/livez")
            self.report.check(both == (200, 200), "%s:%d" % (node.address, HEALTHZ), "/healthz %s, /livez %s" % both)
        taint = r"\1taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]"
        began = self.edit("nodes.yaml", r"(fd00:10:244:1::/64\"\]\n  )taints: \[\]", taint)
        self.changes("nodes file: node-1 is about to be deleted -> /healthz 503", lambda: self.health(self.node1) == 503, began)
        live, other = self.health(self.node1, "/livez"), self.health(self.node2)
        self.report.check((live, other) == (200, 200), "its agent works, and node-2 is not concerned",
                          "node-1 /livez %s, node-2 /healthz %s" % (live, other))
        began = self.edit("nodes.yaml", r"taints: \[\{.*\}\]", "taints: []")
        self.changes("nodes file: it stays after all -> /healthz 200", lambda: self.health(self.node1) == 200, began)

    def udp(self):
        self.report.title("UDP: a client that keeps its socket does not stay with a pod that is gone")
        pods = {"pod-1b": "10.244.1.12", "pod-2b": "10.244.2.12"}
        with UdpClient(self.pod1a, DNS, 53) as client:
            first = client.ask()
            self.report.check(first in pods, "pod-1a to kube-system/dns %s:53" % DNS, first)
            if first not in pods:
                return
            other = next(p for p in pods if p != first)
            began = self.edit("dns-endpoints.yaml", r"(\[%s\]\n  conditions: )\{ready: true, serving: true" % re.escape(pods[first]),
                              r"\1{ready: false, serving: false")
            self.changes("endpoints file: without %s -> same socket, now %s" % (first, other), lambda: client.ask() == other, began)

    def killed(self):
        self.report.title("The agent on node-1 is killed: rules stay, health does not pretend")
        self.node1.stop(signal.SIGKILL)
        self.node1.process = None
        self.spread("pod-1a to shop/frontend", self.pod1a, FRONTEND, 80, EVERY_POD, times=100)
        status = self.health(self.node1)
        self.report.check(status == REFUSED, "node-1 /healthz", status)
        began = time.monotonic()
        self.node1.run(self.agent, self.config, self.objects)
        self.changes("started again: /healthz 200", lambda: self.health(self.node1) == 200, began, START_LIMIT)
        self.spread("pod-1a to shop/frontend", self.pod1a, FRONTEND, 80, EVERY_POD, times=100)

    def taken_away(self):
        self.report.title("Another program deletes the rules of node-2: they come back by themselves")
        began = time.monotonic()
        self.node2.ns.run("nft", "delete", "table", "ip", "proxylet")
        self.changes("node-2 itself to shop/frontend", lambda: http(self.node2.ns, FRONTEND, 80, timeout=0.1)[0] == 200, began)
        said = self.until(lambda: "somebody else" in self.node2.log(), began)
        line = [l for l in self.node2.log().splitlines() if "somebody else" in l][-1:]
        self.report.check(said is not None, "its log says so", line[0].partition("drift: ")[2] if line else "nothing")

    def handed_over(self):
        self.report.title("An upgrade: a second agent on node-2 takes over from the first, sockets and all")
        first, probes, end = self.node2.process, [], time.monotonic() + START_LIMIT
        self.node2.run(self.agent, self.config, self.objects)
        while first.poll() is None and time.monotonic() < end:
            probes.append(self.health(self.node2))
        self.report.check(first.poll() == 0, "the first one ends", "with status %s" % first.poll())
        self.report.check(set(probes) == {200}, "/healthz, asked all the while", tally(map(str, probes)))
        status = self.health(self.node2)
        self.report.check(status == 200 and self.node2.process.poll() is None, "and from the second one", status)
        if first.poll() is None:
            first.kill()

    def show(self):
        for part in (self.start, self.cluster_ip, self.node_port, self.virtual_ip, self.no_endpoints, self.health_check_node_port,
                     self.node_health, self.udp, self.killed, self.taken_away, self.handed_over):
            part()


def run(agent, report):
    with labs.Lab() as lab:
        print("A client, two nodes and four pods, each in a network namespace of its own; objects: deploy/examples")
        try:
            Demo(lab, agent, report).show()
        except Gone as e:
            report.check(False, str(e), "")
        finally:
            if report.failed:
                for node in lab.nodes:
                    print("\n--- the last words of the agent on %s\n%s" % (node.name, "\n".join(node.log().splitlines()[-15:])))


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent", default="build/proxylet")
    agent = os.path.abspath(ap.parse_args().agent)
    for why in (os.geteuid() != 0 and "network namespaces need root", not shutil.which("ip") and "iproute2 is missing",
                not os.access(agent, os.X_OK) and "%s: no such program, run make first" % agent):
        if why:
            print("demo: " + why, file=sys.stderr)
            return 2
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, interrupted)
    report = Report()
    try:
        run(agent, report)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    report.sum()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
