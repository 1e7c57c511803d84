#!/usr/bin/env python3
"""A node that boots while no API server answers has the Services it had last, says so, and follows the server when it comes."""
import collections
import json
import os
import random
import re
import signal
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import lab as labs
import nft
import objects as obj
import traffic
from apiserver import ApiServer, kubeconfig
from harness import DEADLINE, check, equal, wait

IP, VIP, LOCAL, NODEPORT, HEALTH = "10.96.0.10", "203.0.113.10", "10.96.0.11", 30080, 31999


def cidr():
    return {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": ["10.96.0.0/16"]}}


def cluster():
    return [
        obj.node(), cidr(),
        obj.service("web", IP, node_port=NODEPORT, vips=[VIP]), obj.slice_of("web", ["10.244.2.2", "10.244.2.3"]),
        obj.service("local", LOCAL, vips=["203.0.113.11"], externalTrafficPolicy="Local", healthCheckNodePort=HEALTH),
        obj.slice_of("local", ["10.244.1.2"]),
        obj.service("old", "10.96.0.12"), obj.slice_of("old", ["10.244.2.4"]),
    ]


def server_of(lab, *items):
    return lab.serve(ApiServer(lab.node, *(items or cluster())))


def folder(lab):
    path = os.path.join(lab.folder, "state")
    os.makedirs(path, exist_ok=True)
    return path


def run(lab, server, hostnameOverride=obj.NODE, mode="nftables", **settings):
    settings = dict({"path": folder(lab), "period": "100ms", "wait": "300ms"}, **settings)
    agent = labs.Agent(lab, lab.node, [], clientConnection={"kubeconfig": kubeconfig(lab.folder, server.url)},
                       logging={"verbosity": 4}, hostnameOverride=hostnameOverride, mode=mode,
                       proxylet={"snapshot": settings})
    lab.agents.append(agent)
    return agent


def file_of(lab):
    return os.path.join(folder(lab), "snapshot")


def kept(lab):
    """Waits until there is one."""
    wait(lambda: os.path.exists(file_of(lab)), "a snapshot")


def reboot(lab, agent, sig=signal.SIGTERM):
    """The process and everything in the kernel are gone."""
    agent.stop(sig)
    lab.node.sh("nft", "flush", "ruleset")


def snapshot(agent):
    s = agent.status("-o", "json")
    return json.loads(s.stdout)["snapshot"] if s.returncode in (0, 1) and s.stdout else {}


def in_use(agent):
    return snapshot(agent).get("inUse") is True


def metric(agent, name):
    return float(re.search(r"^proxylet_snapshot_%s (\S+)$" % name, agent.get("/metrics", 10249)[2], re.M).group(1))


def reaches(lab, *endpoints, address=IP, port=80):
    answers = traffic.endpoints_of(traffic.ask_often(lab.ext, address, port, 40))
    equal(answers, set(endpoints), "who answers at %s:%d" % (address, port))


def in_kernel(lab, ip, *endpoints):
    wait(lambda: nft.endpoints(lab.node, ip, 80) == set(endpoints), "%s has the endpoints %s" % (ip, endpoints), every=0.02)


def booted_without_server(lab, **how):
    """-> server, which is stopped, and an agent that uses the snapshot"""
    for ns in (lab.rem, lab.pods["pod1"]):
        lab.serve(traffic.TcpServer(ns))
    server = server_of(lab)
    agent = run(lab, server, **how).ready()
    kept(lab)
    reboot(lab, agent)
    server.stop()
    agent.start()
    wait(lambda: in_use(agent), "the snapshot is in use", every=0.02)
    in_kernel(lab, IP, "10.244.2.2", "10.244.2.3")
    return server, agent


def test_boot_without_a_server(lab):
    server, agent = booted_without_server(lab)
    for address, port in ((IP, 80), (VIP, 80), ("192.0.2.1", NODEPORT)):
        reaches(lab, "10.244.2.2", "10.244.2.3", address=address, port=port)
    reaches(lab, "10.244.1.2", address="203.0.113.11")
    equal((agent.get()[0], agent.get("/livez")[0]), (503, 200), "healthz and livez")
    wait(lambda: agent.get(port=HEALTH, address="192.0.2.1")[0] == 503, "the Service's health port says 503")
    equal(metric(agent, "in_use"), 1, "metric")
    check(0 < metric(agent, "age_seconds") < 60, "age %s", metric(agent, "age_seconds"))
    text = agent.status().stdout
    check("not ready: the Services are those of the snapshot" in text and "in use: of 20" in text, "status: %s", text)

    # The server comes back, and much is different; connections to what stays are not cut.
    stays = [traffic.Connection(lab.ext, IP, 80) for _ in range(8)]
    server.put(obj.slice_of("web", ["10.244.2.2", "10.244.2.3", "10.244.2.5"]))
    server.put(obj.service("new", "10.96.0.13"), obj.slice_of("new", ["10.244.2.6"]))
    server.delete(obj.service("old", "10.96.0.12"))
    server.delete(obj.slice_of("old", []))
    server.start()
    agent.ready()
    in_kernel(lab, IP, "10.244.2.2", "10.244.2.3", "10.244.2.5")
    in_kernel(lab, "10.96.0.12")
    in_kernel(lab, "10.96.0.13", "10.244.2.6")
    reaches(lab, "10.244.2.6", address="10.96.0.13")
    check(all(c.ping() for c in stays), "a connection broke")
    equal((snapshot(agent)["inUse"], metric(agent, "in_use")), (False, 0), "in use")
    equal(agent.get(port=HEALTH, address="192.0.2.1")[0], 200, "the Service's health port, now that it is certain")
    for c in stays:
        c.close()


def test_healthy_if_told_so(lab):
    _, agent = booted_without_server(lab, health="healthy")
    agent.ready()
    wait(lambda: agent.get(port=HEALTH, address="192.0.2.1")[0] == 200, "the Service's health port")
    check("ready, with the Services of the snapshot" in agent.status().stdout, "status")


def test_a_slow_list_is_waited_for(lab):
    """Objects that arrive are better than those of a file, also while some are missing."""
    server = server_of(lab)
    agent = run(lab, server).ready()
    kept(lab)
    agent.stop()
    server.put(obj.slice_of("web", ["10.244.2.9"]))
    server.delete(obj.service("old", "10.96.0.12"))
    server.quirks.hold = {"endpointslices"}
    agent.start()
    wait(lambda: re.search("api: services: [0-9]+ listed", agent.log()[agent.logged:]), "the Services")
    lab.node.sh("nft", "flush", "ruleset")  # over rules the snapshot is not used
    # The Services are read, the slices are not: those of the file stand in for them, and for nothing that is gone.
    wait(lambda: in_use(agent), "the snapshot is in use", every=0.02)
    in_kernel(lab, IP, "10.244.2.2", "10.244.2.3")
    equal(nft.endpoints(lab.node, "10.96.0.12", 80), set(), "a Service that the server does not have any more")
    server.quirks.hold = set()
    in_kernel(lab, IP, "10.244.2.9")
    agent.ready()
    check(not in_use(agent), "still in use")


def left_behind(lab, **config):
    """-> an agent that has ended; its rules and its snapshot are there, the server is not"""
    server = server_of(lab)
    agent = run(lab, server, **config).ready()
    kept(lab)
    agent.stop()
    server.stop()
    return agent


def is_not_used(agent, line, what):
    """Started over rules: the snapshot is left alone."""
    agent.start()
    wait(lambda: line in agent.log(), "it runs")
    time.sleep(0.6)
    check(not in_use(agent), "in use over %s", what)


def test_not_while_there_are_rules(lab):
    agent = left_behind(lab)
    before = nft.generation(lab.node)
    is_not_used(agent, "api", "the rules that are there")
    equal(nft.generation(lab.node), before, "generation of the rules")


def test_once_the_rules_are_gone(lab):
    agent = left_behind(lab)
    is_not_used(agent, "api", "the rules that are there")
    equal(agent.get()[0], 200, "a warm start")
    lab.node.sh("nft", "flush", "ruleset")
    wait(lambda: in_use(agent), "the snapshot is in use", every=0.02)
    in_kernel(lab, IP, "10.244.2.2", "10.244.2.3")


def test_no_moment_of_health_over_its_rules(lab):
    """A warm start over rules of the snapshot: 503 from the first answer on."""
    _, agent = booted_without_server(lab)
    boot = os.path.join(lab.folder, "boot_id")
    with open(boot, "w") as f:
        f.write("11111111-2222-4333-8444-555555555555\n")
    over = 'mount --bind %s /proc/sys/kernel/random/boot_id && exec "$@"' % boot
    agent.argv = ["unshare", "--mount", "sh", "-c", over, "sh"] + agent.argv
    for _ in range(3):
        agent.stop(signal.SIGKILL)
        agent.start()
        answers, until = collections.Counter(), time.monotonic() + 0.5
        while time.monotonic() < until or (not answers[503] and time.monotonic() < until + DEADLINE):
            answers[agent.get()[0]] += 1
        check(answers[503] and set(answers) <= {0, 503}, "answers: %s", answers)


def test_chains_are_rules_too(lab):
    is_not_used(left_behind(lab, mode="iptables"), "reading from", "the chains that are there")


def test_rules_of_the_other_mode_are_rules_too(lab):
    """The configuration was changed while nobody ran: what serves is newer than what is kept."""
    agent = left_behind(lab)
    before = nft.generation(lab.node)
    with open(agent.config) as f:
        config = dict(json.load(f), mode="iptables")
    with open(agent.config, "w") as f:
        json.dump(config, f)
    is_not_used(agent, "in iptables mode", "the table that is there")
    equal(nft.generation(lab.node), before, "generation of the rules")


def flip(data):
    data[len(data) // 2] ^= 4
    return data


def test_refused(lab):
    """Not whole, of somebody else, too old: one line, and status says it, too."""
    server = server_of(lab)
    agent = run(lab, server).ready()
    kept(lab)
    agent.stop()
    server.stop()
    with open(file_of(lab), "rb") as f:
        good = f.read()
    for text, how, damage in (
            ("it is damaged", {}, flip),
            ("it is cut off", {}, lambda data: data[:-7]),
            ("it is of version 7", {}, lambda data: data.replace(b"proxylet\2", b"proxylet\7")),
            ("it is of another node, \"node-1\"", {"hostnameOverride": "node-2"}, bytes),
            ("s old, and proxylet.snapshot.maxAge is less", {"maxAge": "1ms"}, bytes)):
        with open(file_of(lab), "wb") as f:
            f.write(damage(bytearray(good)))
        lab.node.sh("nft", "flush", "ruleset")
        agent = run(lab, server, wait="50ms", **how)
        wait(lambda: "is not used: " in agent.log(), "a line about it: %s" % text, every=0.02)
        check(text in agent.log() and text in snapshot(agent)["problem"], "no %r in %s", text, agent.log())
        equal((in_use(agent), nft.endpoints(lab.node, IP, 80)), (False, set()), text)
        agent.stop()


def same_for(lab, seconds):
    """-> its inode, or None if it was written meanwhile"""
    first = os.stat(file_of(lab)).st_ino
    time.sleep(seconds)
    return first if os.stat(file_of(lab)).st_ino == first else None


def test_not_in_every_period(lab):
    """Nothing changes, nothing is written; and a folder that cannot be written to is one line."""
    server = server_of(lab)
    agent = run(lab, server, period="50ms").ready()
    kept(lab)
    first = wait(lambda: same_for(lab, 0.5), "the file, while nothing changed")
    server.put(obj.slice_of("web", ["10.244.2.7"]))
    wait(lambda: os.stat(file_of(lab)).st_ino != first, "a new file after a change")
    wait(lambda: "10.244.2.7" in nft.endpoints(lab.node, IP, 80), "the change")
    path = folder(lab)
    os.rename(path, path + ".away")
    open(path, "w").close()
    server.put(obj.slice_of("web", ["10.244.2.8"]))
    wait(lambda: snapshot(agent)["failures"] > 2, "several attempts", every=0.02)
    equal(agent.log().count("warn snapshot: not written"), 1, "lines about it")
    os.unlink(path)
    os.rename(path + ".away", path)
    wait(lambda: not snapshot(agent)["problem"], "it is written again", every=0.02)


class Reader(threading.Thread):
    """Looks at the file all the time: it is always as long as it says."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.stopping, self.files, self.broken = path, False, set(), []
        self.start()

    def run(self):
        while not self.stopping:
            with open(self.path, "rb") as f:
                data, inode = f.read(), os.fstat(f.fileno()).st_ino
            says = 48 + struct.unpack_from("<I", data, 12)[0] + struct.unpack_from("<Q", data, 24)[0] if len(data) > 48 else "more"
            self.files.add((inode, hash(data)))
            if len(data) != says:
                self.broken.append("%d bytes, and not %s" % (len(data), says))

    def close(self):
        self.stopping = True
        self.join()


def stamp(lab):
    st = os.stat(file_of(lab))
    return st.st_ino, st.st_mtime_ns


def test_kill_while_it_is_written(lab):
    """Whatever the moment, the file is whole: the old one or the new one."""
    many = [obj.node()]
    for i in range(400):
        name = "s%03d" % i
        many += [obj.service(name, "10.97.%d.%d" % (i >> 8, i & 255)), obj.slice_of(name, ["10.244.2.%d" % (2 + i % 200)])]
    server = server_of(lab, *many)
    agent, rng = run(lab, server, period="1ms").ready(), random.Random(os.getpid())
    kept(lab)
    reader = lab.serve(Reader(file_of(lab)))
    for turn in range(8):
        for i in range(20):
            server.put(obj.slice_of("s%03d" % i, ["10.244.2.%d" % (2 + turn)]))
        time.sleep(rng.uniform(0.0, 0.05))
        agent.stop(signal.SIGKILL)
        before = stamp(lab)
        agent.start()
        wait(lambda: stamp(lab) != before, "the file of the next one")
        wait(lambda: len(reader.files) > turn, "the reader to see it")
    equal(reader.broken[:3], [], "files that were not whole")
    check(len(reader.files) >= 8, "only %d files were written", len(reader.files))
    reboot(lab, agent, signal.SIGKILL)
    server.stop()
    agent.start()
    wait(lambda: in_use(agent), "the snapshot is in use", every=0.02)
    in_kernel(lab, "10.97.1.2", "10.244.2.%d" % (2 + 258 - 200))


if __name__ == "__main__":
    harness.main(globals())
