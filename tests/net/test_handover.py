#!/usr/bin/env python3
"""One agent takes over from another: nobody who probes the node or talks through it notices.

PXL_HANDOVERS=20 makes it as many hand-overs, under the full load; as part of "make check" it is a short form.
"""
import errno
import json
import os
import re
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import apiserver
import harness
import nft
import objects as obj
import otherproxy as other
import traffic
from apiserver import ApiServer
from harness import BUSY, check, equal, wait
from lab import NODE_IP, Agent

TIMES = int(os.environ.get("PXL_HANDOVERS", "5"))
PROBES = 100 if TIMES > 5 else 25  # a second, to each listener
CONNECTIONS = 500 if TIMES > 5 else 200
IDLE, ACTIVE = (1000, 100) if TIMES > 5 else (100, 10)
CHECK_PORT = 31003


def read_all(s):
    data = b""
    while True:
        more = s.recv(65536)
        if not more:
            return data
        data += more


def answer(text):
    """What a prober goes by: the status, and of the body what does not change with the clock."""
    head, _, body = text.decode().partition("\r\n\r\n")
    status = head.split(" ")[1] if " " in head else "no answer"
    if body.startswith("# "):
        return status, "metrics"
    return status, re.sub(r'"[0-9-]+T[0-9:.]+Z"', "T", body)


def probe(port):
    address = NODE_IP if port == CHECK_PORT else "127.0.0.1"  # as nodePortAddresses has it

    def once():
        try:
            with socket.create_connection((address, port), traffic.PATIENCE) as s:
                path = b"metrics" if port == 10249 else b"healthz"
                s.sendall(b"GET /" + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return answer(read_all(s))
        except OSError as e:
            return traffic.problem(e)
    return once


class KeptProbe:
    """A prober that keeps its connection as long as it may: what it sends must be answered."""

    def __init__(self, port):
        self.port, self.sock = port, None

    def __call__(self):
        try:
            self.sock = self.sock or socket.create_connection(("127.0.0.1", self.port), traffic.PATIENCE)
            self.sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            text = obj.read_answer(self.sock)
        except OSError as e:
            return traffic.problem(e)
        if b"Connection: close" in text or not text:
            self.sock.close()
            self.sock = None
        return answer(text)


def connect(address):
    def once():
        try:
            with socket.create_connection((address, 80), traffic.PATIENCE) as s:
                line = s.recv(4096)
                # gone with RST: thousands in TIME-WAIT would use up the ports
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return "ok" if line.endswith(b"\n") else "cut"
        except OSError as e:
            return traffic.problem(e)
    return once


def cluster(lab, services=10):
    lab.put("node.json", obj.node())
    for i in range(services):
        extra = {}
        if i == 2:
            extra = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}
        elif i == 3:
            extra = {"vips": ["203.0.113.3"], "externalTrafficPolicy": "Local", "healthCheckNodePort": CHECK_PORT}
        lab.put("s%d.json" % i, obj.service("s%d" % i, "10.96.0.1%d" % i, **extra),
                obj.slice_of("s%d" % i, ["10.244.2.%d" % p for p in range(2, 6)] + ["10.244.1.2"]))
    pods = ["10.244.2.%d" % p for p in range(2, 6)]
    lab.put("udp.json", obj.service("udp", "10.96.0.19", protocol="UDP", sessionAffinity="ClientIP",
                                    sessionAffinityConfig={"clientIP": {"timeoutSeconds": 600}}),
            obj.slice_of("udp", pods, protocol="UDP"))
    for pod in pods:
        lab.serve(traffic.UdpServer(lab.rem, pod))
    for ns in (lab.rem, lab.pods["pod1"]):
        lab.serve(traffic.TcpServer(ns))


def ask_udp(lab):
    client = traffic.UdpClient(lab.ext, "10.96.0.19", 80)
    try:
        return client.ask()
    finally:
        client.close()


def take_over(lab, old, **config):
    """A second agent, until the first has ended. -> the second"""
    new = lab.run(**config)
    wait(lambda: old.process.poll() is not None or new.process.poll() is not None, "one of them ends")
    equal(new.process.poll(), None, "exit status of the successor")
    equal(old.end(), 0, "exit status of the predecessor")
    return new


