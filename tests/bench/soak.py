#!/usr/bin/env python3
"""Hours in the life of an agent: "make soak MINUTES=n".

    soak.py --agent build/proxylet --minutes 60 [--services 300] [--rate 50]

Services and endpoints change all the time, the API server is restarted, cut off and forgets its history,
somebody flushes and deletes our tables, and probes, new connections and standing ones go on. One line a
minute; then everything comes to rest, and what the kernel holds is compared with what was asked for.
The verdict: nothing lost, memory and descriptors as after the first part.
"""
import argparse
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "judge")]

import lab as labs
import load as judge_load
import nft
import objects as obj
import traffic
from apiserver import ApiServer, kubeconfig
from harness import Failure, end_cleanly, wait

SEED = 7
REPAIR = 5.0        # seconds after a drift in which a connection may fail; where nothing else runs, a hundredth of that
STEADY_IP = "10.96.255.1"
DRIFTS = ("flush table ip proxylet", "delete table ip6 proxylet", "flush map ip proxylet np", "flush ruleset")


class Worker(threading.Thread):
    """step() again and again, with pauses."""

    def __init__(self, every, step):
        super().__init__(daemon=True)
        self.every, self.step, self.stopping, self.fault = every, step, False, None

    def run(self):
        try:
            while not self.stopping:
                self.step()
                time.sleep(self.every)
        except Exception as e:      # shown in the verdict: a soak that silently stopped its churn shows nothing
            self.fault = "%s: %r" % (self.step.__name__, e)

    def finish(self):
        self.stopping = True
        self.join(60)
        return self.fault


class Cluster:
    """What was asked for."""

    def __init__(self, lab, services):
        self.random, self.lock = random.Random(SEED), threading.Lock()
        self.wanted, self.changes, self.restarts = {}, 0, 0
        self.steady = (obj.node(), obj.service("steady", STEADY_IP, node_port=30000), obj.slice_of("steady", ["10.244.2.2", "10.244.2.3"]))
        self.server = lab.serve(ApiServer(lab.node, *self.steady))
        self.services = services
        for i in range(services):
            self.put(i)

    def pods(self):
        return ["10.244.2.%d" % n for n in self.random.sample(range(10, 250), self.random.choice((0, 1, 2, 3, 5, 9)))]

    @staticmethod
    def protocol(i):
        return "UDP" if i % 10 == 0 else "TCP"

    def service(self, i):
        extra = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 30}}} if i % 17 == 3 else {}
        return obj.service("s-%d" % i, "10.96.%d.%d" % (i >> 8, i & 255), 80, self.protocol(i),
                           node_port=30001 + i if i % 7 == 0 else 0, **extra)

    def put(self, i):
        service, slice_ = self.service(i), obj.slice_of("s-%d" % i, self.pods(), protocol=self.protocol(i))
        if i not in self.wanted:
            self.server.put(service)
        self.server.put(slice_)
        self.wanted[i] = service, slice_

    def remove(self, i):
        self.server.delete(obj.slice_of("s-%d" % i, []))
        self.server.delete(self.service(i))
        del self.wanted[i]

    def churn(self):
        with self.lock:
            i = self.random.randrange(self.services)
            if i in self.wanted and self.random.random() < .1:
                self.remove(i)
            else:
                self.put(i)
            self.changes += 1

    def disturb_api(self):
        with self.lock:
            self.restarts += 1
            turn = self.restarts % 4
            if turn == 0:
                self.server.cut("half")
            elif turn == 1:
                self.server.forget()
            elif turn == 2:
                self.server.end_watches()
        if turn == 3:
            self.server.stop()
            time.sleep(1)
            self.server.start()


class Traffic:
    """Connections to a Service that never changes, and probes. What fails while our tables were just taken away does not count."""

    def __init__(self, lab, agent):
        self.lab, self.agent = lab, agent
        self.drifts, self.last_drift = 0, 0.0
        self.connections = self.lost = self.probes = self.unanswered = 0
        self.reasons = []
        lab.serve(traffic.TcpServer(lab.rem))
        self.standing = traffic.Connection(lab.ext, STEADY_IP, 80)

    def drift(self):
        self.drifts, self.last_drift = self.drifts + 1, time.monotonic()
        self.lab.node.sh("nft", *DRIFTS[self.drifts % len(DRIFTS)].split())
        self.last_drift = time.monotonic()

    def failed(self, began, why):
        if began > self.last_drift + REPAIR and time.monotonic() > self.last_drift + REPAIR:
            self.lost += 1
            self.reasons.append(why)

    def connect(self):
        began, self.connections = time.monotonic(), self.connections + 1
        answer = traffic.ask(self.lab.ext, STEADY_IP, 80, timeout=5)
        if not isinstance(answer, tuple):
            self.failed(began, "new connection: %s" % (answer,))

    def ping(self):
        # While the rules are away an answer reaches the node itself, which resets the connection it has never heard of.
        began = time.monotonic()
        if self.standing and self.standing.ping():
            return
        self.failed(began, "the standing connection broke" if self.standing else "no standing connection")
        self.standing = None
        try:
            self.standing = traffic.Connection(self.lab.ext, STEADY_IP, 80, timeout=5)
        except OSError:
            pass  # the next turn tells

    def probe(self):
        """/livez is always certain, /healthz once the rules are back: the API server's troubles are not the node's."""
        began, self.probes = time.monotonic(), self.probes + 1
        self.unanswered += self.agent.get("/livez")[0] != 200
        status = self.agent.get()[0]
        if status != 200:
            self.failed(began, "/healthz said %d" % status)


