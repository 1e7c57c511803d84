"""Who else fills the kernel at a cold start, beside the agent: nft, iptables, the agent in mode iptables, and a plain loader."""
import os
import time

import opponents as op
import rival
from load import process_stats
from loads import CIDR
from report import OURS

COLD_FILE, KERNEL, PEAK = "cold start, one file to 200", "of it in the kernel", "peak memory at start"
OUR_RULES, SHAPE = "our rules", "kube-proxy's shape"
OWN_BATCH = "plain loader, the agent's own batch"


class Loader:
    """An opponent at cold start: step(ns, what) in a fresh namespace, so many times."""

    def __init__(self, row, who, step, what, runs):
        self.row, self.who, self.step, self.what, self.runs = row, who, step, what, runs
        self.results, self.has_failed = [], False

    def run(self, lab, report, load):
        if self.has_failed:
            return
        result = report.attempt("%s, %s, %s" % (load.name, self.row, self.who), op.in_bare, lab, self.step, self.what)
        self.has_failed = result is None
        self.results += [] if self.has_failed else [result]

    def tell(self, report, load):
        if not self.results:
            return None
        if self.row == KERNEL:
            return report.add(KERNEL, load.name, self.who, "s", self.results)
        report.add(self.row, load.name, self.who, "s", [r[0] for r in self.results])
        report.add(PEAK, load.name, self.who, "MB", [r[1] for r in self.results])


def by_mode_iptables(lab, variant):
    """The agent in that mode, from process start until everything is in the kernel, and its peak memory without the tools'."""
    def one(ns, path):
        began = time.monotonic()
        agent = lab.run(ns, paths=path, clusterCIDR=CIDR, mode="iptables", proxylet={"iptablesVariant": variant}).ready(120)
        took, peak = time.monotonic() - began, process_stats(agent.pid)["peak_mb"]
        agent.stop()
        return took, peak
    return one


def by_nft(lab, path, who, plain, runs, then=lambda ns: None):
    """A file of rules by nft, and the transaction that nft made of it in the first run by a plain loader. then: with the rules still there."""
    tools, recorded = op.Tools(lab.agent), path + ".rec"

    def load(ns, what):
        result = op.nft(ns, what, None if os.path.exists(recorded) else op.recording(tools, recorded))
        then(ns)
        return result
    return [Loader(COLD_FILE, "nft -f, " + who, load, path, runs),
            Loader(KERNEL, plain, lambda ns, what: op.replay(tools, ns, what), recorded, runs)]


def by_replay(lab, load, runs):
    """What the agent itself sends at its first start, recorded in a start of its own, by a plain loader."""
    recorded = op.record_agent(lab, load.file(lab.folder), CIDR)
    return [Loader(KERNEL, OWN_BATCH, lambda ns, what: op.replay(op.Tools(lab.agent), ns, what), recorded, runs)]


class Shape:
    """Rules of kube-proxy's shape. While they are in the kernel, one endpoint after the other is replaced, once."""

    def __init__(self, lab, load, count):
        self.lab, self.load, self.count, self.rules = lab, load, count, rival.Nftables(load)
        self.nft_ms, self.netlink_ms = [], []

    def loaders(self, report, runs):
        path = op.write(os.path.join(self.lab.folder, "shape-%d-%d.nft" % (self.load.services, self.load.endpoints)), self.rules.whole())
        return by_nft(self.lab, path, SHAPE, "plain loader, " + SHAPE, runs,
                      lambda ns: report.attempt("%s, changes of %s" % (self.load.name, SHAPE), self.change, ns))

    def change(self, ns):
        """By nft and by a plain loader."""
        tools, load, folder = op.Tools(self.lab.agent), self.load, self.lab.folder
        for k in range(len(self.nft_ms), self.count):
            i = load.random.randrange(load.services) // 10 * 10 + 3     # a plain one
            old, new = load.hosts(i)[0], "10.63.%d.%d" % (k >> 8, k & 255)
            there = op.write(os.path.join(folder, "there.nft"), self.rules.replace(i, old, new))
            back = op.write(os.path.join(folder, "back.nft"), self.rules.replace(i, new, old))
            self.nft_ms.append(1000 * op.nft(ns, there)[0])
            recorded = op.record(tools, ns, back + ".rec", ["nft", "-f", back])
            op.nft(ns, there)
            self.netlink_ms.append(1000 * op.replay(tools, ns, recorded))

    def changed(self):
        return ("nft -f, " + SHAPE, self.nft_ms), ("plain loader, " + SHAPE, self.netlink_ms)


def by_iptables(lab, load, variants):
    tables = op.write(os.path.join(lab.folder, "shape.iptables"), rival.Iptables(load).whole())
    return [Loader(COLD_FILE, "iptables-%s-restore" % v, op.iptables(v), tables, 1) for v in variants] + [
        Loader(COLD_FILE, "%s, mode iptables, %s" % (OURS, v), by_mode_iptables(lab, v), load.file(lab.folder), 1) for v in variants]


def all_loaders(lab, report, load, args, shape):
    """What takes long is loaded once: iptables, kube-proxy's shape of more than 1,000 Services, more than 100,000 endpoints by nft."""
    loaders = report.attempt("%s, %s" % (load.name, OWN_BATCH), by_replay, lab, load, args.runs) or []
    loaders += by_nft(lab, op.render(lab, load.file(lab.folder), CIDR)[0], OUR_RULES, "plain loader, nft's of " + OUR_RULES,
                      args.runs if load.size <= 100000 else 1)
    if shape:
        loaders += shape.loaders(report, args.runs if load.services <= 1000 else 1)
    if load.services <= args.iptables_up_to:
        loaders += by_iptables(lab, load, args.variants)
    return loaders