def only(said, want, what):
    check(said and set(said) == {want}, "%s: %s, and nothing but %r was right", what, said, want)
    return said[want]


def test_nobody_notices(lab):
    cluster(lab)
    agent = lab.run().ready()
    wait(lambda: agent.get(port=CHECK_PORT, address=NODE_IP)[0] == 200, "the health port of s3")
    loads = {port: traffic.Load(lab.node, PROBES, probe(port)) for port in (10256, 10356, CHECK_PORT, 10249)}
    kept = traffic.Load(lab.node, 20, KeptProbe(10256))
    expected = {port: probe_once(lab, port) for port in loads}
    flows = [traffic.Load(lab.ext, CONNECTIONS / 4, connect("10.96.0.1%d" % i)) for i in (0, 1, 2, 4)]
    idle = [traffic.Connection(lab.ext, "10.96.0.10", 80) for _ in range(IDLE)]
    active = [traffic.Connection(lab.ext, "10.96.0.11", 80) for _ in range(ACTIVE)]
    pings = traffic.Load(lab.ext, 50, lambda: all(c.ping() for c in active[:5]))
    loyal = traffic.ask(lab.ext, "10.96.0.12", 80, source="198.51.100.7")
    flow = traffic.UdpClient(lab.ext, "10.96.0.19", 80)
    udp = flow.ask(), ask_udp(lab)
    tables, generation = nft.listing(lab.node, "ip"), nft.generation(lab.node)
    took = []
    for _ in range(TIMES):
        seen = kept.said.total()
        wait(lambda: kept.said.total() >= seen + 10, "probes between two hand-overs")
        began = time.monotonic()
        agent = take_over(lab, agent)
        took.append(time.monotonic() - began)
        equal(traffic.ask(lab.ext, "10.96.0.12", 80, source="198.51.100.7"), loyal, "the endpoint that a client is used to")
        equal((flow.ask(), ask_udp(lab)), udp, "the endpoint of a UDP flow, and of a new one of the same client")
    counts = {port: only(load.end(), expected[port], "probes of %d" % port) for port, load in loads.items()}
    only(kept.end(), expected[10256], "probes over a kept connection")
    n = sum(only(f.end(), "ok", "new connections") for f in flows)
    only(pings.end(), True, "active connections")
    equal([c.ping() for c in idle + active], [True] * (IDLE + ACTIVE), "established connections")
    equal(nft.generation(lab.node), generation, "generation id: nothing was to be written")
    equal(nft.listing(lab.node, "ip"), tables, "rules")
    print("     %d hand-overs, longest %.2f s; probes %s; %d new connections, %d idle, %d active: none failed" %
          (TIMES, max(took), dict(counts), n, IDLE, ACTIVE))


def probe_once(lab, port):
    with lab.node:
        return probe(port)()


def test_kept_connections_that_are_idle(lab):
    """They get five seconds for another request, and end without RST."""
    cluster(lab, 4)
    old = lab.run().ready()
    with lab.node:
        kept = [socket.create_connection(("127.0.0.1", p), 60) for p in (10256, 10256, 10249)]
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for s in kept:
        s.sendall(ask)
        check(b"200 OK" in obj.read_answer(s), "first answer")
    began = time.monotonic()
    new = lab.run().ready()
    wait(lambda: "taken over" in new.log(), "the new one takes over")
    kept[0].sendall(ask)
    check(b"Connection: close" in obj.read_answer(kept[0]), "the last answer does not say so")
    equal([s.recv(4096) for s in kept], [b""] * 3, "the end")
    check(time.monotonic() - began > 4, "idle connections ended after %.1f s", time.monotonic() - began)
    equal(old.end(), 0, "exit status")
    check(time.monotonic() - began < 6 * BUSY, "the predecessor took %.1f s to end", time.monotonic() - began)


# --- what can go wrong -------------------------------------------------------

PLACE = "\0proxylet"


