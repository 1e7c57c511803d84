#!/usr/bin/env python3
"""Flags that end by themselves, a configuration that changes under a running agent, facts about the Node."""
import contextlib
import json
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import Skip, check, equal, wait

HEALTH_PORT = 30111


def cluster(lab):
    """A Service with a health port, and its only endpoint on this node."""
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10", vips=["203.0.113.10"], node_port=30080, externalTrafficPolicy="Local",
                                    healthCheckNodePort=HEALTH_PORT), obj.slice_of("web", ["10.244.1.2"]))


def rules(lab, family="ip"):
    return json.dumps(nft.raw(lab.node, family))


def detects(lab, cidr):
    """Pods are told by this CIDR."""
    return json.dumps({"addr": cidr.split("/")[0], "len": int(cidr.split("/")[1])}) in rules(lab)


def rewrite(agent, **fields):
    """Another configuration in place of the file."""
    with open(agent.config) as f:
        new = dict(json.load(f), **fields)
    with open(agent.config + ".new", "w") as f:
        json.dump(new, f)
    os.rename(agent.config + ".new", agent.config)


def sockets(agent, port):
    """The inodes of what listens at a port: the same ones if it was never closed."""
    found = set()
    for name in ("tcp", "tcp6"):
        with open("/proc/%d/net/%s" % (agent.pid, name)) as f:
            for line in list(f)[1:]:
                word = line.split()
                if word[3] == "0A" and int(word[1].split(":")[1], 16) == port:
                    found.add(word[9])
    return found


@contextlib.contextmanager
def probed(agent, *ports, address="127.0.0.1"):
    """Ask all the time; every answer has to be 200, and from the same sockets."""
    bad, count, over = [], [0], threading.Event()

    def loop():
        while not over.is_set():
            for port in ports:
                code = agent.get(port=port, address="192.0.2.1" if port == HEALTH_PORT else address)[0]
                count[0] += 1
                if code != 200:
                    bad.append((port, code))

    before = {port: sockets(agent, port) for port in ports}
    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
        wait(lambda: count[0] > 20, "20 answers")
    finally:
        over.set()
        thread.join()
    for port in ports:
        equal(sockets(agent, port), before[port], "sockets of port %d" % port)
    check(not bad, "%d of %d answers were not 200: %s", len(bad), count[0], bad[:5])


# --- flags that end by themselves ---

def test_version_and_unknown_flags(lab):
    p = lab.command("run", "--version")
    check(p.returncode == 0 and p.stdout.startswith("proxylet "), "%s %s", p.returncode, p.stdout)
    link = os.path.join(lab.folder, "kube-proxy")
    os.symlink(os.path.abspath(lab.agent), link)
    lab.agent, real = link, lab.agent
    p = lab.command("--version")
    check(p.returncode == 0 and p.stdout.startswith("proxylet "), "as kube-proxy: %s %s", p.returncode, p.stdout)
    p = lab.command("--masqerade-all")
    lab.agent = real
    equal(p.returncode, 2, "exit status of an unknown flag")
    check("--masquerade-all" in p.stderr, "the nearest flag is not named: %s", p.stderr)


def test_write_config_to(lab):
    first, second = (os.path.join(lab.folder, n) for n in ("first.yaml", "second.yaml"))
    p = lab.command("run", "--cluster-cidr=10.0.0.0/8,fd00::/8", "--nodeport-addresses=10.0.0.0/8", "--conntrack-min=7",
                    "--proxy-mode=iptables", "--vmodule=a=1", "--write-config-to", first)
    equal(p.returncode, 0, p.stderr)
    p = lab.command("run", "--config", first, "--write-config-to=" + second)
    equal(p.returncode, 0, p.stderr)
    with open(first) as a, open(second) as b:
        text = a.read()
        equal(text, b.read(), "the second time")
    check("clusterCIDR: \"10.0.0.0/8,fd00::/8\"" in text and "min: 7" in text and "mode: iptables" in text, "%s", text)
    equal(lab.command("check-config", second).returncode, 0, "check-config")


def test_init_only(lab):
    path = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"
    nft.run(lab.node, "-f", "-", text="table ip t { chain c { ct state new accept; }; }")  # the module
    with lab.node:
        if not os.path.exists(path):
            raise Skip("no connection tracking here")
    p = lab.command("run", "--init-only", "--conntrack-tcp-be-liberal", "--conntrack-udp-timeout=77s", "--conntrack-max-per-core=0")
    equal(p.returncode, 0, p.stderr)
    with lab.node:
        with open(path) as f:
            equal(f.read().strip(), "1", "be_liberal")
        with open(os.path.join(os.path.dirname(path), "nf_conntrack_udp_timeout")) as f:
            equal(f.read().strip(), "77", "udp_timeout")
    equal(nft.raw(lab.node), [], "our table")


