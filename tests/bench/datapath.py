"""What packets pay: client - node - endpoints over veth pairs, with empty NAT chains, our rules and kube-proxy's shape.

The client is a pod (nothing is masqueraded). The first packet of a connection is sent by AF_PACKET and
dropped behind our rules, in a forward chain of priority 300, so that only the way there is measured: of one load
beside all others and with the rest, of further loads beside empty NAT chains alone.
"""
import contextlib
import json
import os
import statistics
import subprocess

import lab as labs
import opponents as op
import rival
from loads import CIDR, Load, named
from others import SHAPE
from report import OURS

CLIENT, GATEWAY, VIP = "10.255.0.2", "10.255.0.1", "172.16.0.0"
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
CONNECT, CONNECTING = "connections", "connection and one answer"
ASK, ASKING = "requests on one connection", "request on one connection"
QUANTILES = "p50", "p90", "p99"
UNITS = dict({FIRST: "ns", FIRST_HOT: "ns", RATE: "1/s", CONNECT: "1/s", ASK: "1/s"},
             **{"%s, %s" % (row, p): "us" for row in (CONNECTING, ASKING) for p in QUANTILES})
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


def bare_and_ours(lab, load):
    """Whose rules, how they are loaded, from what: empty NAT chains, and what the agent itself sends at a start."""
    tools = op.Tools(lab.agent)
    return [(EMPTY, op.nft, op.write(os.path.join(lab.folder, "empty.nft"), [EMPTY_RULES]), load.hosts(0)[0], 1, 8080),
            (OURS, lambda ns, recorded: op.replay(tools, ns, recorded), op.record_agent(lab, load.file(lab.folder), CIDR))]


def kube_proxys(lab, load, args):
    plans = [(SHAPE, op.nft, op.write(os.path.join(lab.folder, "shape.nft"), rival.Nftables(load).whole()))]
    if load.services <= args.iptables_up_to:
        tables = op.write(os.path.join(lab.folder, "shape.iptables"), rival.Iptables(load).whole())
        plans += [("iptables-%s, kube-proxy's" % v, op.iptables(v), tables) for v in args.variants]
    return plans


def build(lab, report, load, plans):
    """-> the paths, loaded; without those that cannot be"""
    def loaded(who, load_rules, rules, first=VIP, count=load.services, port=80):
        path = Path(lab, who, first, count, port)
        load_rules(path.node, rules)
        return path

    paths = [report.attempt("data path, " + p[0], loaded, *p) for p in plans]
    return [p for p in paths if p]


class Values:
    """By row and whose rules."""

    def __init__(self):
        self.of = {}

    def put(self, row, path, value):
        self.of.setdefault((row, path.who), []).append(value)

    def tell(self, report, load, paths):
        for row, unit in UNITS.items():
            for path in sorted(paths, key=lambda p: p.who != OURS):
                if (row, path.who) in self.of:
                    goal = self.goal(load) if row == FIRST and path.who == OURS else None
                    report.add(row, load.name, path.who, unit, self.of[row, path.who], goal, more_is_better=unit == "1/s")

    def goal(self, load):
        factor, base = next((f for n, f in GOAL_FIRST if load.services <= n), None), self.of.get((FIRST, EMPTY))
        return factor * statistics.median(base) if factor and base else None


def first_packets(tools, path, seconds, values):
    with path.sink():
        for row, count in ((FIRST, path.count), (FIRST_HOT, 1)):
            values.put(row, path, path.flow(tools, "packets", "eth0", path.mac, CLIENT, path.first, count, seconds)["cpu_ns"])


def everything(tools, path, seconds, values):
    first_packets(tools, path, seconds, values)
    with path.deaf():
        values.put(RATE, path, path.flow(tools, "packets", "eth0", path.mac, CLIENT, path.first, 0, seconds)["rate"])
    for rate, latency, argv in ((CONNECT, CONNECTING, ("connect", path.first, path.count, path.port, seconds)),
                                (ASK, ASKING, ("ask", path.first, path.port, seconds))):
        r = path.flow(tools, *argv)
        values.put(rate, path, r["rate"])
        for p in QUANTILES:
            values.put("%s, %s" % (latency, p), path, r[p + "_us"])


def measure(lab, report, load, step, plans, rounds, seconds):
    """step() with each of them, taking turns."""
    print("data path, %s" % load.name, flush=True)
    paths, tools, values = build(lab, report, load, plans), op.Tools(lab.agent), Values()
    try:
        for path in paths:
            path.serve(tools)
        for _ in range(rounds):
            for path in paths:
                report.attempt("data path, " + path.who, step, tools, path, seconds, values)
    finally:
        for path in paths:
            path.close()
    values.tell(report, load, paths)


def all_rows(lab, report, args):
    load = Load(args.data_services, 10)
    measure(lab, report, load, everything, bare_and_ours(lab, load) + kube_proxys(lab, load, args), args.data_rounds, args.data_seconds)
    for load in named(args.data_loads):
        measure(lab, report, load, first_packets, bare_and_ours(lab, load), args.data_rounds, args.data_seconds)