class Peer:
    """The other side, played by the test: lines of JSON on a UNIX socket, some with a descriptor."""

    def __init__(self, sock, ns=None):
        self.ns, self.sock, self.data, self.fds = ns, sock, b"", []
        sock.settimeout(60)

    @classmethod
    def connect(cls, lab):
        with lab.node:
            sock = socket.socket(socket.AF_UNIX)
        sock.connect(PLACE)
        return cls(sock, lab.node)

    def say(self, fds=(), **words):
        try:
            socket.send_fds(self.sock, [json.dumps(words).encode() + b"\n"], fds)
        except BrokenPipeError:
            pass  # turned away already; what was said about it can be heard
        return self

    def hello(self, proof=None, **words):
        """With a socket as only those can make it who may administer the network."""
        proof = proof or self.tcp(self.ns, True)
        self.say(fds=[proof.fileno()], **dict({"say": "hello", "protocol": 1, "version": "9.9", "node": obj.NODE}, **words))
        proof.close()
        return self

    @staticmethod
    def tcp(ns, repair):
        with ns:
            sock = socket.socket()
        if repair:
            sock.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR
        return sock

    def hear(self):
        """-> one line; {}: the end"""
        while b"\n" not in self.data:
            data, fds, _, _ = socket.recv_fds(self.sock, 4096, 16)
            self.fds += fds
            if not data:
                return {}
            self.data += data
        line, _, self.data = self.data.partition(b"\n")
        return json.loads(line)

    def hear_all(self):
        """-> what came up to 'given'"""
        lines = []
        while not lines or lines[-1].get("say") not in ("given", "no", None):
            lines.append(self.hear())
        return lines

    def close(self):
        self.sock.close()
        while self.fds:
            os.close(self.fds.pop())


def works(lab, agent, pod):
    """It answers, and what changes arrives in the kernel."""
    equal(agent.get()[0], 200, "health")
    lab.put("s0.json", obj.service("s0", "10.96.0.10"), obj.slice_of("s0", [pod]))
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {pod}, "a change of s0 arrives")


def test_successor_fails(lab):
    cluster(lab, 4)
    agent = lab.run().ready()
    ways = [
        ("garbage", lambda p: p.sock.sendall(b"GET / HTTP/1.1\r\n\r\n"), "no hand-over"),
        ("no end of line", lambda p: p.sock.sendall(b"x" * 5000), "no hand-over"),
        ("another protocol", lambda p: p.hello(protocol=2), "another version of the protocol"),
        ("no proof", lambda p: p.say(say="hello", protocol=1, node=obj.NODE), "has not shown"),
        ("a socket as anybody has", lambda p: p.hello(p.tcp(lab.node, False)), "has not shown"),
        ("one of another namespace", lambda p: p.hello(p.tcp(lab.ext, True)), "has not shown"),
        ("another node", lambda p: p.hello(node="other"), "another node"),
        ("out of order", lambda p: p.say(say="ready"), "no hand-over"),
        ("ends early", lambda p: (p.hello().hear(), p.close()), "ended before it took over"),
        ("ends with our sockets", lambda p: (p.hello().say(say="take").hear_all(), p.close()), "ended before it took over"),
        ("garbage with our sockets", lambda p: (p.hello().say(say="take").hear_all(), p.say(say="?")), "no hand-over"),
    ]
    for i, (name, act, line) in enumerate(ways):
        at = len(agent.log())
        peer = Peer.connect(lab)
        act(peer)
        wait(lambda: line in agent.log()[at:], "%s: a line with '%s'" % (name, line))
        works(lab, agent, "10.244.2.%d" % (20 + i))
        equal(agent.log()[at:].count(" warn "), 1, "%s: warnings in %s" % (name, agent.log()[at:]))
        peer.close()
    take_over(lab, agent).ready()