def test_cleanup_flag(lab):
    cluster(lab)
    lab.run().ready().stop()
    check(nft.raw(lab.node), "no rules to remove")
    p = lab.command("run", "--cleanup")
    equal(p.returncode, 0, p.stderr)
    equal(nft.raw(lab.node), [], "tables")


def test_other_modes(lab):
    cluster(lab)
    agent = lab.run(mode="ipvs")
    equal(agent.end(), 2, "exit status")
    check('mode "ipvs"' in agent.log() and "fallback" in agent.log(), "log: %s", agent.log())
    agent = lab.run(mode="ipvs", iptables={"masqueradeAll": True}, proxylet={"fallback": "nftables"}).ready()
    check("nftables does its work" in agent.log(), "log: %s", agent.log())
    check("192.0.2.1" not in json.dumps(nft.listing(lab.node).get("set nodeport-ips", {})), "node ports of primary addresses alone")


def test_aks_form(lab):
    cluster(lab)
    path = os.path.join(lab.folder, "aks.json")
    for text, code in (('{"mode":"EBPF"}', "C04"), ('{"mode":"NFTABLES","ipvsConfig":{}}', "C05"), ("{", "C01")):
        with open(path, "w") as f:
            f.write(text)
        p = lab.command("run", "--kube-proxy-config", path, "--objects", lab.objects)
        equal(p.returncode, 2, text)
        check(code in p.stderr, "%s: %s", text, p.stderr)
    lab.run().ready().stop()
    with open(path, "w") as f:
        f.write('{"enabled": false}')
    p = lab.command("run", "--kube-proxy-config", path)
    equal(p.returncode, 0, p.stderr)
    equal(nft.raw(lab.node), [], "tables")


# --- a configuration that changes ---

def test_new_cluster_cidr(lab):
    cluster(lab)
    agent = lab.run().ready()
    pid = agent.pid
    wait(lambda: agent.get(port=HEALTH_PORT, address="192.0.2.1")[0] == 200, "the Service's health port")
    with probed(agent, 10256, 10356, HEALTH_PORT):
        for cidr in ("10.128.0.0/9", "10.240.0.0/12", "10.0.0.0/8"):
            rewrite(agent, clusterCIDR=cidr)
            wait(lambda: detects(lab, cidr), "rules for %s" % cidr)
    equal(nft.endpoints(lab.node, "203.0.113.10", 80), {"10.244.1.2"}, "endpoints")
    check(agent.process.poll() is None and agent.pid == pid, "the process ended")


def test_configmap_flip(lab):
    cluster(lab)
    volume = os.path.join(lab.folder, "volume")
    config = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "hostnameOverride": obj.NODE}

    def flip(name, cidr):
        os.makedirs(os.path.join(volume, name))
        with open(os.path.join(volume, name, "config.conf"), "w") as f:
            json.dump(dict(config, clusterCIDR=cidr), f)
        os.symlink(name, os.path.join(volume, "..data_tmp"))
        os.rename(os.path.join(volume, "..data_tmp"), os.path.join(volume, "..data"))

    flip("..1", "10.0.0.0/8")
    os.symlink("..data/config.conf", os.path.join(volume, "config.conf"))
    agent = lab.run()
    agent.stop(signal.SIGKILL)
    agent.argv[agent.argv.index("--config") + 1] = os.path.join(volume, "config.conf")
    agent.start().ready()
    check(detects(lab, "10.0.0.0/8"), "rules before the flip")
    with probed(agent, 10256):
        flip("..2", "10.128.0.0/9")
        wait(lambda: detects(lab, "10.128.0.0/9"), "rules after the flip")


def test_broken_configuration(lab):
    cluster(lab)
    agent = lab.run().ready()
    generation = nft.generation(lab.node)
    with probed(agent, 10256, 10356):
        for broken in ({"clusterCIDR": "nonsense"}, {"mode": "ipvs", "clusterCIDR": "10.0.0.0/8"}):
            seen = agent.log().count("stays in force")
            rewrite(agent, **broken)
            wait(lambda: agent.log().count("stays in force") > seen, "the message")
        seen = agent.log().count("stays in force")
        with open(agent.config, "a") as f:
            f.write("}")
        wait(lambda: agent.log().count("stays in force") > seen, "the message for bad syntax")
        equal(nft.generation(lab.node), generation, "generation id")
        with open(agent.config, "w") as f:
            json.dump({"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
                       "hostnameOverride": obj.NODE, "mode": "nftables", "clusterCIDR": "10.0.0.0/8"}, f)
        wait(lambda: detects(lab, "10.0.0.0/8"), "rules after the repair")


def test_nothing_changed(lab):
    cluster(lab)
    agent = lab.run().ready()
    generation, log = nft.generation(lab.node), agent.log()
    with open(agent.config, "a") as f:
        f.write("\n")
    agent.process.send_signal(signal.SIGHUP)
    harness.time.sleep(0.5)
    equal(nft.generation(lab.node), generation, "generation id")
    equal(agent.log(), log, "the log")
    equal(agent.get()[0], 200, "health")


