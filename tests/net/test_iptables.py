#!/usr/bin/env python3
"""Mode iptables, with both variants: changes by others, kills, refused Services, and other modes before and after."""
import itertools
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import ipt
import nft
import objects as obj
import traffic
from harness import check, equal, wait
from lab import Agent, without

WEB = "10.96.0.10"
KILLS = int(os.environ.get("PXL_KILLS", "6"))


def options(variant, period="300ms"):
    return {"mode": "iptables", "proxylet": {"iptablesVariant": variant},
            "iptables": {"syncPeriod": period, "minSyncPeriod": "1ms"}}


def cluster(lab, count=6):
    """Services of all kinds; the first is web, whose endpoints are in the rem namespace."""
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", WEB, node_port=30080), obj.slice_of("web", ["10.244.2.2", "10.244.2.3"]))
    for i in range(1, count):
        put(lab, i, [str(n) for n in range(2, 2 + i % 5)])


def put(lab, i, pods):
    name, extra = "s%02d" % i, {}
    if i % 4 == 1:
        extra = {"node_port": 30000 + i}
    elif i % 4 == 2:
        extra = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 100}}}
    elif i % 4 == 3:
        extra = {"vips": ["203.0.113.%d" % i], "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000 + i,
                 "loadBalancerSourceRanges": ["198.51.100.0/25"]}
    lab.put(name + ".json", obj.service(name, ["10.96.%d.10" % i, "fd00:10:96::%x" % (10 + i)], **extra),
            obj.slice_of(name, ["10.244.2." + p for p in pods]),
            obj.slice_of(name, ["fd00:10:244:2::" + p for p in pods] + ["fd00:10:244:1::2"], suffix="six"))


def both(ns, variant):
    return {family: ipt.listing(ns, variant, family) for family in ipt.PROGRAMS}


def is_again(lab, variant, before):
    return lambda: both(lab.node, variant) == before


def read(path):
    with open(path) as f:
        return f.read()


def rewrite(agent, **fields):
    with open(agent.config) as f:
        new = dict(json.load(f), **fields)
    with open(agent.config + ".new", "w") as f:
        json.dump(new, f)
    os.rename(agent.config + ".new", agent.config)


# --- what others do ---

def damages(variant):
    tool = ["iptables-" + variant, "-w"]
    return {
        "a chain is flushed": [tool + ["-t", "nat", "-F", "PXL-SERVICES"]],
        "a jump is deleted": [tool + ["-t", "nat", "-D", "PREROUTING", "-j", "PXL-SERVICES"]],
        "a canary is deleted": [tool + ["-t", "mangle", "-X", "PXL-CANARY"]],
        "filter is flushed": [tool + ["-F"]],
        "jumps change places": moved(variant, "filter", "FORWARD", "-m conntrack --ctstate NEW -j PXL-FIREWALL"),
        "everything goes": [tool + ["-t", t, o] for t in ("nat", "filter", "mangle") for o in ("-F", "-X")],
    }


def moved(variant, table, chain, rule, how="-A"):
    """To the end of its chain, or (-I) to the top, in one step."""
    lines = ["*" + table, "-D %s %s" % (chain, rule), "%s %s %s" % (how, chain, rule)]
    feed = "printf '%s\\n' \"$@\" | iptables-" + variant + "-restore --noflush -w 5"
    return [["sh", "-c", feed, "sh", *lines, "COMMIT"]]


def insist(agent, is_again, act, what, every, tries=5):
    """Until it is noticed and repaired: what comes while the agent reads back what it wrote may pass for that."""
    seen = agent.log().count("put right")
    wait(lambda: agent.log().count("put right") > seen or act(), what + ": noticed", 30, every)
    try:
        wait(is_again, what + ": repaired", 10)
    except harness.Failure:
        if not tries:
            raise
        insist(agent, is_again, act, what, every, tries - 1)


def drift(lab, variant):
    cluster(lab)
    lab.serve(traffic.TcpServer(lab.rem))
    agent = lab.run(**options(variant)).ready()
    before = both(lab.node, variant)
    check(len(before["ip"]) > 30 and len(before["ip6"]) > 20, "too few chains: %s", before)
    wait(lambda: agent.status().returncode == 0, "status")
    for what, commands in damages(variant).items():
        seen = agent.log().count("put right")
        for argv in commands:
            ipt.run(lab.node, *argv)
        wait(lambda: agent.log().count("put right") > seen, what + ": noticed")
        wait(is_again(lab, variant, before), what + ": repaired")
    targets = itertools.cycle(("RETURN", "ACCEPT"))
    # Until it has seen how its own rule is printed, the first may pass for that; a second one cannot.
    replace = ["iptables-" + variant, "-w", "-t", "nat", "-R", "PXL-POSTROUTING", "4", "-j"]
    insist(agent, is_again(lab, variant, before), lambda: ipt.run(lab.node, *replace, next(targets)), "a replaced rule", 0.4)
    # The same for a jump behind a rule that lets nothing pass on: until it has seen the two, it may mean any order.
    ipt.run(lab.node, "iptables-" + variant, "-w", "-t", "nat", "-A", "PREROUTING", "-j", "ACCEPT")
    places = itertools.cycle(("-A", "-I"))

    def move():
        ipt.run(lab.node, *moved(variant, "nat", "PREROUTING", "-j PXL-SERVICES", next(places))[0])

    insist(agent, is_again(lab, variant, before), move, "a jump that nothing reaches", 0.6)
    rules = [r for r in ipt.run(lab.node, "iptables-%s-save" % variant, "-t", "nat").splitlines() if r.startswith("-A PREROUTING")]
    equal(rules, ["-A PREROUTING -j PXL-SERVICES", "-A PREROUTING -j ACCEPT"], "the chain afterwards")
    answer = traffic.ask(lab.ext, WEB, 80)
    check(isinstance(answer, tuple), "the Service after all that: %s", answer)
    page = agent.get("/metrics", 10249)[2]
    for table in ("filter", "nat"):
        n = sum(len(rules) for chain, rules in before["ip"].items() if chain.startswith(table + " PXL-"))
        check('rules_iptables_total{table="%s",ip_family="IPv4"} %d\n' % (table, n) in page, "%d rules in %s: %s", n, table, page)
    check("nftables" not in page, "metrics of another mode")


