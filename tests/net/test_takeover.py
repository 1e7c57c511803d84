#!/usr/bin/env python3
"""Another proxy's rules: found, waited for, taken over and given back, while connections come and stay."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import otherproxy as other
import traffic
from harness import check, equal, wait


def new_traffic(lab):
    return traffic.Traffic(lab.ext, (other.VIP, other.PORT), ("192.0.2.1", other.NODE_PORT))


def cluster(lab):
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", other.VIP, node_port=other.NODE_PORT), obj.slice_of("web", list(other.PODS)))
    lab.put("none.json", obj.service("none", other.EMPTY_VIP))


def own_table(lab):
    return nft.raw(lab.node) != []


def is_gone(lab, form):
    return not other.left(lab.node, form)


def takeover(lab, form, alive=False):
    """Rules that were left behind, or whose owner ends while we wait, give way and nobody notices."""
    cluster(lab)
    other.load(lab.node, form)
    process = other.Process(lab, lab.node) if alive else None
    load = new_traffic(lab)
    agent = lab.run()
    if alive:
        wait(lambda: "kube-proxy is running here (process %d" % process.process.pid in agent.log(), "it says so")
        time.sleep(0.5)  # time in which a mistake would show
        equal((agent.get()[0], agent.get("/healthz", 10356)[0]), (503, 503), "/healthz while kube-proxy runs")
        check(not own_table(lab), "it programs beside one that runs")
        check("kube-proxy is running here" in agent.status().stdout, "status: %s", agent.status().stdout)
        process.close()
    agent.ready()
    wait(lambda: is_gone(lab, form), "rules of kube-proxy removed")
    time.sleep(0.3)
    load.finish("taken over from " + form)
    log = agent.log()
    check(0 < log.index("found kube-proxy's: ") < log.index("committed") < log.index("removing "), "order of the log: %s", log)
    if form != "nftables":
        check(set(other.KUBELET) <= other.chains(lab.node, form), "the kubelet's chains went: %s", other.chains(lab.node, form))
    check("proxylet_other_proxy 0" in wait(lambda: agent.get("/metrics", 10249)[2], "metrics"), "the metric")


def test_nftables(lab):
    takeover(lab, "nftables", alive=True)


def test_iptables_nft(lab):
    takeover(lab, "iptables-nft")


def test_iptables_legacy(lab):
    takeover(lab, "iptables-legacy")


def test_port_answers(lab):
    """Also without rules or a process to be seen."""
    cluster(lab)
    port = other.Port(lab, lab.node)
    agent = lab.run()
    wait(lambda: "port 10249 answers" in agent.log(), "it says so")
    check(not own_table(lab) and agent.get()[0] == 503, "it programs beside one that runs")
    port.close()
    agent.ready()


def test_warm_start_beside_it(lab):
    """Our own rules are whole, and somebody else keeps his: no answer says that ours count."""
    cluster(lab)
    agent = lab.run().ready()
    agent.stop(signal.SIGKILL)
    process = other.Process(lab, lab.node)
    other.load(lab.node, "nftables")
    for _ in range(3):
        answers = set()
        agent.start()
        wait(lambda: answers.add(agent.get()[0]) or "kube-proxy is running here" in agent.log()[agent.logged:], "it says so")
        check(answers <= {0, 503} and 503 in answers, "answers until it had looked: %s", answers)
        agent.stop(signal.SIGKILL)
    process.close()
    agent.start().ready()
    wait(lambda: is_gone(lab, "nftables"), "taken over when it has ended")


def test_its_return(lab):
    cluster(lab)
    agent = lab.run().ready()
    check("proxylet_other_proxy 0" in agent.get("/metrics", 10249)[2], "the metric before")
    load = new_traffic(lab)
    process = other.Process(lab, lab.node)
    other.load(lab.node, "nftables")
    wait(lambda: "kube-proxy is back (process" in agent.log(), "the alarm")
    check("proxylet_other_proxy 1" in agent.get("/metrics", 10249)[2], "the metric")
    check("other proxy   running" in agent.status().stdout, "status: %s", agent.status().stdout)
    equal(agent.get()[0], 200, "/healthz: our rules are in place")
    check(not is_gone(lab, "nftables"), "a fight")
    process.close()
    wait(lambda: is_gone(lab, "nftables"), "removed after it ended again")
    load.finish("came and went")


def test_never_and_always(lab):
    cluster(lab)
    other.load(lab.node, "nftables")
    process = other.Process(lab, lab.node)
    agent = lab.run(proxylet={"takeover": "never"}).ready()
    wait(lambda: "it stays, beside our rules" in agent.log(), "the warning")
    check(not is_gone(lab, "nftables"), "removed all the same")
    agent.stop()
    agent = lab.run(proxylet={"takeover": "always"}).ready()
    wait(lambda: is_gone(lab, "nftables"), "removed while it runs")
    process.close()


def going_back(lab, form):
    """kube-proxy is started over our rules, then ours are cleaned up."""
    cluster(lab)
    agent = lab.run().ready()
    load = new_traffic(lab)
    process = other.Process(lab, lab.node)
    other.load(lab.node, form)
    agent.stop()
    time.sleep(0.2)
    p = lab.command("cleanup")
    equal(p.returncode, 0, "cleanup: %s" % p.stderr)
    check(not own_table(lab), "our rules are still there")
    time.sleep(0.3)
    load.finish("back to " + form)
    process.close()


def test_back_to_nftables(lab):
    going_back(lab, "nftables")


def test_back_to_iptables_nft(lab):
    going_back(lab, "iptables-nft")


def test_back_to_iptables_legacy(lab):
    going_back(lab, "iptables-legacy")


def test_by_hand(lab):
    lab.serve(traffic.TcpServer(lab.rem))
    for form in other.FORMS:
        other.load(lab.node, form)
    lab.node.sh("ipset", "create", "KUBE-LOOP-BACK", "hash:ip,port,ip")
    lab.node.sh("iptables-nft", "-t", "nat", "-A", "KUBE-POSTROUTING", "-m", "set", "--match-set", "KUBE-LOOP-BACK", "dst,dst,src", "-j", "MASQUERADE")
    lab.node.sh("ip", "link", "add", "kube-ipvs0", "type", "bridge")  # its own type, dummy, is not in every kernel
    standing = traffic.Connection(lab.ext, other.VIP, other.PORT)
    process = other.Process(lab, lab.node)
    p = lab.command("cleanup", "--kube-proxy")
    equal((p.returncode, "kube-proxy is running here" in p.stderr), (3, True), "while it runs")
    process.close()

    before = [other.chains(lab.node, form) for form in other.FORMS]
    p = lab.command("cleanup", "--kube-proxy", "--dry-run")
    for text in ("nftables table kube-proxy", "-D PREROUTING", "-X KUBE-SVC-X", "ipset KUBE-LOOP-BACK", "interface kube-ipvs0"):
        check(text in p.stdout, "the dry run does not say %r: %s", text, p.stdout)
    equal([other.chains(lab.node, form) for form in other.FORMS], before, "after the dry run")

    p = lab.command("cleanup", "--kube-proxy")
    equal(p.returncode, 0, "cleanup: %s" % p.stderr)
    equal([other.left(lab.node, form) for form in other.FORMS], [set()] * 3, "what is left")
    check("KUBE-FIREWALL" in other.chains(lab.node, "iptables-legacy"), "the kubelet's chains went")
    check("kube-ipvs0" not in lab.node.sh("ip", "link") and "KUBE" not in lab.node.sh("ipset", "list", "-n"), "mode ipvs is left")
    check(standing.ping(), "an established connection broke")
    standing.close()
    equal(lab.command("cleanup", "--kube-proxy").stdout, "nothing of kube-proxy is there\n", "again")


if __name__ == "__main__":
    harness.main(globals())
