"""The rows of the table: what is measured of every opponent, in which order, and the goals for ours (2 processors, nothing else running)."""
import os
import statistics
import time

import flapping
import opponents as op
import others
from loads import CIDR, HERE
from others import COLD_FILE, KERNEL, PEAK
from report import OURS
from session import Session, hear, quantile

BY_PROTOBUF = ", by protobuf"
COLD = "cold start, API to 200"
ONE, OWN_50, OWN_99 = "one endpoint changes, p50", "one endpoint changes, own metric p50", "one endpoint changes, own metric p99"
UNSEEN, WIRE = ", commits not listened to", "objects on the wire"
BURST, ADD, ADD_100 = "500 slices at once", "Service added, p50", "100 Services added at once"
RESIDENT, IDLE = "resident memory later", "processor when idle"
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


def cold_from_api(lab, load, protobuf=False):
    """-> (seconds, of them in the kernel, peak MB)"""
    s = Session(lab, load, commits=False, protobuf=protobuf)
    try:
        return s.start(), s.agent.metric('kubeproxy_sync_full_proxy_rules_duration_seconds_sum{ip_family="IPv4"}'), s.agent.memory()[1]
    finally:
        s.close()


def takes_protobuf(load, args):
    return load.key in args.protobuf_loads.split(",")


def beside_json(report, row, load, unit, by_protobuf, by_json):
    ours(report, row + BY_PROTOBUF, load, unit, by_protobuf)
    report.add(row + BY_PROTOBUF, load.name, OURS + ", by JSON", unit, by_json)


def cold_start(lab, report, load, args, loaders):
    """Ours and these loaders, one after the other, so many times."""
    file_s, api, protobuf = [], [], []
    for _ in range(args.runs):
        file_s.append(cold_from_file(lab, load))
        api.append(cold_from_api(lab, load))
        if takes_protobuf(load, args):
            protobuf.append(cold_from_api(lab, load, protobuf=True))
        for x in loaders:
            x.run(lab, report, load)
    plain = next((x.results for x in loaders if x.who == others.OWN_BATCH), None)
    ours(report, COLD, load, "s", [a[0] for a in api])
    ours(report, COLD_FILE, load, "s", file_s)
    report.add(KERNEL, load.name, OURS, "s", [a[1] for a in api], 1.3 * statistics.median(plain) if plain else None)
    ours(report, PEAK, load, "MB", [a[2] for a in api])
    if protobuf:
        beside_json(report, COLD, load, "s", [a[0] for a in protobuf], [a[0] for a in api])
        beside_json(report, PEAK, load, "MB", [a[2] for a in protobuf], [a[2] for a in api])
        beside_json(report, WIRE, load, "MB", load.bytes(protobuf=True) / 1e6, load.bytes() / 1e6)
    for x in loaders:
        x.tell(report, load)


def own_metric(report, load, marks, suffix=""):
    """Quantiles of what came between one reading of the histogram and the next."""
    for row, q in ((OWN_50, .5), (OWN_99, .99)):
        values = [1000 * quantile(a, b, q) for a, b in zip(marks, marks[1:])]
        report.add(row + suffix, load.name, OURS, "ms", values, None if suffix else goal(row, load))


def changes(report, session, load, args):
    agent, latency, marks = session.agent, [], [session.agent.histogram()]
    for _ in range(3):
        latency.append([])
        for _ in range(args.changes // 3):
            latency[-1].append(session.replace_one())
            time.sleep(args.gap)
        marks.append(agent.histogram())
    unseen = marks[-1:]
    for _ in range(3):
        session.replace_unseen(args.changes // 3, args.gap)
        unseen.append(agent.histogram())
    own_metric(report, load, marks)
    own_metric(report, load, unseen, UNSEEN)
    ours(report, ONE, load, "ms", sum(latency, []))
    report.add("one endpoint changes, p99", load.name, OURS, "ms", [percentile(part, 99) for part in latency])


def percentile(values, n):
    return statistics.quantiles(values, n=100, method="inclusive")[n - 1]


def bursts(session):
    return [session.burst(500) for _ in range(3)]


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
    ours(report, LATEST, load, "ms", max(latest))
    ours(report, BUSY, load, "%", busy)
    report.note("%s: 1,000 changes a second for %.0f s, %d commits; latest of each third %s ms" % (
        load.name, sent / 1000, commits, ", ".join("%.0f" % x for x in latest)))


def protobuf_bursts(lab, report, load, by_json):
    session = Session(lab, load, protobuf=True)
    try:
        session.start()
        beside_json(report, BURST, load, "ms", bursts(session), by_json)
    finally:
        session.close()


def one_session(lab, report, load, args, meanwhile):
    """Resident memory is read when so much time has passed since the start; what runs meanwhile leaves this agent alone."""
    session = Session(lab, load)
    try:
        session.start()
        began = time.monotonic()
        ours(report, IDLE, load, "%", session.idle(args.rest))
        changes(report, session, load, args)
        by_json = bursts(session)
        ours(report, BURST, load, "ms", by_json)
        additions(report, session, load, args)
        if load.key == args.flapping_load:
            report.attempt("a Service that flaps", flapping.all_rows, report, session, load, args)
        flood(report, session, load, args)
        hear(session.commits, False)
        if takes_protobuf(load, args):
            report.attempt("%s, bursts by protobuf" % load.name, protobuf_bursts, lab, report, load, by_json)
        for x in meanwhile:
            x.run(lab, report, load)
        time.sleep(max(0.0, began + args.later - time.monotonic()))
        ours(report, RESIDENT, load, "MB", session.agent.memory()[0])
    finally:
        session.close()


def kube_proxy(report, load, path):
    r = op.real_kube_proxy(path, load, 20, os.path.join(HERE, "..", "judge"))
    for row, unit, value in ((COLD, "s", r["cold_start_s"]), (ONE, "ms", r["change_ms"] and r["change_ms"]["p50"]),
                             (BURST, "ms", r["burst_s"] and 1000 * r["burst_s"]), (PEAK, "MB", r["after_start"]["peak_mb"]),
                             (RESIDENT, "MB", r["at_end"]["rss_mb"])):
        if value is not None:
            report.add(row, load.name, "kube-proxy", unit, value)


def all_rows(lab, report, load, args):
    print("%s, load average %.2f" % (load.name, os.getloadavg()[0]), flush=True)
    shape = others.Shape(lab, load, args.rival_changes) if load.services <= args.rivals_up_to else None
    loaders = others.all_loaders(lab, report, load, args, shape)
    once = [x for x in loaders if x.runs < args.runs]
    cold_start(lab, report, load, args, [x for x in loaders if x not in once])
    one_session(lab, report, load, args, once)
    for x in once:
        x.tell(report, load)
    if shape:
        for who, ms in shape.changed():
            report.add(ONE, load.name, who, "ms", ms)
    if args.kube_proxy:
        report.attempt("%s, kube-proxy" % load.name, kube_proxy, report, load, args.kube_proxy)
    load.initial.clear()
