"""Stale UDP entries among very many: how long their removal takes, what it holds, and whom it delays.

The table is filled over ctnetlink (ctfill.c) in the agent's namespace. nf_conntrack_max is one value for
the machine, which only the first namespace may set: it is raised for the time of the measurement.
"""
import itertools
import os
import re
import subprocess
import time

import load as judge_load
import opponents as op
from harness import wait
from loads import CIDR, obj
from report import OURS
from session import hear

MAX = "/proc/sys/net/netfilter/nf_conntrack_max"
DNS_PORT, OLD, NEW = 53, "10.128.0.1", "10.128.0.2"
TURN = itertools.count(1)
GOALS = {"took": 1000.0, "delay": 20.0, "grew": 1.0}


class Limit:
    """Room for so many entries, while it lasts."""

    def __init__(self, entries):
        self.entries = int(entries * 1.1)

    @staticmethod
    def put(entries):
        with open(MAX, "w") as f:
            f.write(str(entries))

    def __enter__(self):
        with open(MAX) as f:
            self.before = int(f.read())
        if self.before < self.entries:
            self.put(self.entries)

    def __exit__(self, *_):
        if self.before < self.entries:
            self.put(self.before)


def dns(lab, n, pods):
    for i in range(n):
        lab.put("dns-%d.json" % i, obj.service("dns-%d" % i, "172.20.0.%d" % (1 + i), DNS_PORT, "UDP", DNS_PORT),
                obj.slice_of("dns-%d" % i, pods, DNS_PORT, "UDP"))


def web(lab, k):
    lab.put("web.json", obj.service("web", "172.20.1.1"), obj.slice_of("web", ["10.128.%d.%d" % (1 + (k >> 8), k & 255)]))


def removal(agent):
    """What the log says about stale entries. -> (how many, ms)"""
    found = re.findall(r"removed (\d+) stale UDP entries in (\d+) us", agent.log())
    return sum(int(n) for n, _ in found), sum(int(us) for _, us in found) / 1000


def other_work(lab, commits, seconds, until):
    """Changes of another Service, one after the other. -> the latency of each in ms"""
    latency, end = [], time.monotonic() + seconds
    while time.monotonic() < end and not until():
        seen, sent = len(commits.times), time.monotonic()
        web(lab, next(TURN))
        wait(lambda n=seen: len(commits.times) > n, "the commit of another Service", 10, every=0.0002)
        latency.append(1000 * (commits.times[seen] - sent))
        time.sleep(0.002)
    return latency


def forget_peak(pid):
    """The peak is counted from now on. -> MB resident"""
    with open("/proc/%d/clear_refs" % pid, "w") as f:
        f.write("5")
    return judge_load.process_stats(pid)["rss_mb"]


def measure(lab, tools, entries, frontends, stale):
    """-> (ms of the walks that found some, worst ms another change waited, MB the agent grew by, worst ms before)"""
    ns = lab.bare_node()
    dns(lab, frontends, [OLD])
    web(lab, 0)
    lab.put("node.json", obj.node())
    agent = lab.run(ns, clusterCIDR=CIDR).ready()
    with ns:
        commits = judge_load.Commits()
    try:
        with ns:
            subprocess.run([tools.path("ctfill"), str(entries), str(stale), "172.20.0.1", str(frontends), str(DNS_PORT), OLD], check=True,
                           stdout=subprocess.DEVNULL)
        commits.listen()
        time.sleep(1.2)     # what the start noted is repeated once
        quiet = other_work(lab, commits, 0.5, lambda: False)
        before = forget_peak(agent.pid)
        dns(lab, frontends, [NEW])
        busy = other_work(lab, commits, 30, lambda: removal(agent)[0] >= stale)
        removed = removal(agent)
        if removed[0] < stale:
            raise op.Fault("%d of %d stale entries were removed" % (removed[0], stale))
        return removed[1], max(busy), judge_load.process_stats(agent.pid)["peak_mb"] - before, max(quiet)
    finally:
        hear(commits, False)
        agent.stop()
        with ns:    # the listener's socket holds it
            subprocess.run([tools.path("ctfill"), "empty"], check=True)
        ns.close()
        lab.namespaces.remove(ns)


def all_rows(lab, report, args):
    tools, name = op.Tools(lab.agent), "%d" % args.entries
    print("conntrack, %s entries" % name, flush=True)
    if not os.path.exists(MAX):     # the first rule that asks for a state loads the module
        op.in_bare(lab, lambda ns: ns.sh("nft", "add table ip t; add chain ip t c; add rule ip t c ct state new"))
    with Limit(args.entries):
        for frontends, what in ((1, "one front end"), (10, "ten front ends")):
            took, delay, grew, quiet = measure(lab, tools, args.entries, frontends, 1000)
            report.add("stale UDP entries, %s" % what, name, OURS, "ms", took, GOALS["took"])
            report.add("%s: another change, worst" % what, name, OURS, "ms", delay, GOALS["delay"])
            report.add("%s: another change, worst" % what, name, "nothing to remove", "ms", quiet)
            report.add("%s: memory it took" % what, name, OURS, "MB", grew, GOALS["grew"])