def test_drift_nft(lab):
    drift(lab, "nft")


def test_drift_legacy(lab):
    drift(lab, "legacy")


def test_others_rules_stay(lab):
    """A foreign table in use is no drift of ours, and our repair does not touch it."""
    cluster(lab)
    foreign = "*nat\n:FOREIGN - [0:0]\n-A FOREIGN -d 192.0.2.200/32 -j RETURN\n-A PREROUTING -j FOREIGN\nCOMMIT\n"
    ipt.run(lab.node, "iptables-nft-restore", "--noflush", text=foreign)
    agent = lab.run(**options("nft")).ready()
    log = agent.log()
    for _ in range(20):
        ipt.run(lab.node, "iptables-nft", "-t", "nat", "-A", "FOREIGN", "-d", "192.0.2.201", "-j", "RETURN")
    ipt.run(lab.node, "iptables-nft", "-t", "nat", "-I", "PREROUTING", "-d", "192.0.2.202", "-j", "RETURN")
    time.sleep(0.2)
    equal(agent.log(), log, "the log")
    check("-A PREROUTING -j FOREIGN" in ipt.save(lab.node, "nft"), "the foreign jump is gone")


def test_tables_that_iptables_cannot_read(lab):
    """Rules that nft added to them: iptables-nft-save leaves such a table out, and its chains are looked after all the same."""
    cluster(lab)
    lab.serve(traffic.TcpServer(lab.rem))
    foreign = "add rule ip nat POSTROUTING oifname ext9 masquerade\ninsert rule ip filter INPUT ct state established accept\n"

    def listed():
        return "".join(nft.run(lab.node, "list", "table", "ip", t).stdout for t in ("nat", "filter", "mangle"))

    def jumps():
        return sorted(" ".join(line.split()[-2:]) for line in listed().splitlines() if "jump PXL-" in line)

    agent = lab.run(**options("nft")).ready()
    before, as_text = jumps(), ipt.listing(lab.node, "nft")
    equal(nft.run(lab.node, "-f", "-", text=foreign).stderr, "", "nft")
    check("is incompatible" in ipt.save(lab.node, "nft"), "iptables-nft can read it all the same")
    put(lab, 1, ["77"])
    wait(lambda: "10.244.2.77" in listed(), "a change")
    for how in (["-F", "PXL-SERVICES"], ["-D", "PREROUTING", "-j", "PXL-SERVICES"]):
        seen = agent.log().count("put right")
        ipt.run(lab.node, "iptables-nft", "-w", "-t", "nat", *how)
        wait(lambda: agent.log().count("put right") > seen, "%s: noticed" % how)
        equal(jumps(), before, "jumps after %s" % how)
    agent.stop()
    equal(first_answer(lab, "nft"), 200, "a warm start")
    agent.start().ready()
    agent.stop()
    equal(jumps(), before, "jumps after two starts")
    check(agent.log().count("put right") == 2, "drift: %s", agent.log())
    c = traffic.Connection(lab.ext, WEB, 80)
    equal(lab.command("cleanup").returncode, 0, "cleanup")
    check(c.ping() and listed().count("PXL-") == listed().count("chain PXL-RESIDUAL") == 1, "what stays: %s", listed())
    c.close()
    equal(lab.command("cleanup", "--now").returncode, 0, "cleanup --now")
    check("PXL-" not in listed() and "masquerade" in listed() and "established" in listed(), "in the end: %s", listed())
    put(lab, 1, ["2"])
    agent.start().ready()
    equal(jumps(), before, "jumps of a first write")
    for chain in ("nat POSTROUTING", "filter INPUT"):
        nft.run(lab.node, *("flush chain ip " + chain).split())
    wait(lambda: ipt.listing(lab.node, "nft") == as_text, "when they are gone")


# --- what packets see that the recorded flows do not show ---