def test_only_one_writes(lab):
    """From giving on the dataplane is the successor's: what changes waits until it is clear who goes on."""
    cluster(lab, 4)
    agent = lab.run().ready()
    peer = Peer.connect(lab).hello().say(say="take")
    equal(peer.hear_all()[-1]["say"], "given", "the end of what it gives")
    generation = nft.generation(lab.node)
    lab.put("s0.json", obj.service("s0", "10.96.0.10"), obj.slice_of("s0", ["10.244.2.77"]))

    def waits():
        families = json.loads(agent.status("-o", "json").stdout)["families"]
        return families["IPv4"]["pendingSeconds"] > 0.2
    wait(waits, "the change waits")
    lab.node.sh("nft", "add table ip strangers")  # which is looked into by who watches
    equal((nft.generation(lab.node), agent.get()[0]), (generation + 1, 200), "generation id, and health")
    peer.close()
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {"10.244.2.77"}, "the change arrives")
    check("somebody else" not in agent.log(), "it takes that for drift")


def test_a_service_that_comes_meanwhile(lab):
    """Its health port is the successor's to open, which could not if the predecessor had."""
    cluster(lab, 4)
    agent = lab.run().ready()
    peer = Peer.connect(lab).hello().say(say="take")
    equal(peer.hear_all()[-1]["say"], "given", "the end of what it gives")
    lab.put("new.json", obj.service("new", "10.96.0.77", vips=["203.0.113.77"], externalTrafficPolicy="Local",
                                    healthCheckNodePort=CHECK_PORT + 1), obj.slice_of("new", ["10.244.1.2"]))

    def port():
        return [p for p in json.loads(agent.status("-o", "json").stdout)["healthPorts"] if p["port"] == CHECK_PORT + 1]
    wait(port, "it knows the Service")
    equal((port()[0]["bound"], port()[0]["problem"]), (False, "left to the successor that is taking over"), "the port")
    check("cannot listen" not in agent.log(), "that is no failure")
    peer.close()
    wait(lambda: agent.get(port=CHECK_PORT + 1, address=NODE_IP)[0] == 200, "it answers for the Service")


def test_only_one_successor(lab):
    cluster(lab, 4)
    agent = lab.run().ready()
    first = Peer.connect(lab).hello()
    equal(first.hear()["say"], "hello", "the answer to the first")
    equal(Peer.connect(lab).hello().hear(), {"say": "no", "why": "another successor is taking over"}, "that to the second")
    first.close()
    take_over(lab, agent).ready()


def test_another_user_is_refused(lab):
    cluster(lab, 4)
    agent = lab.run().ready()
    pid = os.fork()
    if not pid:  # the child, for good
        peer = None
        try:
            with lab.node:
                sock = socket.socket(socket.AF_UNIX)
            proof = Peer.tcp(lab.node, True)
            os.setresuid(65534, 65534, 65534)
            sock.connect(PLACE)
            peer = Peer(sock).hello(proof).hear()
        finally:
            os._exit(0 if peer and peer.get("say") == "no" else 1)
    equal(os.waitpid(pid, 0)[1], 0, "what the other user's process was told")
    check("uid 65534 may not take over" in agent.log(), "the log does not say so")
    works(lab, agent, "10.244.2.30")


