#!/usr/bin/env python3
"""Rules outlive the process, a restart writes only what changed, and kill -9 at any moment does no harm."""
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import BUSY, check, equal


def small_cluster(lab, count=20):
    lab.put("node.json", obj.node())
    for i in range(count):
        name, extra = "s%02d" % i, {}
        if i % 4 == 1:
            extra = {"node_port": 30000 + i}
        elif i % 4 == 2:
            extra = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 100}}}
        elif i % 4 == 3:
            extra = {"vips": ["203.0.113.%d" % i], "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000 + i,
                     "loadBalancerSourceRanges": ["198.51.100.0/25"]}
        ips = ["10.96.0.%d" % (10 + i), "fd00:10:96::%x" % (10 + i)]
        pods = [str(n) for n in range(2, 2 + i % 5)]
        lab.put(name + ".json", obj.service(name, ips, **extra),
                obj.slice_of(name, ["10.244.2." + p for p in pods] + ["10.244.1.2"]),
                obj.slice_of(name, ["fd00:10:244:2::" + p for p in pods] + ["fd00:10:244:1::2"], suffix="six"))


def both(ns):
    return {family: nft.listing(ns, family) for family in ("ip", "ip6")}


def test_nothing_changed_nothing_written(lab):
    small_cluster(lab)
    agent = lab.run().ready()
    before, tables = nft.generation(lab.node), both(lab.node)
    check(tables["ip"] and tables["ip6"], "no tables")
    for end in (signal.SIGTERM, signal.SIGKILL):
        agent.stop(end)
        equal(both(lab.node), tables, "rules after %s" % end.name)
        agent.start().ready()
        equal(nft.generation(lab.node), before, "generation id after %s and a restart" % end.name)
    equal(both(lab.node), tables, "rules in the end")


def test_sigterm_ends_it_quickly(lab):
    small_cluster(lab, 3)
    agent = lab.run().ready()
    began = time.monotonic()
    equal(agent.stop(signal.SIGTERM), 0, "exit status")
    check(time.monotonic() - began < 1 * BUSY, "took %.2f s", time.monotonic() - began)


def test_restart_writes_the_difference(lab):
    small_cluster(lab)
    agent = lab.run().ready()
    for ns in (lab.rem, lab.pods["pod1"]):
        lab.serve(traffic.TcpServer(ns))
    stay = traffic.Connection(lab.ext, "10.96.0.11", 80)
    agent.stop()
    lab.put("s05.json")
    lab.put("s01.json", obj.service("s01", "10.96.0.11", node_port=30001), obj.slice_of("s01", ["10.244.2.77"]))
    agent.start().ready()
    equal(nft.endpoints(lab.node, "10.96.0.11", 80), {"10.244.2.77"}, "endpoints after the restart")
    equal(nft.endpoints(lab.node, "10.96.0.15", 80), set(), "endpoints of the Service that went meanwhile")
    check(not isinstance(traffic.ask(lab.ext, "10.96.0.15", 80, timeout=0.5), tuple), "the Service that went still answers")
    equal(traffic.endpoints_of({traffic.ask(lab.ext, "10.96.0.11", 80)}), {"10.244.2.77"}, "the Service that changed")
    check(stay.ping(), "a connection from before the restart is dead")
    stay.close()


def test_kill_at_any_moment(lab):
    small_cluster(lab)
    rng = random.Random(os.getpid())
    agent = lab.run().ready()
    for turn in range(12):
        until = time.monotonic() + rng.uniform(0.005, 0.12)
        while time.monotonic() < until:
            i = rng.randrange(20)
            pods = rng.sample(range(2, 60), rng.randrange(0, 12))
            lab.put("s%02d.json" % i, obj.service("s%02d" % i, "10.96.0.%d" % (10 + i)),
                    obj.slice_of("s%02d" % i, ["10.244.2.%d" % p for p in pods]))
        agent.stop(signal.SIGKILL)
        agent.start().ready()
    fresh = lab.bare_node()
    lab.run(fresh).ready()
    for family in ("ip", "ip6"):
        ours = nft.listing(lab.node, family)
        equal(nft.faults(ours), [], "faults in %s" % family)
        equal(nft.meaning_difference(ours, nft.listing(fresh, family)), "", "against a fresh agent, %s" % family)


if __name__ == "__main__":
    harness.main(globals())
