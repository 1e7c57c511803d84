#!/usr/bin/env python3
"""Pods go, as health-and-probes E has it: who may lose what, when; and rolling updates in which nobody loses anything.

Pods keep their part of the bargain: they serve until the load balancer and the rules have let go of them, then
answer what is under way, and end. The load balancer is one of 100 ms x 2, not of 5 s x 2.
"""
import collections
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import BUSY, check, equal, wait
from lab import NODE_IP

IP, VIP, HEALTH = "10.96.0.10", "203.0.113.10", 31999
HERE, ALSO_HERE, AWAY, ALSO_AWAY = "10.244.1.2", "10.244.1.3", "10.244.2.2", "10.244.2.3"
RATE = int(os.environ.get("PXL_GRACEFUL_RATE", "500"))  # new connections a second
TURNS = int(os.environ.get("PXL_GRACEFUL_TURNS", "4"))
INTERVAL, FAILURES, PUBLISHED = 0.1, 2, 0.1  # of the load balancer
DETECTED = INTERVAL * FAILURES + PUBLISHED
SLICE_DELAY = 0.3  # from the event to the kernel, and for a connection under way to arrive
RULES = 1.0  # O7, E.3: from the event to the rules
GONE_WITH_RST = struct.pack("ii", 1, 0)


def going(ip, serving=True):
    return obj.endpoint(ip, ready=False, serving=serving, terminating=True)


class Pod(traffic.TcpServer):
    """One process at one address. Told to end it takes nothing new, answers once more with "bye", and hangs up."""

    def __init__(self, lab, ip):
        ns = {HERE: lab.pods["pod1"], ALSO_HERE: lab.pods["pod2"]}.get(ip, lab.rem)
        self.ip, self.leaving = ip, False
        super().__init__(ns, address="::ffff:" + ip)

    def terminate(self):
        self.leaving = True
        self.selector.unregister(self.listener)
        self.listener.close()

    def echo(self, c):
        if not self.leaving:
            return super().echo(c)
        try:
            c.sendall(b"bye\n" if c.recv(65536) else b"")
        except OSError:
            pass  # the client has gone
        self.selector.unregister(c)
        c.close()


def connect(address, port=80):
    """One new connection, asked once. -> endpoint, or what went wrong"""
    try:
        with socket.create_connection((address, port), traffic.PATIENCE) as s:
            line = s.recv(4096)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, GONE_WITH_RST)  # thousands in TIME-WAIT use up the ports
            return line.split()[0].decode() if line.endswith(b"\n") else "cut"
    except OSError as e:
        return traffic.problem(e)


class LoadBalancer(threading.Thread):
    """Probes the Service's health port; who it lets in is known a moment after it has made up its mind."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.up, self.stopping, self.changes = lab, True, False, 0
        self.start()

    def run(self):
        bad, pending = 0, []
        with self.lab.ext:
            while not self.stopping:
                good = obj.http_get(NODE_IP, HEALTH, "/")[0] == 200
                bad = 0 if good else bad + 1
                pending.append((time.monotonic() + PUBLISHED, bad < FAILURES))
                until = time.monotonic() + INTERVAL
                while time.monotonic() < until:
                    while pending and pending[0][0] <= time.monotonic():
                        up = pending.pop(0)[1]
                        self.changes += up != self.up
                        self.up = up
                    time.sleep(0.01)

    def close(self):
        self.stopping = True
        self.join()


class Clients(threading.Thread):
    """Standing connections that ask all the time, and move on when they are told to hang up."""

    def __init__(self, lab, address, count):
        super().__init__(daemon=True)
        self.lab, self.address, self.stopping = lab, address, False
        self.rounds, self.moved, self.wrong = 0, 0, []
        self.all = [self.open() for _ in range(count)]
        self.start()

    def open(self):
        return traffic.Connection(self.lab.ext, self.address, 80)

    def run(self):
        while not self.stopping:
            for i, c in enumerate(self.all):
                said = self.ask(c)
                if said == "ping\n":
                    continue
                if said == "bye\n":
                    self.moved += 1
                else:
                    self.wrong.append("%s at %s: %s" % (c.me, self.address, said))
                c.close()
                self.all[i] = self.open()
            self.rounds += 1
            time.sleep(0.01)

    @staticmethod
    def ask(c):
        try:
            c.sock.sendall(b"ping\n")
            return c.line()
        except OSError as e:
            return traffic.problem(e)

    def left(self, ip):
        return all(c.me != ip for c in self.all)

    def close(self):
        self.stopping = True
        self.join()
        for c in self.all:
            c.close()


def service(policy, name="web", **more):
    if policy == "Local":
        more = dict(more, externalTrafficPolicy="Local", healthCheckNodePort=HEALTH)
    return obj.service(name, IP, vips=[VIP], allocateLoadBalancerNodePorts=False, **more)


class Cluster:
    """One Service, its pods, and a running agent."""

    def __init__(self, lab, policy, *ips, **more):
        self.lab, self.policy, self.more, self.pods = lab, policy, more, {}
        lab.put("node.json", obj.node())
        for ip in ips:
            self.begin(ip)
        self.put(*ips)
        self.agent = lab.run().ready()

    def begin(self, ip):
        self.pods[ip] = self.lab.serve(Pod(self.lab, ip))

    def end(self, ip):
        """Its process ends: whoever has been told to hang up did."""
        pod = self.pods.pop(ip)
        self.lab.servers.remove(pod)
        pod.close()

    def put(self, *endpoints):
        self.lab.put("web.json", service(self.policy, **self.more), obj.slice_of("web", endpoints))
        return time.monotonic()

    def holds(self):
        """Where the kernel sends who asks the load balancer's address."""
        return nft.endpoints(self.lab.node, VIP, 80)

    def probe(self):
        """-> status and weight at the Service's health port"""
        code, headers, _ = self.agent.get(port=HEALTH, address=NODE_IP)
        return code, headers.get("X-Load-Balancing-Endpoint-Weight")

    def healthz(self):
        return self.agent.get()[0]


