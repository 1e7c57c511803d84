#!/usr/bin/env python3
"""Connections that begin while our rules are away go on with a retransmission once they are back.

Something else keeps conntrack active, as on most nodes: then a first packet that nobody translates makes
an entry that translates nothing, and whatever follows with the same addresses and ports follows it.
"""
import os
import re
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import ipt
import nft
import objects as obj
import traffic
from harness import check, equal, wait
from lab import wire

VIP, VIP6 = "10.96.0.10", "fd00:10:96::10"
EXTERNAL, EXTERNAL6 = "203.0.113.10", "2001:db8:1::10"
NODE_PORT = 30080
TARGETS = ((VIP, 80), (VIP6, 80), (EXTERNAL, 80), (EXTERNAL6, 80), ("192.0.2.1", NODE_PORT))
POD, POD6 = "10.244.2.2", "fd00:10:244:2::2"

# Counts what begins, and silences the node itself: nothing listens at its node ports, and it would say so.
KEEPER = """
table inet keeper {
	counter begun { }
	chain pre { type filter hook prerouting priority -300; tcp flags & (syn | ack) == syn tcp dport { 80, %d } counter name begun; }
	chain out { type filter hook output priority 300; ct state established tcp flags & rst == rst drop; }
}
""" % NODE_PORT


class Attempt:
    """A connect() under way: its first packet has been sent."""

    def __init__(self, lab, address, port):
        self.where = "%s port %d" % (address, port)
        with lab.ext:
            self.sock = socket.socket(traffic.family_of(address), socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.sock.connect_ex((address, port))
        lab.serve(self)

    def greeting(self, seconds):
        """What the endpoint says; '' if nothing comes."""
        self.sock.settimeout(seconds)
        try:
            return self.sock.recv(100).decode()
        except OSError:
            return ""

    def close(self):
        self.sock.close()


def put(lab):
    both = dict(externalIPs=[EXTERNAL, EXTERNAL6], type="NodePort")
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", [VIP, VIP6], node_port=NODE_PORT, **both), obj.slice_of("web", [POD], suffix="4"),
            obj.slice_of("web", [POD6], suffix="6"))


def prepare(lab):
    """Packets to the Service's addresses get lost beyond the node, if nothing translates them."""
    lab.serve(traffic.TcpServer(lab.rem))
    beyond = lab.namespace("beyond")
    wire(lab.node, "beyond", beyond, "eth0")
    for address in (VIP, EXTERNAL, VIP6, EXTERNAL6):
        lab.node.sh("ip", "neigh", "add", address, "lladdr", "02:00:00:00:00:01", "dev", "beyond")
        lab.node.sh("ip", "route", "add", address, "dev", "beyond")
    keep(lab)
    put(lab)


def keep(lab):
    equal(nft.run(lab.node, "-f", "-", text=KEEPER).stderr, "", "the table that keeps conntrack active")


def begin(lab, targets=TARGETS):
    before = begun(lab)
    attempts = [Attempt(lab, *t) for t in targets]
    wait(lambda: begun(lab) >= before + len(targets), "the first packets pass the node")
    for a in attempts:
        equal(a.greeting(0.01), "", "an answer from %s without rules" % a.where)
    return attempts


def begun(lab):
    return int(re.search(r"packets (\d+)", nft.run(lab.node, "list", "counter", "inet", "keeper", "begun").stdout)[1])


def go_on(attempts):
    for a in attempts:
        check(a.greeting(40).startswith((POD + " ", POD6 + " ")), "%s stays silent", a.where)


def hold(agent):
    """It sees and does nothing from now on."""
    agent.process.send_signal(signal.SIGSTOP)
    threads = "/proc/%d/task/" % agent.pid
    wait(lambda: all(state(threads + t) == "T" for t in os.listdir(threads)), "the agent stands still")


def state(task):
    try:
        with open(task + "/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "ended"


def away(lab, agent, commands, targets=TARGETS):
    """Rules go, connections begin, the agent sees to it only then."""
    hold(agent)
    for c in commands:
        lab.node.sh(*c.split())
    attempts = begin(lab, targets)
    agent.process.send_signal(signal.SIGCONT)
    go_on(attempts)


def test_before_the_first_commit(lab):
    """And what is answered without us is left alone: a server of the node's own at an external address."""
    prepare(lab)
    lab.node.sh("ip", "route", "del", EXTERNAL, "dev", "beyond")
    lab.node.sh("ip", "addr", "add", EXTERNAL + "/32", "dev", "lo")
    lab.serve(traffic.TcpServer(lab.node, 80))
    own = traffic.Connection(lab.ext, EXTERNAL, 80)
    equal(own.me, EXTERNAL, "who answers")
    attempts = begin(lab, [t for t in TARGETS if t[0] != EXTERNAL])
    lab.run().ready()
    go_on(attempts)
    check(own.ping(), "the connection broke")
    own.close()


def test_while_somebody_took_the_rules(lab):
    """All of them, and elements; UDP flows as well."""
    prepare(lab)
    lab.serve(traffic.UdpServer(lab.rem, POD))
    lab.put("dns.json", obj.service("dns", "10.96.0.53", 53, "UDP"), obj.slice_of("dns", [POD], protocol="UDP"))
    agent = lab.run().ready()
    client = lab.serve(traffic.UdpClient(lab.ext, "10.96.0.53", 53))
    hold(agent)
    lab.node.sh("nft", "flush", "ruleset")
    keep(lab)
    client.ask(0.05)
    attempts = begin(lab)
    agent.process.send_signal(signal.SIGCONT)
    go_on(attempts)
    wait(lambda: client.is_at(POD), "the datagrams reach the endpoint")
    away(lab, agent, ["nft flush map ip proxylet svc"], ((EXTERNAL, 80),))


def test_of_mode_iptables(lab):
    prepare(lab)
    agent = lab.run(mode="iptables", proxylet={"iptablesVariant": "nft"}).ready()
    away(lab, agent, ["%s-nft -t nat -F %s" % (p, c) for p in ipt.PROGRAMS.values() for c in ("PREROUTING", "PXL-SERVICES")])


if __name__ == "__main__":
    harness.main(globals())
