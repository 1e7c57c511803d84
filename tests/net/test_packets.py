#!/usr/bin/env python3
"""Real connections through the rules, both families. The judge has the breadth; here is what it cannot see."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "judge"))

import harness
import nft
import objects as obj
import packets
import traffic
from harness import DEADLINE, check, equal, wait

V4 = dict(ip="10.96.0.10", remote=["10.244.2.2", "10.244.2.3"], local="10.244.1.2", node="192.0.2.1", ext="192.0.2.100")
V6 = dict(ip="fd00:10:96::10", remote=["fd00:10:244:2::2", "fd00:10:244:2::3"], local="fd00:10:244:1::2",
          node="2001:db8::1", ext="2001:db8::100")
FAMILIES = (V4, V6)


def start(lab, pods=("remote",), **extra):
    """One dual-stack Service 'web' on both addresses."""
    lab.put("node.json", obj.node())
    items = [obj.service("web", [V4["ip"], V6["ip"]], node_port=30080, **extra)]
    for number, f in enumerate(FAMILIES):
        chosen = [p for kind in pods for p in (f[kind] if isinstance(f[kind], list) else [f[kind]])]
        items.append(obj.slice_of("web", chosen, suffix=str(number)))
    lab.put("web.json", *items)
    lab.serve(traffic.TcpServer(lab.rem))
    for pod in lab.pods.values():
        lab.serve(traffic.TcpServer(pod))
    return lab.run().ready()


def test_every_endpoint_and_the_source(lab):
    start(lab)
    for f in FAMILIES:
        for address, port in ((f["ip"], 80), (f["node"], 30080)):
            equal(traffic.ask_often(lab.ext, address, port, 60), {(p, f["node"]) for p in f["remote"]}, "from outside to %s" % address)
        equal(traffic.ask_often(lab.pods["pod1"], f["ip"], 80, 60), {(p, f["local"]) for p in f["remote"]}, "from a pod")
        equal(traffic.endpoints_of(traffic.ask_often(lab.node, f["ip"], 80, 60)), set(f["remote"]), "from the node")


def test_hairpin(lab):
    start(lab, pods=["local"])
    for f in FAMILIES:
        equal(traffic.ask(lab.pods["pod1"], f["ip"], 80), (f["local"], f["node"]), "a pod to itself through the Service")
        other = traffic.ask(lab.pods["pod2"], f["ip"], 80)
        check(isinstance(other, tuple) and other[1] != f["node"], "another pod is masqueraded: %s", other)


def test_no_endpoints_refuses(lab):
    start(lab, pods=[])
    for f in FAMILIES:
        for ns in (lab.ext, lab.pods["pod1"], lab.node):
            equal(traffic.ask(ns, f["ip"], 80), traffic.REFUSED, "%s without endpoints" % f["ip"])
        equal(traffic.ask(lab.ext, f["node"], 30080), traffic.REFUSED, "node port without endpoints")


def test_wrong_port_refuses(lab):
    start(lab)
    for f in FAMILIES:
        equal(traffic.ask(lab.ext, f["ip"], 81), traffic.REFUSED, "%s, a port it does not have" % f["ip"])


def test_affinity(lab):
    start(lab, sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}})
    sources = ["198.51.100.%d" % n for n in range(1, 41)]  # all of them the same: 2^-39
    first = {s: traffic.ask(lab.ext, V4["ip"], 80, source=s)[0] for s in sources}
    equal(set(first.values()), set(V4["remote"]), "endpoints chosen by %d clients" % len(sources))
    for s in sources:
        equal(traffic.endpoints_of(traffic.ask_often(lab.ext, V4["ip"], 80, 4, source=s)), {first[s]}, "client %s" % s)
        equal(traffic.ask(lab.ext, V4["node"], 30080, source=s)[0], first[s], "client %s at the node port" % s)
    entries = [i["set"]["name"] for i in nft.raw(lab.node) if "set" in i and "timeout" in i["set"].get("flags", [])]
    entries += [i["map"]["name"] for i in nft.raw(lab.node) if "map" in i and "timeout" in i["map"].get("flags", [])]
    check(entries, "no map with a timeout")


def test_affinity_of_another_service(lab):
    """One at an address of the node, and at the number of the other's node port: neither is taken for the other."""
    lab.put("node.json", obj.node())
    mine, others = V4["remote"]
    lab.put("web.json", obj.service("web", V4["ip"], node_port=30085, sessionAffinity="ClientIP"), obj.slice_of("web", [mine]))
    lab.put("other.json", obj.service("other", "10.96.0.11", 30085, vips=[V4["node"]]), obj.slice_of("other", [others]))
    lab.serve(traffic.TcpServer(lab.rem))
    lab.run().ready()
    equal(traffic.ask(lab.ext, V4["node"], 30085)[0], others, "the other one")
    equal(traffic.ask(lab.ext, V4["ip"], 80)[0], mine, "this one")
    equal(traffic.ask(lab.ext, V4["ip"], 80)[0], mine, "this one, again")


