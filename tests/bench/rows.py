"""The rows of the table: what is measured of every opponent, in which order, and the goals for ours (2 processors, nothing else running)."""
import os
import statistics
import time

import opponents as op
import rival
from load import process_stats, quantiles
from loads import CIDR, HERE
from report import OURS
from session import Session, quantile

OUR_RULES, SHAPE = "our rules", "kube-proxy's shape"
COLD, COLD_FILE, KERNEL = "cold start, API to 200", "cold start, one file to 200", "of it in the kernel"
ONE, OWN_50, OWN_99 = "one endpoint changes, p50", "one endpoint changes, own metric p50", "one endpoint changes, own metric p99"
UNSEEN = ", commits not listened to"
BURST, ADD, ADD_100 = "500 slices at once", "Service added, p50", "100 Services added at once"
PEAK, RESIDENT, IDLE = "peak memory at start", "resident memory later", "processor when idle"
LATEST, BUSY = "1,000 changes a second, latest", "1,000 changes a second, processor"

# By load; one value for all: "*".
GOALS = {
    COLD: {"1000 x 10": .2, "10000 x 10": 1, "5000 x 50": 2, "50000 x 10": 5},
    OWN_50: {"1000 x 10": .15, "10000 x 10": .2, "5000 x 50": .2, "50000 x 10": .3},
    OWN_99: {"1000 x 10": 1, "10000 x 10": 2, "5000 x 50": 2, "50000 x 10": 3},
    ONE: {"1000 x 10": .6, "10000 x 10": .6, "5000 x 50": .8, "50000 x 10": .8},
    BURST: {"1000 x 10": 15, "10000 x 10": 20, "5000 x 50": 30, "50000 x 10": 30},
    ADD: {"1000 x 10": 2, "10000 x 10": 3, "50000 x 10": 10},
    ADD_100: {"1000 x 10": 5, "10000 x 10": 8, "50000 x 10": 20},
    PEAK: {"1000 x 10": 12, "10000 x 10": 60, "5000 x 50": 120, "50000 x 10": 260},
    RESIDENT: {"1000 x 10": 10, "10000 x 10": 35, "5000 x 50": 70, "50000 x 10": 150},
    IDLE: {"*": .1}, LATEST: {"*": 20}, BUSY: {"*": 10},
}


def goal(row, load):
    of = GOALS.get(row, {})
    return of.get(load.name, of.get("*"))


def ours(report, row, load, unit, values):
    report.add(row, load.name, OURS, unit, values, goal(row, load))


def cold_from_file(lab, load):
    path = load.file(lab.folder)

    def one(ns):
        began = time.monotonic()
        agent = lab.run(ns, paths=path, clusterCIDR=CIDR).ready(120)
        took = time.monotonic() - began
        agent.stop()
        return took
    return op.in_bare(lab, one)


def by_mode_iptables(lab, variant):
    """The agent in that mode, from process start until everything is in the kernel, and its peak memory without the tools'."""
    def one(ns, path):
        began = time.monotonic()
        agent = lab.run(ns, paths=path, clusterCIDR=CIDR, mode="iptables", proxylet={"iptablesVariant": variant}).ready(120)
        took, peak = time.monotonic() - began, process_stats(agent.pid)["peak_mb"]
        agent.stop()
        return took, peak
    return one


class Loader:
    """An opponent at cold start: step(ns, what) in a fresh namespace, so many times at most."""

    def __init__(self, row, who, step, what, runs):
        self.row, self.who, self.step, self.what, self.runs, self.results = row, who, step, what, runs, []

    def run(self, lab, report, load):
        if len(self.results) < self.runs:
            result = report.attempt("%s, %s, %s" % (load.name, self.row, self.who), op.in_bare, lab, self.step, self.what)
            if result is None:
                self.runs = 0   # not once more
            else:
                self.results.append(result)

    def tell(self, report, load):
        if not self.results:
            return None
        if self.row == KERNEL:
            return report.add(KERNEL, load.name, self.who, "s", self.results)
        report.add(self.row, load.name, self.who, "s", [r[0] for r in self.results])
        report.add(PEAK, load.name, self.who, "MB", [r[1] for r in self.results])