def is_bound(sock):
    try:
        sock.bind(PLACE)
    except OSError as e:
        if e.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def test_a_stranger_has_the_name(lab):
    """Any user's process may bind it: the node is programmed, nothing is sent to it, and later the place is taken."""
    cluster(lab, 4)
    said, told = os.pipe()
    pid = os.fork()
    if not pid:  # the child, for good
        try:
            with lab.node:
                place = socket.socket(socket.AF_UNIX)
            os.setresuid(4711, 4711, 4711)
            place.bind(PLACE)
            place.listen()
            os.write(told, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.read(said, 1)
    try:
        agent = lab.run(proxylet={"handover": "never"}).ready()
        check("pid %d of uid 4711" % pid in agent.log(), "the log does not name it: %s", agent.log())
        works(lab, agent, "10.244.2.31")
        equal(agent.stop(), 0, "exit status")
        agent = lab.run().ready()
        works(lab, agent, "10.244.2.32")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(said)
        os.close(told)
    wait(lambda: "the place is ours" in agent.log(), "it takes the place")
    take_over(lab, agent).ready()


def play_predecessor(lab, act, ends=True):
    """act(peer) speaks for a running agent that then hangs up, and ends, or first when the successor has. -> the successor"""
    with lab.node:
        place = socket.socket(socket.AF_UNIX)
    wait(lambda: is_bound(place), "the place is free")  # a child that the killed one was about to start has a copy until then
    place.listen()
    place.settimeout(60)
    agent = lab.run()
    while True:  # the first one may only ask who we are
        peer = Peer(place.accept()[0])
        if peer.hear().get("say") == "hello":
            break
    peer.place = place
    act(peer)
    peer.close()
    if not ends:
        agent.end()
    place.close()
    return agent


def test_predecessor_fails(lab):
    cluster(lab, 4)
    lab.run().ready().stop(signal.SIGKILL)
    hello = {"say": "hello", "protocol": 1, "version": "0.0"}
    ways = [
        ("ends after hello", lambda p: p.say(**hello)),
        ("garbage", lambda p: (p.say(**hello), p.sock.sendall(b"\xff\n"))),
        ("ends when it is to give", lambda p: (p.say(**hello), p.hear())),
        ("gives a part", lambda p: (p.say(**hello), p.hear(), p.say(say="socket", name="main"))),
    ]
    for name, act in ways:
        agent = play_predecessor(lab, act)
        agent.ready()
        check("going on alone" in agent.log(), "%s: the log does not say so", name)
        works(lab, agent, "10.244.2.40")
        equal(agent.stop(), 0, "exit status")
    agent = play_predecessor(lab, lambda p: (p.say(**hello), p.hear(), p.say([p.place.fileno()], say="socket", name="instance")),
                             ends=False)
    equal(agent.end(), 3, "exit status beside one that gives a part, and carries on")
    agent = play_predecessor(lab, lambda p: p.say(say="no", why="because"))
    equal(agent.end(), 3, "exit status of one that is refused")
    check("because" in agent.log(), "the log does not say why")
    agent = play_predecessor(lab, lambda p: (p.say(**hello), p.say(say="no", why="changed my mind"), p.hear(), p.hear()))
    equal(agent.end(), 3, "exit status of one that is refused later")


def test_predecessor_ends_while_something_blocks(lab):
    """It gave its place, and ended before the successor could write: probes get an answer, and it is 503."""
    cluster(lab, 4)
    lab.run().ready().stop(signal.SIGKILL)
    process = other.Process(lab, lab.node)

    def give(peer):
        with lab.node:
            place = socket.socket(socket.AF_UNIX)
        place.bind("\0as-good-as-any")
        place.listen()
        peer.say(say="hello", protocol=1, version="0.0")
        peer.say([place.fileno()], say="socket", name="instance", address="", port=0)
        peer.say(say="given", nodeState=0, drain=0)
        place.close()
    agent = play_predecessor(lab, give)
    wait(lambda: agent.get()[0] == 503, "an answer")
    wait(lambda: "kube-proxy is running here" in agent.status().stdout, "status")
    process.close()
    agent.ready()


def test_predecessor_is_told_to_end(lab):
    cluster(lab, 4)
    agent = lab.run().ready()
    peer = Peer.connect(lab).hello()
    equal(peer.hear()["say"], "hello", "the answer")
    agent.process.send_signal(signal.SIGTERM)
    lines = peer.hear_all()
    equal((lines[-1]["say"], len(lines) - 1), ("given", len(peer.fds)), "what it gives")
    names = {line.get("name") for line in lines}
    check({"main", "shared", "metrics", "instance", "status", "status.lock", "default/s3"} <= names, "it gives %s", names)
    equal(agent.get()[0], 200, "health meanwhile")
    equal(peer.say(say="ready").hear(), {"say": "done"}, "the end")
    equal(agent.end(), 0, "exit status")
    peer.close()


def test_another_configuration(lab):
    """The successor writes the difference, and neither takes the other's doings for a stranger's."""
    cluster(lab, 4)
    agent = lab.run().ready()
    for turn in range(3):
        lab.put("s0.json", obj.service("s0", "10.96.0.10"), obj.slice_of("s0", ["10.244.2.%d" % (50 + turn)]))
        new = take_over(lab, agent, nftables={"masqueradeBit": 13 - turn}, healthzBindAddress="0.0.0.0:%d" % (10256 + turn % 2))
        wait(lambda: new.get(port=10256 + turn % 2)[0] == 200, "health at the new port")
        equal(new.get(port=10257 - turn % 2)[0], 0, "at the former one")
        wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {"10.244.2.%d" % (50 + turn)}, "the newest endpoint")
        check("somebody else" not in agent.log() + new.log(), "drift: %s", agent.log() + new.log())
        agent = new