def test_affinity_expires(lab):
    """Unused for longer than its timeout, each client draws again: 40 do not draw the same as before."""
    start(lab, sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 2}})
    sources = ["198.51.100.%d" % n for n in range(1, 41)]
    first = {s: traffic.ask(lab.ext, V4["ip"], 80, source=s)[0] for s in sources}
    deadline = time.monotonic() + DEADLINE
    while {s: traffic.ask(lab.ext, V4["ip"], 80, source=s)[0] for s in sources} == first:
        check(time.monotonic() < deadline, "the choice never expires")
        time.sleep(2.2)


def test_affinity_to_an_endpoint_that_left(lab):
    start(lab, sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}})
    gone = traffic.ask(lab.ext, V4["ip"], 80)[0]
    stays = next(p for p in V4["remote"] if p != gone)
    lab.put("web.json", obj.service("web", [V4["ip"], V6["ip"]], sessionAffinity="ClientIP",
                                    sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}}), obj.slice_of("web", [stays]))
    wait(lambda: nft.endpoints(lab.node, V4["ip"], 80) == {stays}, "the endpoint leaves")
    wait(lambda: traffic.endpoints_of(traffic.ask_often(lab.ext, V4["ip"], 80, 3)) == {stays}, "the client moves on")


def test_source_ranges(lab):
    start(lab, vips=["203.0.113.10", "2001:db8:99::10"], loadBalancerSourceRanges=["198.51.100.0/28", "2001:db8::/64"])
    equal(traffic.ask(lab.ext, "203.0.113.10", 80, source="198.51.100.3")[0] in V4["remote"], True, "inside the range")
    equal(traffic.ask(lab.ext, "203.0.113.10", 80, source="198.51.100.33", timeout=0.7), traffic.SILENT, "outside the range")
    equal(traffic.ask(lab.ext, V4["ip"], 80, source="198.51.100.33")[0] in V4["remote"], True, "the clusterIP stays open")
    equal(traffic.ask(lab.ext, "2001:db8:99::10", 80)[0] in V6["remote"], True, "inside the IPv6 range")
    equal(traffic.ask(lab.pods["pod1"], "2001:db8:99::10", 80, timeout=0.7), traffic.SILENT, "outside the IPv6 range")


def test_more_source_ranges_than_a_message_holds(lab):
    """The one the clients are in is the last of the first family, and in the middle of the second."""
    ranges = ["%d.%d.%d.0/24" % (11 + n // 32768, n // 128 % 256, n % 128 * 2) for n in range(5000)] + ["198.51.100.0/28"]
    ranges += ["2001:db%d:0:%x::/64" % (7 + n % 2 * 2, n * 2) for n in range(3000)] + ["2001:db8::/64"]
    start(lab, vips=["203.0.113.10", "2001:db8:99::10"], loadBalancerSourceRanges=ranges)
    equal(traffic.ask(lab.ext, "203.0.113.10", 80, source="198.51.100.3")[0] in V4["remote"], True, "inside the last range")
    equal(traffic.ask(lab.ext, "203.0.113.10", 80, source="198.51.100.33", timeout=0.7), traffic.SILENT, "outside all ranges")
    equal(traffic.ask(lab.ext, "2001:db8:99::10", 80)[0] in V6["remote"], True, "inside an IPv6 range")
    equal(traffic.ask(lab.pods["pod1"], "2001:db8:99::10", 80, timeout=0.7), traffic.SILENT, "outside all IPv6 ranges")


def test_external_policy_local(lab):
    start(lab, pods=["local", "remote"], externalTrafficPolicy="Local")
    for f in FAMILIES:
        equal(traffic.ask_often(lab.ext, f["node"], 30080, 20), {(f["local"], f["ext"])}, "only the local endpoint, source kept")
        equal(traffic.endpoints_of(traffic.ask_often(lab.ext, f["ip"], 80, 80)), {f["local"], *f["remote"]}, "clusterIP: all")


def test_sctp(lab):
    lab.put("node.json", obj.node())
    lab.put("s.json", obj.service("s", "10.96.0.20", 3868, "SCTP", 3869), obj.slice_of("s", ["10.244.2.2"], 3869, "SCTP"))
    with lab.rem:
        heard = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
    with lab.ext:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    lab.run().ready()
    raw.sendto(packets.build("192.0.2.100", "10.96.0.20", "SCTP", 20000, 3868, 4711), ("10.96.0.20", 0))
    heard.settimeout(DEADLINE)
    try:
        seen = packets.parse(heard.recv(2048))
    finally:
        heard.close(), raw.close()
    equal((seen[1], seen[2], seen[4:]), (4711, "192.0.2.1", ("10.244.2.2", 3869)), "the INIT chunk at the endpoint")


def test_uniform(lab):
    """Every endpoint gets its share, also when the class has more places than endpoints."""
    lab.put("node.json", obj.node())
    pods = ["10.244.2.%d" % n for n in range(2, 7)]
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", pods))
    lab.serve(traffic.TcpServer(lab.rem))
    lab.run().ready()
    times, count = 1000, {}
    for _ in range(times):
        me = traffic.ask(lab.ext, "10.96.0.10", 80)[0]
        count[me] = count.get(me, 0) + 1
    chi2 = sum((count.get(p, 0) - times / 5) ** 2 / (times / 5) for p in pods)
    check(chi2 < 50, "chi-square %.1f with 4 degrees of freedom (50 is p = 4e-10): %s", chi2, count)


if __name__ == "__main__":
    harness.main(globals())