def test_health_address_moves(lab):
    cluster(lab)
    agent = lab.run().ready()
    wait(lambda: agent.get(port=HEALTH_PORT, address="192.0.2.1")[0] == 200, "the Service's health port")
    with probed(agent, 10356, HEALTH_PORT):
        rewrite(agent, healthzBindAddress="192.0.2.1:10257")
        wait(lambda: agent.get(port=10257, address="192.0.2.1")[0] == 200, "the new address")
        wait(lambda: agent.get(port=10256)[0] == 0, "the old one closes")
    rewrite(agent, healthzBindAddress="0.0.0.0:10256", proxylet={"sharedHealthzBindAddress": ""})
    wait(lambda: agent.get(port=10356)[0] == 0, "the shared port closes")
    equal(agent.get()[0], 200, "back at the first")


def test_other_node_name(lab):
    cluster(lab)
    lab.put("node-2.json", obj.node(name="node-2"))
    lab.serve(traffic.TcpServer(lab.pods["pod1"]))
    agent = lab.run().ready()
    pid = agent.pid
    with probed(agent, 10256, 10356):
        rewrite(agent, hostnameOverride="node-2")
        wait(lambda: agent.log().count('runs on node "node-2"') == 1, "the new name")
        wait(lambda: agent.get(port=HEALTH_PORT, address="192.0.2.1")[0] == 503, "no endpoint of this node")
    check(nft.endpoints(lab.node, "203.0.113.10", 80) | nft.endpoints(lab.node, "10.96.0.10", 80), "the rules are gone")
    check(agent.process.poll() is None and agent.pid == pid, "the process ended")
    equal(agent.stop(), 0, "exit status")


# --- facts about the Node ---

def with_pod_cidrs(*cidrs, ip="192.0.2.1"):
    node = obj.node()
    node["spec"]["podCIDRs"] = list(cidrs)
    node["status"]["addresses"] = [{"type": "InternalIP", "address": ip}] if ip else []
    return node


def test_waiting_for_pod_cidrs(lab):
    cluster(lab)
    agent = lab.run(detectLocalMode="NodeCIDR")
    wait(lambda: "has no podCIDRs" in agent.log(), "the message")
    wait(lambda: agent.get()[0] == 503, "health without podCIDRs")
    equal(nft.raw(lab.node), [], "tables")
    lab.put("node.json", with_pod_cidrs("10.244.1.0/24"))
    agent.ready()
    check(detects(lab, "10.244.1.0/24"), "rules")
    with probed(agent, 10256):
        lab.put("node.json", with_pod_cidrs("10.244.8.0/24"))
        wait(lambda: detects(lab, "10.244.8.0/24"), "rules for other podCIDRs")
        lab.put("node.json", with_pod_cidrs())
        wait(lambda: "no podCIDRs any more" in agent.log(), "the message")
        check(detects(lab, "10.244.8.0/24"), "rules without podCIDRs")


def test_pod_cidrs_of_the_wrong_family(lab):
    cluster(lab)
    lab.put("node.json", with_pod_cidrs("fd00:1::/64"))
    agent = lab.run(detectLocalMode="NodeCIDR")
    equal(agent.end(), 3, "exit status")
    check("podCIDRs of the Node contains only IPv6" in agent.log(), "log: %s", agent.log())


def nodeport_ips(lab):
    return json.dumps(nft.listing(lab.node)["set nodeport-ips"].get("elem", []))


def test_node_goes_and_comes(lab):
    cluster(lab)
    agent = lab.run().ready()
    check("192.0.2.1" in nodeport_ips(lab), "node port addresses: %s", nodeport_ips(lab))
    os.unlink(os.path.join(lab.objects, "node.json"))
    wait(lambda: agent.get()[0] == 503, "503 without the Node")
    equal(agent.get("/livez")[0], 200, "livez without the Node")
    check("192.0.2.1" in nodeport_ips(lab), "node port addresses without the Node: %s", nodeport_ips(lab))
    lab.put("node.json", with_pod_cidrs(ip=None))
    wait(lambda: agent.get()[0] == 200, "200 with a Node without addresses")
    check("192.0.2.1" in nodeport_ips(lab), "node port addresses of a Node without any: %s", nodeport_ips(lab))


def test_bind_address(lab):
    lab.node.sh("ip", "addr", "add", "192.0.2.77/24", "dev", "eth0")
    cluster(lab)
    agent = lab.run(bindAddress="192.0.2.77").ready()
    check("192.0.2.77" in nodeport_ips(lab) and "192.0.2.1\"" not in nodeport_ips(lab), "%s", nodeport_ips(lab))
    with probed(agent, 10256):
        rewrite(agent, bindAddress="0.0.0.0")
        wait(lambda: "192.0.2.1\"" in nodeport_ips(lab), "the Node's own address")


if __name__ == "__main__":
    harness.main(globals())