def test_affinity_hairpin_loopback(lab):
    for ns in list(lab.pods.values()) + [lab.rem]:
        lab.serve(traffic.TcpServer(ns))
    lab.put("node.json", obj.node())
    sticky = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 100}}}
    pods = ["10.244.1.2", "10.244.1.3", "10.244.2.2", "10.244.2.3"]
    lab.put("web.json", obj.service("web", WEB, node_port=30080, **sticky), obj.slice_of("web", pods))
    lab.put("self.json", obj.service("self", "10.96.0.11"), obj.slice_of("self", ["10.244.1.2"]))
    for variant in ipt.VARIANTS:
        agent = lab.run(**options(variant)).ready()
        for source in ("198.51.100.1", "198.51.100.2", "198.51.100.3"):
            first = traffic.ask(lab.ext, WEB, 80, source=source)
            check(isinstance(first, tuple), "%s: %s", variant, first)
            equal(traffic.ask_often(lab.ext, WEB, 80, 8, source=source), {first}, "the endpoint of %s, %s" % (source, variant))
        chosen = traffic.ask(lab.ext, WEB, 80, source="198.51.100.1")[0]
        agent.stop()
        agent.start().ready()
        equal(traffic.ask(lab.ext, WEB, 80, source="198.51.100.1")[0], chosen, "the endpoint after a restart")
        me, peer = traffic.ask(lab.pods["pod1"], "10.96.0.11", 80)
        check(me == "10.244.1.2" and peer != me, "hairpin, %s: %s sees %s", variant, me, peer)
        check(isinstance(traffic.ask(lab.node, "127.0.0.1", 30080), tuple), "a node port on loopback, %s", variant)
        agent.stop()
        lab.command("cleanup", "--now")


def test_render_is_what_the_agent_writes(lab):
    cluster(lab)
    agent = lab.run(**options("nft")).ready()
    p = lab.command("render", "-f", lab.objects, "--config", agent.config)
    equal(p.returncode, 0, p.stderr)
    other = lab.bare_node()
    for family, text in zip(ipt.PROGRAMS, p.stdout.split("# ip6tables-restore --noflush\n")):
        ipt.run(other, ipt.PROGRAMS[family] + "-nft-restore", "--noflush", text=text)
        equal(ipt.difference(ipt.listing(lab.node, "nft", family), ipt.listing(other, "nft", family)), "", "agent against render")


# --- its own end ---

def kill(lab, variant, turns):
    cluster(lab, 20)
    rng = random.Random(os.getpid())
    agent = lab.run(**options(variant)).ready()
    for _ in range(turns):
        until = time.monotonic() + rng.uniform(0.005, 0.12)
        while time.monotonic() < until:
            put(lab, rng.randrange(1, 20), [str(p) for p in rng.sample(range(2, 60), rng.randrange(0, 12))])
        agent.stop(signal.SIGKILL)
        agent.start()
    agent.ready()
    fresh = lab.bare_node()
    lab.run(fresh, **options(variant)).ready()
    for family in ipt.PROGRAMS:
        equal(ipt.difference(ipt.listing(lab.node, variant, family), ipt.listing(fresh, variant, family)), "",
              "against a fresh agent, %s" % family)


def test_kill_at_any_moment_nft(lab):
    kill(lab, "nft", KILLS)


def test_kill_at_any_moment_legacy(lab):
    kill(lab, "legacy", KILLS)


def test_leftovers_go_and_changes_come(lab):
    """What a predecessor left of Services that are no more is removed; a change rewrites its own chains alone."""
    cluster(lab)
    agent = lab.run(**options("nft")).ready()
    agent.stop()
    os.unlink(os.path.join(lab.objects, "s01.json"))
    ipt.run(lab.node, "iptables-nft", "-t", "nat", "-N", "PXL-SVC-OF-OLD")
    agent.start().ready()
    listed = ipt.listing(lab.node, "nft")
    check("nat PXL-SVC-OF-OLD" not in listed and "nat PXL-SERVICES-10.96.1" not in listed, "leftovers: %s", sorted(listed))
    put(lab, 2, ["77"])
    wait(lambda: ipt.endpoints(lab.node, "nft", "10.96.2.10", 80) == {"10.244.2.77"}, "the new endpoint")
    now = ipt.listing(lab.node, "nft")
    changed = [k for k in now if now[k] != listed.get(k)]
    check(len(changed) == 1 and changed[0].startswith("nat PXL-SVC-"), "changed chains: %s", changed)


# --- warm start ---

def first_answer(lab, variant):
    """Of an agent that no API server tells anything: all it can count on are rules that are there."""
    kubeconfig = os.path.join(lab.folder, "kubeconfig")
    with open(kubeconfig, "w") as f:
        json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                   "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [],
                   "contexts": [{"name": "c", "context": {"cluster": "k", "user": ""}}]}, f)
    lab.agents.append(Agent(lab, lab.node, [], clientConnection={"kubeconfig": kubeconfig}, **options(variant)))
    agent = lab.agents[-1]
    answer = wait(lambda: agent.get()[0], "the first answer")
    agent.stop()
    return answer


