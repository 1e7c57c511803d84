#!/usr/bin/env python3
"""What load balancers see: 503 before the rules, at once when the last local endpoint leaves, 200 after the commit."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import DEADLINE, check, equal, quick, wait
from lab import without

PORT = 31999
LIMIT = 0.100  # health-and-probes O1, B.3: seconds from the event to the answer


def local_service(pods, port=PORT, **more):
    return (obj.service("web", "10.96.0.10", vips=["203.0.113.10"], externalTrafficPolicy="Local",
                        allocateLoadBalancerNodePorts=False, healthCheckNodePort=port, **more), obj.slice_of("web", pods))


def status(agent, path="/healthz", port=10256):
    # 127.0.0.1 is not an address for node ports
    return agent.get(path, port, "192.0.2.1")[0]


def until(agent, want, **where):
    """Seconds until the answer is want; asked as fast as it goes."""
    began = time.monotonic()
    while status(agent, **where) != want:
        check(time.monotonic() - began < DEADLINE, "no %d within %g s", want, DEADLINE)
    return time.monotonic() - began


def test_not_before_the_first_commit(lab):
    many = []
    for i in range(1500):
        name, ip = "s%04d" % i, "10.97.%d.%d" % (i >> 8, i & 255)
        many += [obj.service(name, ip), obj.slice_of(name, ["10.244.2.%d" % (2 + i % 50), "10.244.2.%d" % (60 + i % 50)])]
    lab.put("all.json", obj.node(), *many, *local_service(["10.244.1.2"]))
    agent, seen = lab.run(), []
    while not seen or seen[-1] != 200:
        seen.append(status(agent))
        check(len(seen) < 100000 and agent.process.poll() is None, "never ready: %s", agent.log())
    elements = len(nft.listing(lab.node)["set eps"]["elem"])
    check(set(seen) <= {0, 503, 200}, "answers: %s", set(seen))
    equal(elements, 2 * 1500 + 3, "endpoints in the kernel at the first 200")


def test_node_unknown(lab):
    lab.put("web.json", *local_service(["10.244.1.2"]))
    agent = lab.run()
    wait(lambda: status(agent, "/livez") == 200, "livez")
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80), "the rules")
    equal(status(agent), 503, "healthz of a node that nobody told us about")
    lab.put("node.json", obj.node())
    wait(lambda: status(agent) == 200, "healthz, once the Node is known")


def test_last_local_endpoint(lab):
    lab.put("node.json", obj.node())
    lab.put("web.json", *local_service(["10.244.1.2", "10.244.2.2"]))
    agent = lab.run().ready()
    wait(lambda: status(agent, port=PORT) == 200, "the Service's port")
    code, headers, body = agent.get(port=PORT, address="192.0.2.1")
    equal((code, headers.get("X-Load-Balancing-Endpoint-Weight")), (200, "1"), "status and weight")
    check('"localEndpoints": 1' in body, "body: %s", body)

    def step():
        lab.put("web.json", *local_service(["10.244.2.2"]))
        lost = until(agent, 503, port=PORT)
        equal(status(agent), 200, "healthz of the node")
        lab.put("web.json", *local_service(["10.244.1.2", "10.244.2.2"]))
        late = until(agent, 200, port=PORT)
        check("10.244.1.2" in nft.endpoints(lab.node, "203.0.113.10", 80), "200 before the endpoint is in the kernel")
        return lost, late

    quick(step, LIMIT, "503 after the last local endpoint left", "200 after one came back")


def test_terminating_endpoint_does_not_count(lab):
    lab.put("node.json", obj.node())
    lab.put("web.json", *local_service(["10.244.1.2", "10.244.2.2"]))
    agent = lab.run().ready()
    going = obj.endpoint("10.244.1.2", ready=False, serving=True, terminating=True)
    lab.put("web.json", *local_service([going, "10.244.2.2"]))
    until(agent, 503, port=PORT)
    wait(lambda: nft.listing(lab.node)["set eps"]["elem"], "late connections still have rules")


def test_service_port_comes_and_goes(lab):
    lab.put("node.json", obj.node())
    agent = lab.run().ready()
    equal(status(agent, port=PORT), 0, "before the Service")
    lab.put("web.json", *local_service(["10.244.1.2"]))
    until(agent, 200, port=PORT)
    # The Service has no IPv6: the answer there is that of its own family (health-and-probes B.4).
    equal(agent.get(port=PORT, address="2001:db8::1")[0], 200, "the answer on the node's IPv6 address")
    equal(agent.get(port=PORT)[0], 0, "the loopback, which is no address for node ports")
    os.unlink(os.path.join(lab.objects, "web.json"))
    wait(lambda: status(agent, port=PORT) == 0, "the port closes")


def test_S_06_policy_changes(lab):
    """The port goes with the policy, and may be another one when that comes back."""
    lab.put("node.json", obj.node())
    lab.put("web.json", *local_service(["10.244.1.2"]))
    agent = lab.run().ready()
    until(agent, 200, port=PORT)
    lab.put("web.json", obj.service("web", "10.96.0.10", vips=["203.0.113.10"]), obj.slice_of("web", ["10.244.1.2"]))
    until(agent, 0, port=PORT)
    lab.put("web.json", *local_service(["10.244.1.2"], PORT - 1))
    until(agent, 200, port=PORT - 1)
    equal((status(agent, port=PORT), status(agent)), (0, 200), "the former port, and healthz of the node")


def test_S_14_source_ranges(lab):
    """They are about data: a probe comes from wherever the load balancer's provider has its own."""
    prober, customer, other = "168.63.129.16", "203.0.113.77", "198.51.100.1"
    for address in (prober, customer):
        lab.ext.sh("ip", "addr", "add", address + "/32", "dev", "lo")
    lab.serve(traffic.TcpServer(lab.pods["pod1"]))
    lab.put("node.json", obj.node())
    lab.put("web.json", *local_service(["10.244.1.2"], loadBalancerSourceRanges=["203.0.113.0/24"]))
    for mode in ("nftables", "iptables"):
        agent = lab.run(mode=mode).ready()
        until(agent, 200, port=PORT)
        with lab.ext:
            equal(obj.http_get("192.0.2.1", PORT, source=prober)[0], 200, "a probe, mode " + mode)
        equal(traffic.ask(lab.ext, "203.0.113.10", 80, source=customer), ("10.244.1.2", customer), "in the ranges, mode " + mode)
        for source in (other, prober):
            equal(traffic.ask(lab.ext, "203.0.113.10", 80, source=source, timeout=0.3), traffic.SILENT, "in no range, mode " + mode)
        agent.stop()