def ask(lab, address=VIP, **more):
    answer = traffic.ask(lab.ext, address, 80, **more)
    return answer[0] if isinstance(answer, tuple) else answer


def asks(lab, address=VIP, times=24, **more):
    return {ask(lab, address, **more) for _ in range(times)}


def within(seconds, condition, what):
    """Polls; from the call on, which is after the event."""
    began = time.monotonic()
    wait(condition, what, every=0.002)
    took = time.monotonic() - began
    check(took <= BUSY * seconds + 1, "%s: after %.2f s, %g are meant", what, took, seconds)


def test_timeline_local(lab):
    """E.3, row by row: the last ready pod of the node goes, another one comes."""
    c = Cluster(lab, "Local", HERE, AWAY)
    wait(lambda: c.probe() == (200, "1"), "t0: answer")
    equal(asks(lab), {HERE}, "t0: endpoints")
    standing = [traffic.Connection(lab.ext, VIP, 80) for _ in range(4)]
    load = traffic.Load(lab.ext, 200, lambda: connect(VIP))

    c.put(going(HERE), AWAY)  # t1
    within(0.1, lambda: c.probe() == (503, "0"), "t1: 503 and weight 0")
    equal(c.healthz(), 200, "t1: the node itself")
    time.sleep(RULES)  # all of t1 to t3
    equal(set(load.end()), {HERE}, "t1 to t3: where new connections went")
    check(all(s.ping() for s in standing), "t3: an established connection broke")

    c.put(going(HERE, serving=False), AWAY)  # t5
    within(RULES, lambda: ask(lab, timeout=0.15) == traffic.SILENT, "t5: new connections are dropped, not refused")
    equal(asks(lab, IP), {AWAY}, "t5: in the cluster the others answer")
    check(all(s.ping() for s in standing), "t5: an established connection broke")

    c.put(AWAY)  # t6
    within(RULES, lambda: not nft.endpoints(lab.node, VIP, 80) & {HERE}, "t6: the endpoint leaves the rules")
    check(all(s.ping() for s in standing), "t6: TCP is left to the kernel's timers")
    equal((c.probe(), ask(lab, timeout=0.15)), ((503, "0"), traffic.SILENT), "t6: answer, and new connections")

    equal(c.probe()[0], 503, "before t7")
    c.begin(ALSO_HERE)
    c.put(AWAY, ALSO_HERE)  # t7
    within(RULES, lambda: c.probe() == (200, "1"), "t7: 200 and weight 1")
    equal(ask(lab), ALSO_HERE, "t7: at the first 200 the pod is reached")
    c.put()  # nowhere any pod
    within(RULES, lambda: ask(lab, timeout=traffic.POLLING) == traffic.REFUSED, "without any endpoint anywhere: refused")
    for s in standing:
        s.close()