def warm(lab, variant, damages):
    cluster(lab)
    equal(first_answer(lab, variant), 503, "a cold start")
    lab.run(**options(variant)).ready().stop()
    equal(first_answer(lab, variant), 200, "a warm start")
    for what in damages:
        ipt.run(lab.node, "iptables-" + variant, "-w", "-t", "nat", *what.split())
        equal(first_answer(lab, variant), 503, "after " + what)
        lab.run(**options(variant)).ready().stop()


def test_warm_start_nft(lab):
    warm(lab, "nft", ["-F PXL-SERVICES-10.96.0", "-D POSTROUTING -j PXL-POSTROUTING"])


def test_warm_start_legacy(lab):
    warm(lab, "legacy", ["-F PXL-SERVICES", "-R PREROUTING 1 -s 10.0.0.0/8 -j PXL-SERVICES"])


# --- what is refused ---

FAKE = """#!/bin/sh
# In the place of iptables' programs, which are one file with many names. What they restore and mentions
# %(word)s is refused, as they refuse it. While a file is there, in which they are counted, trials fail as for want of the lock.
name=${0##*/}
case $name in
*-restore) ;;
*) exec %(real)s/$name "$@" ;;
esac
input=$(mktemp); trap 'rm -f "$input"' EXIT
cat >"$input"
if [ -e %(hold)s ] && grep -q PXL-PROBE "$input"; then
	echo >>%(hold)s
	echo "Another app is currently holding the xtables lock" >&2
	exit 4
elif grep -q %(word)s "$input"; then
	echo "iptables-restore: line $(grep -n %(line)s "$input" | tail -n 1 | cut -d: -f1) failed" >&2
	exit 1
fi
%(real)s/$name "$@" <"$input"
"""


# Likewise; nothing is restored while a file is there.
SLOW = """#!/bin/sh
name=${0##*/}
while case "$name $1" in *"-restore --noflush") [ -e %(hold)s ];; *) false;; esac; do sleep 0.05; done
exec %(real)s/$name "$@"
"""