def test_B_11_without_ipv6(lab):
    lab.put("node.json", obj.node())
    lab.put("web.json", *local_service(["10.244.1.2"]))
    agent = lab.run(before=without("ipv6")).ready()
    until(agent, 200, port=PORT)
    for port in (10256, 10356):
        equal((status(agent, port=port), agent.get(port=port, address="2001:db8::1")[0]), (200, 0), "port %d by IPv4 and IPv6" % port)
    check("cannot listen" not in agent.log(), "log: %s", agent.log())


def test_taint(lab):
    lab.put("node.json", obj.node())
    lab.put("web.json", *local_service(["10.244.1.2"]))
    agent = lab.run().ready()
    wait(lambda: status(agent, port=PORT) == 200, "the Service's port")

    def step():
        lab.put("node.json", obj.node(taints=["ToBeDeletedByClusterAutoscaler"]))
        gone = until(agent, 503)
        equal(status(agent, "/livez"), 200, "livez of a tainted node")
        equal(status(agent, port=PORT), 200, "the Service's port on a tainted node")
        lab.put("node.json", obj.node(taints=["node.kubernetes.io/unschedulable"]))
        return gone, until(agent, 200)

    quick(step, LIMIT, "503 after the taint", "200 after it went")


def test_both_fixed_ports_and_paths(lab):
    lab.put("node.json", obj.node())
    agent = lab.run().ready()
    for port in (10256, 10356):
        for address in ("127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"):
            equal(agent.get("/healthz", port, address)[0], 200, "%s port %d" % (address, port))
        equal(agent.get("/nothing", port)[0], 404, "an unknown path, port %d" % port)
    check('"nodeEligible"' in agent.get("/healthz")[2] and '"nodeEligible"' not in agent.get("/livez")[2], "bodies")


if __name__ == "__main__":
    harness.main(globals())