def descriptors(agent):
    return len(os.listdir("/proc/%d/fd" % agent.pid))


def resident(agent):
    return judge_load.process_stats(agent.pid)["rss_mb"]


def difference(lab, fresh):
    """What the rules mean, against an agent that begins with what was asked for. -> text, empty if it is the same"""
    return "".join(nft.meaning_difference(nft.listing(lab.node, f), nft.listing(fresh, f)) for f in ("ip", "ip6"))


def minute_line(began, agent, cluster, t):
    print("%3.0f min  %d changes  %d API disturbances  %d drifts  %d connections, %d lost  %d probes, %d unanswered  %.1f MB  %d descriptors  load %.1f" % (
        (time.monotonic() - began) / 60, cluster.changes, cluster.restarts, t.drifts, t.connections, t.lost, t.probes, t.unanswered,
        resident(agent), descriptors(agent), os.getloadavg()[0]), flush=True)


def soak(lab, args):
    """-> list of what is wrong"""
    cluster = Cluster(lab, args.services)
    agent = labs.Agent(lab, lab.node, [], clientConnection={"kubeconfig": kubeconfig(lab.folder, cluster.server.url)})
    lab.agents.append(agent)
    agent.ready()
    t = Traffic(lab, agent)
    workers = [Worker(1 / args.rate, cluster.churn), Worker(7, cluster.disturb_api), Worker(23, t.drift),
               Worker(.01, t.connect), Worker(.1, t.ping), Worker(.1, t.probe)]
    began, until = time.monotonic(), time.monotonic() + 60 * args.minutes
    for w in workers:
        w.start()
    # Buffers and maps have their sizes after a while; from then on nothing may grow.
    settle = began + min(60, 15 * args.minutes)
    base, next_line = (0, 0), began + 60
    while time.monotonic() < until and agent.process.poll() is None:
        time.sleep(.2)
        if time.monotonic() < settle:
            base = max(base[0], resident(agent)), max(base[1], descriptors(agent))
        if time.monotonic() >= next_line:
            minute_line(began, agent, cluster, t)
            next_line += 60
    wrong = [f for f in (w.finish() for w in workers) if f]
    return wrong + verdict(lab, agent, cluster, t, base)


def verdict(lab, agent, cluster, t, base):
    wrong = []
    if agent.process.poll() is not None:
        return ["the agent ended with %s" % agent.process.returncode]
    fresh = lab.bare_node()
    lab.put("all.json", *cluster.steady, *(item for pair in cluster.wanted.values() for item in pair))
    lab.run(fresh).ready()
    try:
        wait(lambda: not difference(lab, fresh), "the kernel holds what was asked for", 120, every=.5)
        wait(lambda: agent.get()[0] == 200, "healthy", every=.1)
    except Failure as e:
        wrong.append("%s; differs: %s" % (e, difference(lab, fresh)[:1000]))
    for family in ("ip", "ip6"):
        wrong += ["%s: %s" % (family, f) for f in nft.faults(nft.listing(lab.node, family))]
    wrong += ["lost: " + r for r in t.reasons[:5]]
    if t.unanswered:
        wrong.append("%d of %d probes of /livez were not answered with 200" % (t.unanswered, t.probes))
    memory, fds = resident(agent), descriptors(agent)
    print("resident %.1f MB, at most %.1f in the first part; %d descriptors, at most %d" % (memory, base[0], fds, base[1]))
    if memory > base[0] * 1.05 + 1:
        wrong.append("resident memory grew from %.1f to %.1f MB" % (base[0], memory))
    if fds > base[1]:
        wrong.append("descriptors grew from %d to %d" % (base[1], fds))
    return wrong


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--minutes", type=float, default=10)
    ap.add_argument("--services", type=int, default=300)
    ap.add_argument("--rate", type=float, default=50, help="changes a second")
    args = ap.parse_args()
    end_cleanly()
    lab = labs.Lab(os.path.abspath(args.agent))
    try:
        wrong = soak(lab, args)
        if wrong:
            print(lab.logs())
    finally:
        lab.close()
    for w in wrong:
        print("WRONG " + w)
    print("soak, %g minutes: %s" % (args.minutes, "%d things wrong" % len(wrong) if wrong else "nothing lost, memory and descriptors flat"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