def instead(lab, variant, script, **args):
    """How to start an agent that finds this in the place of iptables' programs. -> argv in front"""
    multi = os.path.realpath("/usr/sbin/iptables-%s-restore" % variant)
    real, fake = (os.path.join(lab.folder, n) for n in ("real", "fake"))
    os.mkdir(real)
    shutil.copy(multi, os.path.join(real, "multi"))
    for program in ipt.PROGRAMS.values():
        for what in ("save", "restore"):
            os.symlink("multi", os.path.join(real, "%s-%s-%s" % (program, variant, what)))
    with open(fake, "w") as f:
        f.write(script % dict(args, real=real))
    os.chmod(fake, stat.S_IRWXU)
    return ["unshare", "-m", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", fake, multi]


def refused(lab, variant, line, held=0):
    """held: so many trials fail first"""
    cluster(lab)
    hold = os.path.join(lab.folder, "hold")
    if held:
        open(hold, "w").close()
    lab.serve(traffic.TcpServer(lab.rem))
    ips, v4 = ["10.96.9.10", "fd00:10:96::910"], obj.slice_of("bad", ["10.244.2.98"])
    lab.put("bad.json", obj.service("bad", ips), v4, obj.slice_of("bad", ["fd00:10:244:2::99"], suffix="six"))
    agent = lab.run(before=instead(lab, variant, FAKE, word="fd00:10:244:2::99", line=line, hold=hold), **options(variant))
    if held:
        wait(lambda: len(read(hold)) >= held, "trials")
        os.unlink(hold)
    wait(lambda: '"default/bad" is refused' in agent.log(), "the refusal")
    wait(lambda: ipt.endpoints(lab.node, variant, WEB, 80) == {"10.244.2.2", "10.244.2.3"}, "the others")
    equal(ipt.endpoints(lab.node, variant, ips[1], 80, "ip6"), set(), "endpoints of the refused one")
    equal(ipt.endpoints(lab.node, variant, ips[0], 80), {"10.244.2.98"}, "those in the other family")
    lab.put("web.json", obj.service("web", WEB), obj.slice_of("web", ["10.244.2.4"]))
    wait(lambda: ipt.endpoints(lab.node, variant, WEB, 80) == {"10.244.2.4"}, "a change of another Service")
    check("default/bad, IPv6: " in agent.status().stdout, "status does not tell: %s", agent.status().stdout)
    named = [text for text in agent.log().splitlines() if "is refused" in text]
    check(all("default/bad" in text for text in named), "refused: %s", named)
    lab.put("bad.json", obj.service("bad", ips), v4, obj.slice_of("bad", ["fd00:10:244:2::98"], suffix="six"))
    wait(lambda: ipt.endpoints(lab.node, variant, ips[1], 80, "ip6") == {"fd00:10:244:2::98"}, "mended")
    agent.ready()


def test_health_while_a_repair_takes_long(lab):
    """Rules that are not there are told while iptables-restore is busy, and who did it as far as it can be known."""
    cluster(lab)
    hold = os.path.join(lab.folder, "hold")
    agent = lab.run(before=instead(lab, "nft", SLOW, hold=hold), **options("nft")).ready()
    flush = ["iptables-nft", "-w", "-t", "nat", "-F", "PXL-SERVICES"]
    ipt.run(lab.node, *flush)
    wait(lambda: agent.log().count("put right") == 1, "the first repair")
    with open(hold, "w"):
        pass
    ipt.run(lab.node, *flush)
    wait(lambda: agent.get()[0] == 503, "/healthz while the rules are not there")
    check('proxylet_drift_unrepaired{ip_family="IPv4"} 1' in agent.get("/metrics", 10249)[2], "metrics")
    os.unlink(hold)
    wait(lambda: agent.get()[0] == 200, "/healthz afterwards")
    lines = [line for line in agent.log().splitlines() if "put right" in line]
    check(len(lines) == 2 and all("chain PXL-SERVICES of nat changed" in line for line in lines), "what: %s", lines)
    check("changed by iptables" in lines[1] and "(pid " in lines[1], "who: %s", lines)


def test_loopback_is_routed_behind_its_guard(lab):
    cluster(lab)
    hold = os.path.join(lab.folder, "hold")
    with open(hold, "w"):
        pass

    def routed():
        with lab.node:
            return read("/proc/sys/net/ipv4/conf/all/route_localnet").strip()

    agent = lab.run(before=instead(lab, "nft", SLOW, hold=hold), **options("nft"))
    wait(lambda: restores(agent), "it writes")
    equal(routed(), "0", "before there are rules")
    os.unlink(hold)
    agent.ready().stop()
    equal(routed(), "1", "afterwards")
    check("route_localnet stays as it is" in lab.command("cleanup").stderr, "cleanup says nothing")


def test_end_while_iptables_restore_is_busy(lab):
    """It is called off: nobody waits for it, and nothing is written afterwards."""
    cluster(lab)
    hold = os.path.join(lab.folder, "hold")
    agent = lab.run(before=instead(lab, "nft", SLOW, hold=hold), **options("nft")).ready()
    with open(hold, "w"):
        pass
    put(lab, 1, ["77"])
    children = wait(lambda: restores(agent), "it runs")
    before = both(lab.node, "nft")
    equal(agent.stop(), 0, "exit status")
    check("ending while a commit is under way" not in agent.log(), "the log: %s", agent.log())
    wait(lambda: not any(os.path.exists("/proc/" + p) for p in children), "it has ended")
    os.unlink(hold)
    equal(both(lab.node, "nft"), before, "the rules")


def restores(agent):
    """Programs that it has started to write, and that run. -> process ids"""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                parent = f.read().rsplit(")", 1)[1].split()[1]
            with open("/proc/%s/cmdline" % pid) as f:
                command = f.read()
        except OSError:
            continue  # gone meanwhile
        if int(parent) == agent.pid and "-restore\0--noflush" in command:
            found.append(pid)
    return found


def test_refused_with_a_line(lab):
    refused(lab, "nft", "fd00:10:244:2::99")


def test_refused_as_a_whole(lab):
    """The old way names only the line of COMMIT, and who is to blame is found by trials, of which some fail."""
    refused(lab, "legacy", "COMMIT", held=6)


def test_damage_is_nobodys_fault(lab):
    """A change that fails because somebody took chains away: everything is written, and no Service is blamed."""
    cluster(lab)
    agent = lab.run(**options("legacy", period="1h")).ready()
    put(lab, 1, ["9"])
    wait(lambda: ipt.endpoints(lab.node, "legacy", "10.96.1.10", 80) == {"10.244.2.9"}, "its last look for an hour is over")
    for how in ("-F", "-X"):
        ipt.run(lab.node, "iptables-legacy", "-w", "-t", "nat", how)
    lab.put("new.json", obj.service("new", "10.96.0.20"), obj.slice_of("new", ["10.244.2.20"]))  # in a chain with web
    wait(lambda: ipt.endpoints(lab.node, "legacy", "10.96.0.20", 80) == {"10.244.2.20"}, "the change")
    equal(ipt.endpoints(lab.node, "legacy", WEB, 80), {"10.244.2.2", "10.244.2.3"}, "the Service beside it")
    check("is refused" not in agent.log(), "log: %s", agent.log())
    rewrite(agent, **options("legacy"))  # and another period is in force
    flush = ["iptables-legacy", "-w", "-t", "nat", "-F", "PXL-SERVICES"]
    wait(lambda: "put right" in agent.log() or ipt.run(lab.node, *flush), "a look", every=0.5)


# Nothing is restored while a file is there, which takes what should have been; nor, ever, what mentions a word.
BROKEN = """#!/bin/sh
name=${0##*/}
case "$name $1" in *"-restore --noflush") ;; *) exec %(real)s/$name "$@" ;; esac
input=$(mktemp); trap 'rm -f "$input"' EXIT
cat >"$input"
[ -e %(hold)s ] && { cat "$input" >>%(hold)s; echo END >>%(hold)s; exit 4; }
line=$(grep -n %(word)s "$input" | head -n 1 | cut -d: -f1)
[ -z "$line" ] || { echo "iptables-restore: line $line failed" >&2; exit 1; }
%(real)s/$name "$@" <"$input"
"""


# As if the kernel had no IPv6, while a file is there.
NO_IPV6 = """#!/bin/sh
case "${0##*/} $1" in ip6*"-restore --noflush") [ -e %(hold)s ] && { echo "ip6tables-restore: not today" >&2; exit 4; } ;; esac
exec %(real)s/${0##*/} "$@"
"""


def test_one_family_fails(lab):
    """While the programs of IPv6 fail the chains of IPv4 are looked after all the same."""
    cluster(lab)
    hold = os.path.join(lab.folder, "hold")
    agent = lab.run(before=instead(lab, "nft", NO_IPV6, hold=hold), **options("nft")).ready()
    before = ipt.listing(lab.node, "nft")["nat PXL-SERVICES"]
    with open(hold, "w"):
        pass
    put(lab, 1, ["9"])
    wait(lambda: "not today" in agent.log(), "a failure")
    wait(lambda: ipt.endpoints(lab.node, "nft", "10.96.1.10", 80) == {"10.244.2.9"}, "the change of IPv4")
    ipt.run(lab.node, "iptables-nft", "-w", "-t", "nat", "-F", "PXL-SERVICES")
    wait(lambda: ipt.listing(lab.node, "nft")["nat PXL-SERVICES"] == before, "a repair of IPv4")

    def six():
        return ipt.endpoints(lab.node, "nft", "fd00:10:96::b", 80, "ip6")

    check("fd00:10:244:2::9" not in six(), "IPv6 does not fail")
    os.unlink(hold)
    wait(lambda: "fd00:10:244:2::9" in six(), "the change of IPv6")


# A kernel that has IPv6, but not its NAT.
NO_NAT6 = """#!/bin/sh
case "${0##*/}" in ip6*) echo "${0##*/}: can't initialize ip6tables table \\`nat': Table does not exist" >&2; exit 3 ;; esac
exec %(real)s/${0##*/} "$@"
"""


def test_one_family_there(lab):
    """It is done without the other, unless that is the one the Node has first (IN-60)."""
    cluster(lab)
    before = instead(lab, "legacy", NO_NAT6)
    agent = lab.run(before=before, **options("legacy")).ready()
    equal(ipt.endpoints(lab.node, "legacy", WEB, 80), {"10.244.2.2", "10.244.2.3"}, "IPv4")
    check("Table does not exist: Services have rules for IPv4 alone" in agent.log(), "log: %s", agent.log())
    equal(list(json.loads(agent.status("-o", "json").stdout)["families"]), ["IPv4"], "families in the status")
    check('family="IPv6"' not in agent.get("/metrics", 10249)[2], "metrics of IPv6")
    put(lab, 1, ["9"])
    wait(lambda: ipt.endpoints(lab.node, "legacy", "10.96.1.10", 80) == {"10.244.2.9"}, "a change")
    agent.stop()
    node = obj.node()
    node["status"]["addresses"].reverse()
    lab.put("node.json", node)
    agent = lab.run(before=before, **options("legacy"))
    equal(agent.end(), 3, "exit status on a Node of IPv6")
    check("primary family is IPv6, and this host" in agent.log(), "log: %s", agent.log())
    lab.agents.clear()


def test_same_name_later(lab):
    """A Service that is refused gets no endpoints of another one that had its name, and went while nothing could be written."""
    cluster(lab)
    lab.put("bad.json", obj.service("bad", "10.96.9.10"), obj.slice_of("bad", ["10.244.2.98"]))
    hold = os.path.join(lab.folder, "hold")
    agent = lab.run(before=instead(lab, "nft", BROKEN, hold=hold, word="10.244.2.99"), **options("nft")).ready()
    web = "-d %s/32" % WEB  # all Services are written
    with open(hold, "w"):
        pass
    put(lab, 1, ["77"])
    wait(lambda: "exit status 4" in agent.log(), "a failure")
    lab.put("bad.json")
    wait(lambda: any(web in tried and "10.244.2.98" not in tried for tried in read(hold).split("END\n")[:-1]), "a try without it")
    lab.put("bad.json", obj.service("bad", "10.96.9.10"), obj.slice_of("bad", ["10.244.2.99"]))
    os.unlink(hold)
    wait(lambda: '"default/bad" is refused' in agent.log(), "the refusal")
    wait(lambda: ipt.endpoints(lab.node, "nft", "10.96.1.10", 80) == {"10.244.2.77"}, "another Service")
    equal(ipt.endpoints(lab.node, "nft", "10.96.9.10", 80), set(), "endpoints of the refused one")


def test_chain_in_use_by_others(lab):
    """A chain that somebody else's rule leads to cannot go; everything else does."""
    cluster(lab)
    agent = lab.run(**options("nft")).ready()
    chain = next(r.split()[-1] for r in ipt.listing(lab.node, "nft")["nat PXL-SERVICES-10.96.0"] if WEB in r)
    ipt.run(lab.node, "iptables-nft", "-t", "nat", "-A", "PREROUTING", "-d", "192.0.2.222", "-j", chain)
    lab.put("web.json")
    wait(lambda: ipt.endpoints(lab.node, "nft", WEB, 80) == set(), "the Service goes")
    put(lab, 1, ["9"])
    wait(lambda: ipt.endpoints(lab.node, "nft", "10.96.1.10", 80) == {"10.244.2.9"}, "another Service")
    equal(ipt.listing(lab.node, "nft")["nat " + chain], [], "the chain that stays")
    agent.ready()


# --- other modes before and after ---

def test_mode_switch_under_traffic(lab):
    cluster(lab)
    lab.serve(traffic.TcpServer(lab.rem))
    agent = lab.run(nodePortAddresses=["192.0.2.0/24"], proxylet={"iptablesVariant": "legacy"}).ready()  # which keeps CAP_NET_RAW
    pid = agent.pid
    load = traffic.Traffic(lab.ext, (WEB, 80), ("192.0.2.1", 30080))
    steps = [("iptables", "nft"), ("nftables", "auto"), ("iptables", "legacy"), ("iptables", "nft"), ("iptables", "legacy"),
             ("nftables", "auto")]
    for mode, variant in steps:
        seen = agent.log().count("removing")
        rewrite(agent, mode=mode, proxylet={"iptablesVariant": variant})
        wait(lambda: agent.log().count("removing") > seen, "%s (%s): the former's rules go" % (mode, variant))
        wait(lambda: bool(nft.raw(lab.node)) == (mode == "nftables"), "%s: the table" % mode)
        for v in ipt.VARIANTS:
            wait(lambda: bool(ipt.listing(lab.node, v)) == (mode == "iptables" and v == variant), "%s: chains of %s" % (mode, v))
        equal(agent.get("/proxyMode", 10249)[2], mode, "/proxyMode")
        time.sleep(0.2)
    done = load.finish("%d modes" % len(steps))
    check(done > 200, "only %d connections", done)
    check(agent.process.poll() is None and agent.pid == pid, "the process ended")


def test_killed_during_a_mode_switch(lab):
    """With rules of both modes, either way: the next start has its own in place, and the former's go."""
    cluster(lab)
    hold = os.path.join(lab.folder, "hold")
    agent = lab.run(before=instead(lab, "nft", SLOW, hold=hold), proxylet={"iptablesVariant": "nft"}).ready()
    for mode in ("iptables", "nftables"):
        with open(hold, "w"):
            pass
        rewrite(agent, mode=mode)
        wait(lambda: restores(agent), "it writes or removes chains")
        if mode == "nftables":
            wait(lambda: nft.raw(lab.node), "rules of both")
        agent.stop(signal.SIGKILL)
        os.unlink(hold)
        check(nft.raw(lab.node), "the table while it was killed")
        equal(bool(ipt.listing(lab.node, "nft")), mode == "nftables", "chains while it was killed")
        agent.start().ready()
        wait(lambda: bool(nft.raw(lab.node)) == (mode == "nftables"), "%s: the table" % mode)
        wait(lambda: bool(ipt.listing(lab.node, "nft")) == (mode == "iptables"), "%s: the chains" % mode)


def test_other_variant_goes_at_last(lab):
    """It cannot be removed at first; once it can, it goes without a change or a restart."""
    cluster(lab)
    lab.run(**options("nft")).ready().stop()
    hold = os.path.join(lab.folder, "hold")
    with open(hold, "w"):
        pass
    agent = lab.run(before=instead(lab, "nft", BROKEN, hold=hold, word="PXL-NOTHING"), **options("legacy")).ready()
    wait(lambda: "cannot remove what another variant" in agent.log(), "a failure")
    check(both(lab.node, "nft")["ip"], "it is gone all the same")
    os.unlink(hold)
    wait(lambda: both(lab.node, "nft") == {"ip": {}, "ip6": {}}, "it goes")


NOBODY = "65534"
USER = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps=-all,+net_admin",
        "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"]