def test_timeline_one_of_two(lab):
    """E.3, below the table: the port stays 200, and who goes gets nothing new."""
    c = Cluster(lab, "Local", HERE, ALSO_HERE, AWAY)
    wait(lambda: c.probe() == (200, "2"), "both")
    equal(asks(lab, times=40), {HERE, ALSO_HERE}, "both")
    standing = [traffic.Connection(lab.ext, VIP, 80) for _ in range(8)]
    c.put(going(HERE), ALSO_HERE, AWAY)
    within(0.1, lambda: c.probe() == (200, "1"), "weight 1")
    within(RULES, lambda: asks(lab, times=12, timeout=traffic.POLLING) == {ALSO_HERE}, "no new flow to who goes")
    check(all(s.ping() for s in standing), "an established connection broke")
    for s in standing:
        s.close()


def test_timeline_cluster(lab):
    """E.3 with policy Cluster: the others take over within a second; the last one serves to its end."""
    c = Cluster(lab, "Cluster", HERE, AWAY)
    load = traffic.Load(lab.ext, 200, lambda: connect(VIP))
    standing = [traffic.Connection(lab.ext, VIP, 80) for _ in range(8)]
    c.put(going(HERE), AWAY)
    within(RULES, lambda: asks(lab, timeout=traffic.POLLING) == {AWAY}, "t1: new flows go to the others")
    c.put(going(HERE), going(AWAY))
    within(RULES, lambda: asks(lab, timeout=traffic.POLLING) == {HERE, AWAY}, "none is ready: those that still serve")
    equal(c.healthz(), 200, "health of the node")
    c.put(going(HERE, serving=False), going(AWAY))
    within(RULES, lambda: asks(lab, timeout=traffic.POLLING) == {AWAY}, "only one serves")
    check(all(s.ping() for s in standing), "an established connection broke")
    equal(set(load.end()) - {HERE, AWAY}, set(), "what went wrong with new connections")
    c.put(going(HERE, serving=False), going(AWAY, serving=False))
    within(RULES, lambda: ask(lab, timeout=traffic.POLLING) == traffic.REFUSED, "none serves: refused")
    check(all(s.ping() for s in standing), "an established connection broke")
    for s in standing:
        s.close()


# --- UDP, and affinity ---

def ask_udp(lab):
    client = traffic.UdpClient(lab.ext, "10.96.0.53", 53)
    try:
        return client.ask()
    finally:
        client.close()


def test_udp_stays_while_its_endpoint_serves(lab):
    """O4: not before. Kube-proxy's measure is whether it serves (kube-proxy-behaviour 7), and so is ours."""
    for pod in (AWAY, ALSO_AWAY):
        lab.serve(traffic.UdpServer(lab.rem, pod))
    lab.put("node.json", obj.node())

    def put(number, *endpoints):
        lab.put("dns.json", obj.service("dns", "10.96.0.53", 53, "UDP"), obj.slice_of("dns", endpoints, protocol="UDP"))
        lab.put("mark.json", obj.service("mark", "10.96.0.54"), obj.slice_of("mark", ["10.244.2.%d" % number]))
        wait(lambda: nft.endpoints(lab.node, "10.96.0.54", 80) == {"10.244.2.%d" % number}, "what comes after it is in the kernel")

    agent = lab.run().ready()
    put(50, AWAY)
    client = lab.serve(traffic.UdpClient(lab.ext, "10.96.0.53", 53))
    equal(client.ask(), AWAY, "first")
    put(51, going(AWAY))
    equal(client.ask(), AWAY, "terminating, but the only one")
    put(52, going(AWAY), ALSO_AWAY)
    equal((client.ask(), ask_udp(lab)), (AWAY, ALSO_AWAY), "terminating, and another one is ready: the old flow, and a new one")
    check("stale UDP" not in agent.log(), "entries were deleted: %s", agent.log())
    put(53, going(AWAY, serving=False), ALSO_AWAY)
    wait(lambda: client.is_at(ALSO_AWAY), "it does not serve any more: the flow moves")
    wait(lambda: "removed 1 stale UDP entries" in agent.log(), "one entry is deleted")


def test_affinity_follows_the_used_set(lab):
    """O6: loyal to who goes as long as he is used, and not longer."""
    sticky = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}
    c = Cluster(lab, "Cluster", AWAY, ALSO_AWAY, **sticky)
    mine = ask(lab)
    other = next(ip for ip in (AWAY, ALSO_AWAY) if ip != mine)
    c.put(going(mine), going(other))
    lab.put("mark.json", obj.service("mark", "10.96.0.54"), obj.slice_of("mark", [AWAY]))
    wait(lambda: nft.endpoints(lab.node, "10.96.0.54", 80), "the agent has seen what came after it")
    equal(asks(lab), {mine}, "both go, both serve")
    c.put(going(mine), other)
    within(RULES, lambda: asks(lab, times=4, timeout=traffic.POLLING) == {other}, "the other one is ready")
    c.put(mine, other)
    wait(lambda: nft.endpoints(lab.node, VIP, 80) == {mine, other}, "both are ready")
    equal(asks(lab), {other}, "and he stays with whom he is now")