def test_what_the_operator_said_goes_along(lab):
    cluster(lab, 4)
    old = lab.run().ready()
    equal(lab.command("drain", "start", "--socket", old.socket).returncode, 0, "exit status of drain start")
    new = take_over(lab, old)
    equal(new.get()[0], 503, "health while the node is drained")
    check('"state":"Stopping"' in new.get()[2], "the state is another: %s", new.get()[2])
    equal(lab.command("drain", "stop", "--socket", new.socket).returncode, 0, "exit status of drain stop")
    wait(lambda: new.get()[0] == 200, "health afterwards")


def test_what_the_checks_have_found_goes_along(lab):
    """A program that hangs when it is run again: until it has a result, that of the predecessor counts."""
    cluster(lab, 4)
    ran = os.path.join(lab.folder, "ran")
    once = {"type": "exec", "name": "once", "command": ["/bin/sh", "-c", "test -e %s && exec sleep 300; : >%s" % (ran, ran)],
            "intervalSeconds": 3600, "timeoutSeconds": 60, "appliesTo": ["agent", "healthz"]}
    fails = {"type": "exec", "name": "fails", "command": ["/bin/false"], "intervalSeconds": 3600}
    old = lab.run(proxylet={"agent": {"checks": [once, fails]}}).ready()
    new = take_over(lab, old, proxylet={"agent": {"checks": [fails, once]}})
    equal(new.get()[0], 200, "health after the hand-over: %s" % new.get("/agent")[2])
    equal({c["name"]: c["ok"] for c in json.loads(new.get("/agent")[2])["checks"]}, {"fails": False, "once": True}, "the checks")


def test_what_the_operator_says_meanwhile(lab):
    """It would be the predecessor who does it, and the successor who answers probes."""
    cluster(lab, 4)
    agent = lab.run().ready()
    peer = Peer.connect(lab).hello().say(say="take")
    equal(peer.hear_all()[-1]["say"], "given", "the end of what it gives")
    for words, status in ((("drain", "start"), 1), (("state", "busy"), 1), (("state",), 0)):
        done = lab.command(*words, "--socket", agent.socket)
        equal(done.returncode, status, "exit status of %s: %s" % (" ".join(words), done.stdout + done.stderr))
        check(not status or "try again" in done.stderr, "%s: %s", words, done.stderr)
    equal(agent.get()[0], 200, "health meanwhile")
    peer.close()
    wait(lambda: lab.command("drain", "start", "--socket", agent.socket).returncode == 0, "it is drained")
    equal(agent.get()[0], 503, "health afterwards")


def test_two_users_of_the_same_status_socket(lab):
    cluster(lab, 4)
    agent = lab.run().ready()
    lab.agents.append(old := type(agent).__new__(type(agent)))
    old.__dict__.update(agent.__dict__)
    agent.start()
    equal(old.end(), 0, "exit status of the predecessor")
    status = json.loads(agent.status("-o", "json").stdout)
    equal(status["ready"], True, "status over the socket that was handed over")
    check(os.path.exists(agent.socket), "the path has gone")