def by_nft(lab, path, who, runs):
    """A file of rules by nft, and the transaction that nft makes of it by a plain loader."""
    tools = op.Tools(lab.agent)
    recorded = op.in_bare(lab, lambda ns: op.record(tools, ns, path + ".rec", ["nft", "-f", path]))
    return [Loader(COLD_FILE, "nft -f, " + who, op.nft, path, runs),
            Loader(KERNEL, "plain loader, " + who, lambda ns, what: sum(op.replay(tools, ns, what)), recorded, runs)]


def opponents(lab, report, load, args):
    runs = args.runs if load.services <= 1000 else 1     # kube-proxy's shape takes half a minute at 10,000
    rules = op.render(lab, load.file(lab.folder), CIDR)[0]
    loaders = report.attempt("%s, %s" % (load.name, OUR_RULES), by_nft, lab, rules, OUR_RULES, args.runs) or []
    if load.services <= args.rivals_up_to:
        shape = op.write(os.path.join(lab.folder, "shape.nft"), rival.Nftables(load).whole())
        loaders += report.attempt("%s, %s" % (load.name, SHAPE), by_nft, lab, shape, SHAPE, runs) or []
    if load.services <= args.iptables_up_to:
        tables = op.write(os.path.join(lab.folder, "shape.iptables"), rival.Iptables(load).whole())
        loaders += [Loader(COLD_FILE, "iptables-%s-restore" % v, op.iptables(v), tables, runs) for v in args.variants]
        loaders += [Loader(COLD_FILE, "%s, mode iptables, %s" % (OURS, v), by_mode_iptables(lab, v), load.file(lab.folder), runs)
                    for v in args.variants]
    return loaders


def cold_from_api(lab, load):
    """-> (seconds, of them in the kernel, peak MB)"""
    s = Session(lab, load, commits=False)
    try:
        return s.start(), s.agent.metric('kubeproxy_sync_full_proxy_rules_duration_seconds_sum{ip_family="IPv4"}'), s.agent.memory()[1]
    finally:
        s.close()


def cold_start(lab, report, load, args):
    """Ours and every loader, one after the other, so many times."""
    loaders, file_s, api = opponents(lab, report, load, args), [], []
    for _ in range(args.runs):
        file_s.append(cold_from_file(lab, load))
        api.append(cold_from_api(lab, load))
        for x in loaders:
            x.run(lab, report, load)
    plain = next((x.results for x in loaders if x.who == "plain loader, " + OUR_RULES), None)
    ours(report, COLD, load, "s", [a[0] for a in api])
    ours(report, COLD_FILE, load, "s", file_s)
    report.add(KERNEL, load.name, OURS, "s", [a[1] for a in api], 1.3 * statistics.median(plain) if plain else None)
    ours(report, PEAK, load, "MB", [a[2] for a in api])
    for x in loaders:
        x.tell(report, load)


def rest(report, session, load, args):
    """Nothing changes: processor time."""
    agent, before, began = session.agent, session.agent.cpu_seconds(), time.monotonic()
    time.sleep(args.rest)
    share = 100 * (agent.cpu_seconds() - before) / (time.monotonic() - began)
    ours(report, IDLE, load, "%", share)