# --- rolling updates under load ---

def report(lab, what, said, clients, idle):
    wrong = {k: n for k, n in said.items() if "." not in k and k != "elsewhere"}
    equal(wrong, {}, "new connections that failed, of %d" % sum(said.values()))
    for c in clients:
        equal(c.wrong[:3], [], "questions on standing connections")
    equal([c.me for c in idle if not c.ping()], [], "idle connections that broke")
    print("     %s: %d new connections, %s; %d standing asked %d rounds and moved %d times; %d idle: none failed" % (
        what, sum(said.values()), dict(said), sum(len(c.all) for c in clients), sum(c.rounds for c in clients),
        sum(c.moved for c in clients), len(idle)))


def replace(c, clients, loads, old, new, stays, prestop, surge, balancer=None):
    """
    One step of a rolling update: a pod is deleted, and its successor comes before that, or only after. The pod
    ends not sooner than prestop after it was told of, and not before nobody new comes: on a busy machine the load
    balancer and whoever is on the way may take longer than the rules.
    """
    if surge:
        c.begin(new)
        c.put(*stays, old, new)
        within(RULES, lambda: new in c.holds(), "the successor is in the rules")
    at = c.put(*stays, going(old), *([new] if surge else []))
    within(RULES + DETECTED, lambda: old not in c.holds() or (balancer and not balancer.up), "nobody is sent there any more")
    time.sleep(max(0, at + prestop - time.monotonic()))
    for load in loads:
        load.let_through()
    c.pods[old].terminate()
    c.put(*stays, going(old, serving=False), *([new] if surge else []))
    wait(lambda: all(x.left(old) for x in clients), "everybody has asked once more, and gone")  # within its grace period
    c.put(*stays, *([new] if surge else []))
    c.end(old)
    if not surge:
        c.begin(new)
        c.put(*stays, new)
        within(RULES + 2 * DETECTED, lambda: new in c.holds() and balancer.up, "the load balancer has noticed the successor")
    for load in loads:
        load.let_through()


def test_rolling_update_local(lab):
    """The node's only pod is replaced again and again, with its successor beside it or not."""
    c = Cluster(lab, "Local", HERE, AWAY)
    balancer = lab.serve(LoadBalancer(lab))
    loads = [traffic.Load(lab.ext, RATE / 2, lambda: connect(VIP) if balancer.up else "elsewhere") for _ in range(2)]
    inside = Clients(lab, IP, 8)
    idle = [s for s in (traffic.Connection(lab.ext, IP, 80) for _ in range(200)) if s.me == AWAY or s.close()]
    old, new = HERE, ALSO_HERE
    for turn in range(TURNS):
        replace(c, [inside], loads, old, new, [AWAY], SLICE_DELAY + DETECTED, turn % 2 == 1, balancer)
        old, new = new, old
    said = sum((load.end() for load in loads), collections.Counter())
    inside.close()
    report(lab, "policy Local", said, [inside], idle)
    check({HERE, ALSO_HERE} <= set(said) <= {HERE, ALSO_HERE, "elsewhere"}, "who answered: %s", dict(said))
    check(said["elsewhere"] and balancer.changes >= TURNS, "the load balancer never looked away")
    for s in idle:
        s.close()


def test_rolling_update_cluster(lab):
    """One pod after the other is replaced; the load balancer has no part in it."""
    pods = ["10.244.2.%d" % n for n in range(3, 6)]
    c = Cluster(lab, "Cluster", AWAY, *pods)
    loads = [traffic.Load(lab.ext, RATE / 2, lambda a=a: connect(a)) for a in (VIP, IP)]
    clients = [Clients(lab, a, 8) for a in (VIP, IP)]
    idle = [s for s in (traffic.Connection(lab.ext, IP, 80) for _ in range(150)) if s.me == AWAY or s.close()]
    for turn in range(TURNS):
        old, new = pods.pop(0), "10.244.2.%d" % (10 + turn)
        replace(c, clients, loads, old, new, pods + [AWAY], SLICE_DELAY, True)
        pods.append(new)
    said = sum((load.end() for load in loads), collections.Counter())
    for x in clients:
        x.close()
    report(lab, "policy Cluster", said, clients, idle)
    check(sum(c.moved for c in clients) > 0, "nobody was told to hang up: nothing was tested")
    for s in idle:
        s.close()


if __name__ == "__main__":
    harness.main(globals())