def test_process_1_stands_by(lab):
    """What ends as the first process of a container is started again; it waits instead, and helps out."""
    cluster(lab, 4)
    old = lab.run(before=["unshare", "--pid", "--fork", "--kill-child"]).ready()
    equal(lab.command("drain", "start", "--socket", old.socket).returncode, 0, "exit status of drain start")
    new = lab.run()
    wait(lambda: "standing by" in old.log(), "the predecessor stands by")
    equal(lab.command("drain", "stop", "--socket", new.socket).returncode, 0, "exit status of drain stop")
    new.ready()
    new.stop(signal.SIGKILL)
    wait(lambda: old.get()[0] == 200, "it helps out, and is not drained any more")
    works(lab, old, "10.244.2.60")
    newer = lab.run().ready()
    wait(lambda: old.log().count("standing by") == 2, "it stands by again")
    with open("/proc/%d/task/%d/children" % (old.pid, old.pid)) as f:
        os.kill(int(f.read()), signal.SIGTERM)
    equal(old.end(), 0, "exit status after SIGTERM")
    works(lab, newer, "10.244.2.61")


# --- warm start --------------------------------------------------------------

def first_answer(agent, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and agent.process.poll() is None:
        status = agent.get()[0]
        if status:
            return status
    return 0


def without_api(lab):
    kubeconfig = os.path.join(lab.folder, "kubeconfig")
    with open(kubeconfig, "w") as f:
        json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                   "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [],
                   "contexts": [{"name": "c", "context": {"cluster": "k", "user": ""}}]}, f)
    lab.agents.append(Agent(lab, lab.node, [], clientConnection={"kubeconfig": kubeconfig}))
    return lab.agents[-1]


def test_warm_start_without_api(lab):
    cluster(lab, 4)
    cold = without_api(lab)
    equal(first_answer(cold), 503, "B-01, the first answer of a cold start")
    cold.stop()
    lab.run().ready().stop()
    generation = nft.generation(lab.node)
    warm = without_api(lab)
    equal(first_answer(warm), 200, "B-09, the first answer of a warm start")
    equal(warm.get(port=CHECK_PORT, address=NODE_IP)[0], 0, "health of a Service of which nothing is known")
    equal(traffic.ask(lab.ext, "10.96.0.11", 80)[0][:7], "10.244.", "traffic meanwhile")
    equal(warm.stop(), 0, "exit status")
    equal(nft.generation(lab.node), generation, "generation id")


def test_damaged_rules_are_no_warm_start(lab):
    cluster(lab, 4)
    damage = ["flush chain ip proxylet nat-prerouting", "add rule ip6 proxylet services accept", "delete table ip proxylet",
              "flush table ip proxylet"]
    for how in damage:
        lab.run().ready().stop()
        lab.node.sh("nft", how)
        cold = without_api(lab)
        equal(first_answer(cold), 503, "the first answer after '%s'" % how)
        cold.stop()
    lab.run().ready()


def gone(lab, agent, what):
    """The promise of a warm start holds as long as its rules do."""
    lab.node.sh("nft", "flush", "ruleset")
    wait(lambda: agent.get()[0] == 503, "%s: 503 without rules" % what)
    check("rules of before cannot be counted on any more" in agent.log(), "%s: the log does not say why", what)
    equal(agent.get("/livez")[0], 200, "%s: /livez" % what)


def test_warm_until_its_rules_go(lab):
    cluster(lab, 4)
    lab.run().ready().stop()
    warm = without_api(lab)
    equal(first_answer(warm), 200, "the first answer of a warm start")
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        lab.node.sh("nft", "add table inet other; delete table inet other")
        equal(warm.get()[0], 200, "the answer while somebody else writes rules of his own")
    gone(lab, warm, "a warm start")


def test_another_life_until_its_rules_go(lab):
    """A configuration that makes the agent begin anew, in another mode, while there is no API server."""
    server = lab.serve(ApiServer(lab.node, obj.node(), obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.2"])))
    agent = Agent(lab, lab.node, [], clientConnection={"kubeconfig": apiserver.kubeconfig(lab.folder, server.url)})
    lab.agents.append(agent)
    agent.ready()
    server.stop()
    with open(agent.config) as f:
        other = dict(json.load(f), mode="iptables")
    with open(agent.config + ".new", "w") as f:
        json.dump(other, f)
    os.rename(agent.config + ".new", agent.config)
    wait(lambda: "in iptables mode" in agent.log(), "it begins anew")
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        equal(agent.get()[0], 200, "the answer over the rules of the former life")
    gone(lab, agent, "a life after another")


if __name__ == "__main__":
    harness.main(globals())
