"""What packets pay: client - node - endpoints over veth pairs, with empty NAT chains, our rules and kube-proxy's shape.

The client is a pod (nothing is masqueraded). The first packet of a connection is sent by AF_PACKET and
dropped behind our rules, in a forward chain of priority 300, so that only the way there is measured.
"""
import contextlib
import json
import os
import statistics
import subprocess

import lab as labs
import opponents as op
import rival
from loads import CIDR, Load
from report import OURS

CLIENT, GATEWAY = "10.255.0.2", "10.255.0.1"
REMOTE, REMOTE_GATEWAY = "10.254.0.2", "10.254.0.1"
EMPTY = "empty NAT chains"
# NAT chains without a rule do not turn connection tracking on. A rule that asks for a state does, and what is
# forwarded does not meet this one.
EMPTY_RULES = "table ip empty {\n" + "".join(
    "\tchain %s {\n\t\ttype nat hook %s priority %s\n\t}\n" % c for c in (
        ("pre", "prerouting", -100), ("out", "output", -100), ("post", "postrouting", 100))) + """}
table ip track {
	chain input {
		type filter hook input priority 0
		ct state invalid counter
	}
}
"""
SINK = """table ip sink {
	chain forward {
		type filter hook forward priority 300
		ip saddr %s tcp flags syn drop
	}
}
""" % CLIENT
FIRST, FIRST_HOT, RATE = "first packet, random Service", "first packet, one Service", "packets of one flow"
CONNECT, CONNECT_99 = "connections", "connection and one answer, p99"
ASK, ASK_99 = "requests on one connection", "request on one connection, p99"
GOAL_FIRST = ((1000, 1.35), (10000, 1.45), (50000, 1.5))


class Path:
    """Three namespaces in a row, and whose rules the middle one has."""

    def __init__(self, lab, who, first, count, port):
        self.who, self.first, self.count, self.port = who, first, count, port
        self.client, self.node, self.remote = (lab.namespace(n) for n in ("client", "node", "remote"))
        labs.wire(self.client, "eth0", self.node, "client")
        labs.wire(self.remote, "eth0", self.node, "remote")
        for ns, dev, address in ((self.client, "eth0", CLIENT), (self.node, "client", GATEWAY),
                                 (self.remote, "eth0", REMOTE), (self.node, "remote", REMOTE_GATEWAY)):
            ns.sh("ip", "addr", "add", address + "/24", "dev", dev)
        self.client.sh("ip", "route", "add", "default", "via", GATEWAY)
        self.client.sysctl("ipv4.ip_local_port_range", "1024 65535")
        self.node.sh("ip", "route", "add", "10.128.0.0/10", "via", REMOTE)
        self.remote.sh("ip", "route", "add", "default", "via", REMOTE_GATEWAY)
        self.remote.sh("ip", "route", "add", "local", "10.128.0.0/10", "dev", "lo")
        self.mac = json.loads(self.node.sh("ip", "-j", "link", "show", "client"))[0]["address"]
        self.server = None

    def serve(self, tools):
        with self.remote:
            self.server = subprocess.Popen([tools.path("flow"), "serve", "8080"], stdout=subprocess.PIPE)
        self.server.stdout.readline()

    def flow(self, tools, *argv):
        with self.client:
            p = subprocess.run([tools.path("flow"), *map(str, argv)], capture_output=True, text=True)
        if p.returncode:
            raise op.Fault("flow %s: %s" % (argv[0], p.stderr.strip()))
        r = json.loads(p.stdout)
        if r["errors"]:
            raise op.Fault("flow %s, %s: %d errors" % (argv[0], self.who, r["errors"]))
        return r

    @contextlib.contextmanager
    def sink(self):
        """SYNs of the client are dropped behind all rules, while it lasts."""
        self.node.sh("nft", SINK)
        try:
            yield
        finally:
            self.node.sh("nft", "delete", "table", "ip", "sink")

    @contextlib.contextmanager
    def deaf(self):
        """The other side answers no SYN, while it lasts: the flow stays as its first packet made it."""
        self.remote.sh("nft", "add table ip deaf; add chain ip deaf c { type filter hook prerouting priority -300 ; }; "
                              "add rule ip deaf c ip saddr %s drop" % CLIENT)
        try:
            yield
        finally:
            self.remote.sh("nft", "delete", "table", "ip", "deaf")

    def close(self):
        if self.server:
            self.server.kill()
            self.server.wait()


def build(lab, report, load, args):
    """-> the paths, loaded; without those that cannot be"""
    def file(name, lines):
        return op.write(os.path.join(lab.folder, name), lines)

    def loaded(who, load_rules, rules, first="172.16.0.0", count=load.services, port=80):
        path = Path(lab, who, first, count, port)
        load_rules(path.node, rules)
        return path

    plans = [(EMPTY, op.nft, file("empty.nft", [EMPTY_RULES]), load.hosts(0)[0], 1, 8080),
             (OURS, op.nft, op.render(lab, load.file(lab.folder), CIDR)[0]),
             ("kube-proxy's shape", op.nft, file("shape.nft", rival.Nftables(load).whole()))]
    if load.services <= args.iptables_up_to:
        tables = file("shape.iptables", rival.Iptables(load).whole())
        plans += [("iptables-%s, kube-proxy's" % v, op.iptables(v), tables) for v in args.variants]
    paths = [report.attempt("data path, " + p[0], loaded, *p) for p in plans]
    return [p for p in paths if p]


def one_round(tools, path, seconds, values):
    def put(row, value):
        values.setdefault((row, path.who), []).append(value)

    with path.sink():
        for row, first, count in ((FIRST, path.first, path.count), (FIRST_HOT, path.first, 1)):
            put(row, path.flow(tools, "packets", "eth0", path.mac, CLIENT, first, count, seconds)["cpu_ns"])
    with path.deaf():
        put(RATE, path.flow(tools, "packets", "eth0", path.mac, CLIENT, path.first, 0, seconds)["rate"])
    r = path.flow(tools, "connect", path.first, path.count, path.port, seconds)
    put(CONNECT, r["rate"])
    put(CONNECT_99, r["p99_us"])
    r = path.flow(tools, "ask", path.first, path.port, seconds)
    put(ASK, r["rate"])
    put(ASK_99, r["p99_us"])


UNITS = {FIRST: "ns", FIRST_HOT: "ns", RATE: "1/s", CONNECT: "1/s", CONNECT_99: "us", ASK: "1/s", ASK_99: "us"}


def all_rows(lab, report, args):
    load, tools, values = Load(args.data_services, 10), op.Tools(lab.agent), {}
    print("data path, %s" % load.name, flush=True)
    paths = build(lab, report, load, args)
    try:
        for path in paths:
            path.serve(tools)
        for _ in range(args.data_rounds):
            for path in paths:
                report.attempt("data path, " + path.who, one_round, tools, path, args.data_seconds, values)
    finally:
        for path in paths:
            path.close()
    factor = next((f for n, f in GOAL_FIRST if load.services <= n), None)
    for row, unit in UNITS.items():
        base = values.get((row, EMPTY))
        for path in sorted(paths, key=lambda p: p.who != OURS):
            goal = factor * statistics.median(base) if row == FIRST and path.who == OURS and factor and base else None
            report.add(row, load.name, path.who, unit, values.get((row, path.who), []), goal, more_is_better=unit == "1/s")
