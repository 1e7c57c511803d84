#!/usr/bin/env python3
"""UDP clients that never stop sending are moved to where the Service is now."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import check, equal, wait


def put(lab, pods, **extra):
    lab.put("dns.json", obj.service("dns", "10.96.0.53", 53, "UDP", node_port=30053, **extra),
            obj.slice_of("dns", pods, protocol="UDP"))


def start(lab, pods):
    for pod in ("10.244.2.2", "10.244.2.3"):
        lab.serve(traffic.UdpServer(lab.rem, pod))
    lab.put("node.json", obj.node())
    put(lab, pods)
    agent = lab.run().ready()
    return agent


def client(lab, address="10.96.0.53", port=53):
    return lab.serve(traffic.UdpClient(lab.ext, address, port))


def test_moves_to_the_new_endpoint(lab):
    start(lab, ["10.244.2.2"])
    clients = [client(lab), client(lab, "192.0.2.1", 30053)]
    for c in clients:
        equal(c.ask(), "10.244.2.2", "first")
    put(lab, ["10.244.2.3"])
    for c in clients:
        wait(lambda c=c: c.is_at("10.244.2.3"), "the same client's datagrams reach the new endpoint")


def test_is_counted(lab):
    """What conntrack did, as metrics of the family it was done in; no commit comes with it."""
    agent = start(lab, ["10.244.2.2"])
    c = client(lab)
    equal(c.ask(), "10.244.2.2", "first")
    put(lab, ["10.244.2.3"])
    wait(lambda: c.is_at("10.244.2.3"), "the new endpoint")

    def value(name, family):
        text = agent.get("/metrics", 10249)[2]
        found = re.search(r'^kubeproxy_conntrack_reconciler_%s\{ip_family="%s"\} (\S+)$' % (name, family), text, re.M)
        return float(found[1])

    wait(lambda: value("deleted_entries_total", "IPv4") == 1, "one entry of IPv4")
    check(value("sync_duration_seconds_count", "IPv4") >= 1, "runs")
    check(value("sync_duration_seconds_sum", "IPv4") > 0, "their time")
    equal(value("deleted_entries_total", "IPv6"), 0, "entries of IPv6")


def test_stays_while_its_endpoint_stays(lab):
    start(lab, ["10.244.2.2", "10.244.2.3"])
    c = client(lab)
    mine = c.ask()
    put(lab, ["10.244.2.2", "10.244.2.3", "10.244.2.4"])
    wait(lambda: len(nft.endpoints(lab.node, "10.96.0.53", 53, "udp")) == 3, "the third endpoint")
    for _ in range(20):
        equal(c.ask(), mine, "the client's endpoint")


def test_sent_before_there_were_endpoints(lab):
    start(lab, [])
    c = client(lab)
    equal(c.ask(), traffic.REFUSED, "no endpoints")
    put(lab, ["10.244.2.2"])
    wait(lambda: c.is_at("10.244.2.2"), "the same client gets through")


def test_sent_before_there_was_a_service(lab):
    lab.serve(traffic.UdpServer(lab.rem, "10.244.2.2"))
    lab.put("node.json", obj.node())
    lab.run().ready()
    # Without rules the datagram leaves by the default route and leaves an untranslated entry behind.
    c = client(lab)
    c.ask(0.05)
    put(lab, ["10.244.2.2"])
    wait(lambda: c.is_at("10.244.2.2"), "the same client gets through")


def test_last_endpoint_goes(lab):
    start(lab, ["10.244.2.2"])
    c = client(lab)
    equal(c.ask(), "10.244.2.2", "first")
    put(lab, [])
    wait(lambda: c.is_at(traffic.REFUSED), "refused, not sent on to the old endpoint")


def test_replaced_while_nobody_ran(lab):
    agent = start(lab, ["10.244.2.2"])
    c = client(lab)
    equal(c.ask(), "10.244.2.2", "first")
    agent.stop()
    put(lab, ["10.244.2.3"])
    agent.start().ready()
    wait(lambda: c.is_at("10.244.2.3"), "the same client reaches the new endpoint after the restart")


def test_removed_while_nobody_ran(lab):
    agent = start(lab, ["10.244.2.2"])
    clients = [client(lab), client(lab, "192.0.2.1", 30053)]
    for c in clients:
        equal(c.ask(), "10.244.2.2", "first")
    agent.stop()
    lab.put("dns.json", obj.service("web", "10.96.0.10"))
    agent.start().ready()
    for c in clients:
        wait(lambda c=c: all(c.ask(0.3) != "10.244.2.2" for _ in range(3)), "the same client does not reach the old endpoint", 20)


def test_tcp_is_left_alone(lab):
    start(lab, ["10.244.2.2"])
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.2"]))
    wait(lambda: isinstance(traffic.ask(lab.ext, "10.96.0.10", 80, timeout=traffic.POLLING), tuple), "the Service")
    c = traffic.Connection(lab.ext, "10.96.0.10", 80)
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", []))
    wait(lambda: traffic.ask(lab.ext, "10.96.0.10", 80, timeout=traffic.POLLING) == traffic.REFUSED, "new connections are refused")
    check(c.ping(), "the established connection is dead")
    c.close()


if __name__ == "__main__":
    harness.main(globals())