def changes(report, session, load, args):
    agent, before = session.agent, session.agent.histogram()
    latency = []
    for _ in range(args.changes):
        latency.append(session.replace_one())
        time.sleep(args.gap)
    seen = agent.histogram()
    session.replace_unseen(args.changes, args.gap)
    after = agent.histogram()
    for row, q in ((OWN_50, .5), (OWN_99, .99)):
        ours(report, row, load, "ms", 1000 * quantile(before, seen, q))
        report.add(row + UNSEEN, load.name, OURS, "ms", 1000 * quantile(seen, after, q))
    ours(report, ONE, load, "ms", [quantiles(latency)["p50"]])
    report.add("one endpoint changes, p99", load.name, OURS, "ms", [quantiles(latency)["p99"]])
    ours(report, BURST, load, "ms", [session.burst(500) for _ in range(3)])


def additions(report, session, load, args):
    one = []
    for k in range(args.additions):
        one.append(session.add_services([k]))
        time.sleep(0.1)
    ours(report, ADD, load, "ms", one)
    ours(report, ADD_100, load, "ms", [session.add_services(range(1000 + 100 * n, 1100 + 100 * n)) for n in range(3)])


def flood(report, session, load, args):
    seconds = args.long_flood if load.name == "10000 x 10" else args.flood
    latest, busy, sent, commits = session.flood(1000, seconds)
    ours(report, LATEST, load, "ms", latest)
    ours(report, BUSY, load, "%", busy)
    report.note("%s: 1,000 changes a second for %.0f s, %d commits" % (load.name, sent / 1000, commits))


def rival_changes(lab, report, load, args):
    """One endpoint replaced in rules of kube-proxy's shape, by nft and by a plain loader."""
    tools, rules = op.Tools(lab.agent), rival.Nftables(load)
    whole = op.write(os.path.join(lab.folder, "shape.nft"), rules.whole())
    nft_ms, netlink_ms = [], []

    def run(ns):
        op.nft(ns, whole)
        for k in range(args.rival_changes):
            i = load.random.randrange(load.services) // 10 * 10 + 3     # a plain one
            old, new = load.hosts(i)[0], "10.63.%d.%d" % (k >> 8, k & 255)
            there = op.write(os.path.join(lab.folder, "there.nft"), rules.replace(i, old, new))
            back = op.write(os.path.join(lab.folder, "back.nft"), rules.replace(i, new, old))
            nft_ms.append(1000 * op.nft(ns, there)[0])
            recorded = op.record(tools, ns, back + ".rec", ["nft", "-f", back])
            op.nft(ns, there)
            netlink_ms.append(1000 * op.replay(tools, ns, recorded)[0])
    op.in_bare(lab, run)
    report.add(ONE, load.name, "nft -f, " + SHAPE, "ms", nft_ms)
    report.add(ONE, load.name, "plain loader, " + SHAPE, "ms", netlink_ms)


def kube_proxy(report, load, path):
    r = op.real_kube_proxy(path, load, 20, os.path.join(HERE, "..", "judge"))
    for row, unit, value in ((COLD, "s", r["cold_start_s"]), (ONE, "ms", r["change_ms"] and r["change_ms"]["p50"]),
                             (BURST, "ms", r["burst_s"] and 1000 * r["burst_s"]), (PEAK, "MB", r["after_start"]["peak_mb"]),
                             (RESIDENT, "MB", r["at_end"]["rss_mb"])):
        if value is not None:
            report.add(row, load.name, "kube-proxy", unit, value)


def all_rows(lab, report, load, args):
    print("%s, load average %.2f" % (load.name, os.getloadavg()[0]), flush=True)
    cold_start(lab, report, load, args)
    session = Session(lab, load)
    try:
        session.start()
        rest(report, session, load, args)
        changes(report, session, load, args)
        additions(report, session, load, args)
        flood(report, session, load, args)
        ours(report, RESIDENT, load, "MB", session.agent.memory()[0])
    finally:
        session.close()
    if load.services <= args.rivals_up_to:
        report.attempt("%s, changes of %s" % (load.name, SHAPE), rival_changes, lab, report, load, args)
    if args.kube_proxy:
        report.attempt("%s, kube-proxy" % load.name, kube_proxy, report, load, args.kube_proxy)
    load.encoded = None