def test_mode_switch_of_a_user(lab):
    """With one capability and not root, as the unit of systemd has it: what mode iptables left goes all the same."""
    cluster(lab)
    os.chmod(lab.folder, 0o777)
    lab.agent = shutil.copy(lab.agent, lab.folder)  # where it was built may be closed to others
    lab.run(before=USER, **options("nft")).ready().stop()
    check(ipt.listing(lab.node, "nft"), "no chains")
    agent = lab.run(before=USER).ready()
    wait(lambda: both(lab.node, "nft") == {"ip": {}, "ip6": {}}, "chains of the former mode go")
    rewrite(agent, **options("nft"))
    wait(lambda: ipt.endpoints(lab.node, "nft", WEB, 80) == {"10.244.2.2", "10.244.2.3"}, "and come back without a restart")


def without_raw(lab, *argv):
    with lab.node:
        return subprocess.run(["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", lab.agent, *argv],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_legacy_that_cannot_be_seen(lab):
    """Without CAP_NET_RAW what the old way holds is unknown, and nothing says that there is none."""
    cluster(lab)
    lab.run(**options("legacy")).ready().stop()
    for argv in (["cleanup", "--dry-run"], ["cleanup"], ["cleanup", "--kube-proxy"]):
        p = without_raw(lab, *argv)
        equal(p.returncode, 3, "%s: %s" % (argv, p.stdout))
        check("CAP_NET_RAW" in p.stderr and "nothing of" not in p.stdout, "%s: %s %s", argv, p.stdout, p.stderr)
    raw = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    agent = lab.run(before=raw).ready()
    wait(lambda: "cannot remove what mode iptables left" in agent.log(), "the agent says so")
    agent.stop()
    agent = lab.run(before=raw, **options("auto"))
    equal(agent.end(), 3, "where the variant is unknown")
    check("proxylet.iptablesVariant" in agent.log(), "log: %s", agent.log())
    lab.agents.clear()


def test_unset_mode_without_nftables(lab):
    """With nf_tables it is nftables; a process that gets no such socket stands for a kernel without it."""
    cluster(lab)
    agent = lab.run(mode="").ready()
    check("in nftables mode" in agent.log(), "log: %s", agent.log())
    agent.stop()
    lab.command("cleanup")
    agent = lab.run(mode="", iptables={"syncPeriod": "7s"}, before=without("nftables")).ready()
    check("no mode is configured, so it is iptables" in agent.log(), "log: %s", agent.log())
    equal(agent.get("/proxyMode", 10249)[2], "iptables", "/proxyMode")
    page = json.loads(agent.get("/configz", 10249)[2])["kubeproxy.config.k8s.io"]
    equal((page["Mode"], page["SyncPeriod"]), ("iptables", "7s"), "/configz")
    check("nodePortAddresses: is unset; NodePort connections will be accepted on all" in agent.log(), "log: %s", agent.log())
    equal(ipt.endpoints(lab.node, "legacy", WEB, 80), {"10.244.2.2", "10.244.2.3"}, "the old way")
    lab.agents.pop().stop()
    agent = lab.run(mode="", before=instead(lab, "legacy", "#!/bin/sh\nexit 3\n") + without("nftables"))
    equal(agent.end(), 3, "exit status with neither")
    check("works on this kernel: nftables: this kernel has no netfilter netlink" in agent.log(), "log: %s", agent.log())
    lab.agents.clear()


def test_cleanup(lab):
    cluster(lab)
    lab.serve(traffic.TcpServer(lab.rem))
    for variant in ipt.VARIANTS:
        agent = lab.run(**options(variant)).ready()
        c = traffic.Connection(lab.ext, WEB, 80)
        agent.stop()
        p = lab.command("cleanup", "--dry-run")
        check(variant in p.stdout and ipt.listing(lab.node, variant), "dry run: %s", p.stdout)
        p = lab.command("cleanup")
        equal(p.returncode, 0, p.stderr)
        check(c.ping(), "the connection broke")
        equal(list(ipt.listing(lab.node, variant)), ["nat PXL-RESIDUAL"], "what stays while there are connections")
        c.close()
        p = lab.command("cleanup", "--now")
        equal(p.returncode, 0, p.stderr)
        for family in ipt.PROGRAMS:
            equal(ipt.listing(lab.node, variant, family), {}, "what stays")
    check("nothing of ours is there" in lab.command("cleanup").stdout, "not clean")


def test_cleanup_that_waits(lab):
    """Until the last connection has ended, or an agent has come whose chains are no leftover."""
    cluster(lab)
    lab.serve(traffic.TcpServer(lab.rem))
    agent = lab.run(**options("nft")).ready()
    for comes in (True, False):
        c = traffic.Connection(lab.ext, WEB, 80)
        agent.stop()
        with lab.node:
            p = subprocess.Popen([lab.agent, "cleanup", "--wait"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait(lambda: list(ipt.listing(lab.node, "nft")) == ["nat PXL-RESIDUAL"], "it waits")
        if comes:
            agent.start().ready()
        else:
            c.close()
            lab.node.sh("conntrack", "-F")
        equal(p.wait(60), 0, p.stderr.read())
        check(c.ping() if comes else not ipt.listing(lab.node, "nft"), "in the end")
        c.close()


def test_cleanup_beside_others(lab):
    """Jumps that we did not write go with what they lead to; what a chain of somebody else leads to stays."""
    cluster(lab)
    for variant in ipt.VARIANTS:
        lab.run(**options(variant)).ready().stop()
        svc = next(r.split()[-1] for r in ipt.listing(lab.node, variant)["nat PXL-SERVICES-10.96.0"] if WEB in r)
        tool = ["iptables-" + variant, "-w", "-t", "nat"]
        for rule in (["-A", "PREROUTING", "-d", "192.0.2.222", "-j", "PXL-SERVICES"], ["-N", "FOREIGN"], ["-A", "FOREIGN", "-j", svc]):
            ipt.run(lab.node, *tool, *rule)
        rules = ipt.listing(lab.node, variant)["nat " + svc]
        for _ in range(2):
            p = lab.command("cleanup")
            equal(p.returncode, 0, p.stderr)
            equal(ipt.listing(lab.node, variant), {"nat " + svc: rules, "nat FOREIGN": ["-j " + svc]}, "what stays")
        for rule in (["-F", "FOREIGN"], ["-X", "FOREIGN"]):
            ipt.run(lab.node, *tool, *rule)
        equal(lab.command("cleanup", "--now").returncode, 0, "in the end")
        equal(ipt.listing(lab.node, variant), {}, "what is left in the end")


if __name__ == "__main__":
    harness.main(globals())
