#!/usr/bin/env python3
"""What the node says of itself: states, drain, checks, the end of the process, and the relay.

Names are rows of health-and-probes F.1, F.3 and F.4; their long times are shortened by smaller parameters.
"""
import ctypes
import glob
import http.server
import json
import os
import signal
import socket
import statistics
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
from harness import BUSY, DEADLINE, Skip, check, equal, quick, wait

PORT = 31998
LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, WALL = 0x4206, 0x40000000
MAIN, SHARED = 10256, 10356
TAINT = "ToBeDeletedByClusterAutoscaler"
LIMIT = 0.100  # B.3: seconds from the event to the answer
ROUNDS = 3


def body(agent, path="/healthz", port=MAIN):
    status, _, text = agent.get(path, port, "192.0.2.1")
    return status, json.loads(text) if text.startswith("{") else {}


def code(agent, path="/healthz", port=MAIN):
    return agent.get(path, port, "192.0.2.1")[0]


def answers(agent):
    """/healthz on both ports, /livez, /agent, the port of the Service."""
    return (code(agent), code(agent, port=SHARED), code(agent, "/livez"), code(agent, "/agent"), code(agent, port=PORT))


def local_service():
    return (obj.service("web", "10.96.0.10", vips=["203.0.113.10"], externalTrafficPolicy="Local",
                        allocateLoadBalancerNodePorts=False, healthCheckNodePort=PORT), obj.slice_of("web", ["10.244.1.2"]))


def start(lab, **proxylet):
    lab.put("node.json", obj.node())
    lab.put("web.json", *local_service())
    agent = lab.run(**({"proxylet": proxylet} if proxylet else {})).ready()
    wait(lambda: code(agent, port=PORT) == 200, "the Service's port")
    return agent


def tell(agent, *words, want=0):
    p = agent.lab.command(*words, "--socket", agent.socket)
    equal(p.returncode, want, "%s: %s%s" % (" ".join(words), p.stdout, p.stderr))
    return p.stdout.strip() or p.stderr.strip()


# --- eligibility: N-01 to N-05, N-08, S-11 ---

def tainted(key, effect="NoSchedule", value=None):
    node = obj.node()
    node["spec"]["taints"] = [dict({"key": key, "effect": effect}, **({"value": value} if value else {}))]
    return node


def cordoned():
    node = obj.node(taints=["node.kubernetes.io/unschedulable"])
    node["spec"]["unschedulable"] = True
    return node


def going():
    node = obj.node()
    node["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x/y"])
    return node


NODES = [  # id, the Node as it becomes, what /healthz says then
    ("N-01", tainted(TAINT), 503),
    ("N-03", obj.node(), 200),
    ("N-02", tainted(TAINT, "PreferNoSchedule", "1700000000"), 503),
    ("N-03", obj.node(), 200),
    ("N-04", cordoned(), 200),
    ("N-05", going(), 503),
    ("N-05 back", obj.node(), 200),
]


class FileSource:
    def __init__(self, lab):
        self.lab = lab
        self.put(obj.node(), *local_service())

    def put(self, *items):
        for item in items:
            self.lab.put("%s-%s.json" % (item["kind"], item["metadata"]["name"]), item)

    def run(self, **config):
        return self.lab.run(**config)

    def delete_node(self):
        os.unlink(os.path.join(self.lab.objects, "Node-%s.json" % obj.NODE))


class ApiSource:
    def __init__(self, lab):
        self.lab, self.server = lab, lab.serve(ApiServer(lab.node, obj.node(), *local_service()))

    def put(self, *items):
        self.server.put(*items)

    def run(self, **config):
        path = kubeconfig(self.lab.folder, self.server.url)
        agent = labs.Agent(self.lab, self.lab.node, [], clientConnection={"kubeconfig": path}, **config)
        self.lab.agents.append(agent)
        return agent

    def delete_node(self):
        self.server.delete(obj.node())


class Watcher:
    """Asks one port again and again on a connection that it keeps, as fast as it goes; knows when its answer changed."""

    def __init__(self, agent, port):
        self.ns, self.port, self.changes, self.stopped = agent.ns, port, [], False
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while not self.stopped:
            with self.ns:
                s = socket.create_connection(("192.0.2.1", self.port), traffic.PATIENCE)
            with s:
                self.ask(s)

    def ask(self, s):
        for _ in range(900):  # fewer than end the connection
            if self.stopped:
                return
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            now = int(obj.read_answer(s).decode().split(" ")[1])
            if not self.changes or now != self.changes[-1][1]:
                self.changes.append((time.monotonic(), now))
            time.sleep(0.002)

    def seconds_to(self, want, since):
        """From an event to the answer, which may be the one there was."""
        return wait(lambda: [t for t, status in self.changes if t > since and status == want], "%d" % want, every=0.002)[0] - since

    def stop(self):
        self.stopped = True
        self.thread.join(traffic.PATIENCE)


def until_seen(agent, change, want):
    """-> seconds from the change to what both ports have to answer then"""
    watchers = [Watcher(agent, port) for port in (MAIN, SHARED)]
    wait(lambda: all(w.changes for w in watchers), "the first answers")
    since = time.monotonic()
    change()
    took = [w.seconds_to(want, since) for w in watchers]
    for w in watchers:
        w.stop()
    return max(took)


def eligibility(lab, source):
    agent = source.run().ready()
    wait(lambda: code(agent, port=PORT) == 200, "the Service's port")
    before = 200
    for name, node, want in NODES:
        if want != before:
            until_seen(agent, lambda: source.put(node), want)
        else:
            source.put(node)
            time.sleep(5 * LIMIT)
        got = body(agent)
        equal((got[0], got[1]["healthy"], got[1]["nodeEligible"], got[1]["state"]), (want, True, want == 200, "Ready"), name)
        equal(body(agent, port=SHARED)[0], want, name + " shared")
        equal((code(agent, "/livez"), code(agent, port=PORT)), (200, 200), name + ": /livez and the Service's port (S-11)")
        before = want
    quick(lambda: (until_seen(agent, lambda: source.put(tainted(TAINT)), 503), until_seen(agent, lambda: source.put(obj.node()), 200)),
          LIMIT, "503 after the taint", "200 after it went", rounds=ROUNDS)
    source.delete_node()
    wait(lambda: code(agent) == 503, "503 without the Node object (N-05)")
    equal((code(agent, "/livez"), code(agent, port=PORT), agent.process.poll()), (200, 200, None), "N-05: deleted")


def test_N_01_to_N_05_from_files(lab):
    eligibility(lab, FileSource(lab))


def test_N_01_to_N_05_from_the_api_server(lab):
    eligibility(lab, ApiSource(lab))


def test_N_06_flows_through_a_tainted_node(lab):
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10", node_port=30080), obj.slice_of("web", ["10.244.2.2"]))
    agent = lab.run().ready()
    flows = [traffic.Connection(lab.ext, "192.0.2.1", 30080) for _ in range(50)]
    lab.put("node.json", tainted(TAINT))
    wait(lambda: code(agent) == 503, "503")
    for _ in range(3):
        check(all(f.ping() for f in flows), "a flow broke")
        time.sleep(0.2)
    equal(traffic.endpoints_of(traffic.ask_often(lab.ext, "192.0.2.1", 30080, 100)), {"10.244.2.2"}, "100 new flows")
    check(all(f.ping() for f in flows), "a flow broke")
    for f in flows:
        f.close()


def test_N_08_ineligible_taints(lab):
    agent = start(lab, health={"ineligibleTaints": ["example.com/drain"]})
    lab.put("node.json", tainted("example.com/drain"))
    wait(lambda: code(agent) == 503, "503 with the configured key")
    lab.put("node.json", tainted(TAINT))
    wait(lambda: code(agent) == 200, "200 with the default key")
    with open(agent.config) as f:
        config = json.load(f)
    del config["proxylet"]
    with open(agent.config, "w") as f:
        json.dump(config, f)
    wait(lambda: code(agent) == 503, "503 with the default key, once the configuration is the default")
    equal(code(agent, port=PORT), 200, "the Service's port")


def test_N_09_no_api_server(lab):
    source = ApiSource(lab)
    agent, seen = source.run(nftables={"syncPeriod": "100ms", "minSyncPeriod": "1ms"}).ready(), set()  # stale after 200 ms
    wait(lambda: agent.status().returncode == 0, "nothing pending")
    source.server.stop()
    deadline = time.monotonic() + float(os.environ.get("API_DOWN_SECONDS", 0.5))
    while time.monotonic() < deadline:
        seen.add(code(agent))
        time.sleep(0.02)
    equal(seen, {200}, "answers")


def test_N_10_liveness(lab):
    agent, seen = start(lab), []
    lab.put("node.json", tainted(TAINT))
    wait(lambda: code(agent) == 503, "503")
    deadline = time.monotonic() + float(os.environ.get("TAINTED_SECONDS", 0.5))
    while time.monotonic() < deadline:
        seen.append(code(agent, "/livez"))
        time.sleep(0.02)
    equal(set(seen), {200}, "what a livenessProbe sees")


# --- states and drain: B-20 to B-24, N-07 ---

COMMANDS = [  # id, the command, its exit status, then: state, /healthz, /healthz shared, /livez, /agent, port of the Service
    ("B-20", ["state"], 0, "Ready", (200, 200, 200, 200, 200)),
    ("B-21", ["state", "busy"], 0, "Busy", (200, 200, 200, 503, 200)),
    ("B-22", ["state", "recycling"], 0, "Recycling", (200, 200, 200, 503, 200)),
    ("B-22 back", ["state", "ready"], 0, "Ready", (200, 200, 200, 200, 200)),
    ("B-23, N-07", ["drain", "start"], 0, "Stopping", (503, 503, 200, 503, 200)),
    ("not by state", ["state", "ready"], 1, "Stopping", (503, 503, 200, 503, 200)),
    ("N-07 services", ["drain", "start", "--include-services"], 0, "Stopping", (503, 503, 200, 503, 503)),
    ("N-07 without again", ["drain", "start"], 0, "Stopping", (503, 503, 200, 503, 200)),
    ("N-07 stop", ["drain", "stop"], 0, "Ready", (200, 200, 200, 200, 200)),
    ("told before", ["state", "busy"], 0, "Busy", (200, 200, 200, 503, 200)),
    ("drain over busy", ["drain", "start"], 0, "Stopping", (503, 503, 200, 503, 200)),
    ("recomputed", ["drain", "stop"], 0, "Busy", (200, 200, 200, 503, 200)),
    ("usage", ["drain"], 2, "Busy", (200, 200, 200, 503, 200)),
    ("usage", ["drain", "begin"], 2, "Busy", (200, 200, 200, 503, 200)),
    ("usage", ["state", "stopping"], 2, "Busy", (200, 200, 200, 503, 200)),
    ("usage", ["state", "--include-services"], 2, "Busy", (200, 200, 200, 503, 200)),
]


def test_B_20_to_B_24_and_N_07(lab):
    agent = start(lab, agent={"checks": [{"type": "exec", "command": ["/bin/true"], "appliesTo": ["agent", "healthz"]}]})
    wait(lambda: code(agent, "/agent") == 200, "the check's first result")
    for name, command, status, state, want in COMMANDS:
        tell(agent, *command, want=status)
        equal(answers(agent), want, "%s: after %s" % (name, " ".join(command)))
        equal((body(agent)[1]["state"], body(agent, "/agent")[1]["state"]), (state, state), "%s: state" % name)
        equal(json.loads(tell(agent, "state", "-o", "json"))["state"], state, "%s: state -o json" % name)
        equal(json.loads(agent.status("-o", "json").stdout)["state"], state, "%s: in status" % name)
    metrics = agent.get("/metrics", 10249)[2]
    for line in ('proxylet_node_state{state="Busy"} 1', 'proxylet_node_state{state="Ready"} 0', "proxylet_node_eligible 1"):
        check(line in metrics.splitlines(), "%s is not in the metrics", line)
    equal(tell(agent, "drain", "stop", "--include-services", want=2).splitlines()[0],
          "proxylet drain: --include-services goes with start", "drain stop --include-services")
    tell(agent, "drain", "start")
    check("drained" in agent.status().stdout, "status: %s", agent.status().stdout)
    equal(agent.status().returncode, 1, "status of a drained node")


def test_B_20_at_start(lab):
    server = lab.serve(ApiServer(lab.node, obj.node()))
    server.quirks.hold = {"services"}
    path = kubeconfig(lab.folder, server.url)
    agents = []
    for startup in ("strict", "compat"):
        agent = labs.Agent(lab, lab.node if startup == "strict" else lab.bare_node(), [], clientConnection={"kubeconfig": path},
                           proxylet={"health": {"startup": startup}})
        lab.agents.append(agent)
        agents.append(agent)
        first = wait(lambda: agent.get()[0], "an answer", every=0)
        equal(agent.get("/livez")[0], 200, "/livez")
        status, _, text = agent.get("/agent")
        equal((status, text), (503, '{"state":"Busy","checks":[]}'), "/agent while it starts, " + startup)
        equal({first, agent.get()[0]}, {200 if startup == "compat" else 503}, "/healthz from the start, " + startup)
    server.quirks.hold = set()
    agents[0].ready()
    status, _, text = agents[0].get("/agent")
    equal((status, text), (200, '{"state":"Ready","checks":[]}'), "/agent, started")


def raw_ask(path, text, uid):
    """As that user, which is whom the kernel then names as the peer."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    os.seteuid(uid)
    try:
        s.connect(path)
    finally:
        os.seteuid(0)
    s.sendall(text)
    got = b""
    while True:
        more = s.recv(4096)
        if not more:
            return got.decode()
        got += more


def test_admin_socket_credentials(lab):
    agent = start(lab)
    equal(os.stat(agent.socket).st_mode & 0o777, 0o600, "the mode of the socket")
    rows = [  # as whom, request, status
        (0, b"GET /drain/start HTTP/1.0\r\n\r\n", 405),
        (0, b"GET /state HTTP/1.0\r\n\r\n", 200),
        (65534, b"GET /state HTTP/1.0\r\n\r\n", 200),
        (65534, b"POST /drain/start HTTP/1.0\r\n\r\n", 403),
        (65534, b"POST /state/busy HTTP/1.0\r\n\r\n", 403),
        (0, b"POST /nothing HTTP/1.0\r\n\r\n", 404),
        (0, b"POST /state/busy HTTP/1.0\r\n\r\n", 200),
    ]
    os.chmod(agent.socket, 0o666)  # so that the second line of defence is what answers
    os.chmod(lab.folder, 0o755)
    for uid, request, want in rows:
        equal(body(agent, "/agent")[1]["state"], "Ready", "before %s of user %d" % (request, uid))
        text = raw_ask(agent.socket, request, uid)
        equal(text[9:12], str(want), "%s of user %d: %s" % (request, uid, text))
    equal(body(agent, "/agent")[1]["state"], "Busy", "after root's command")
    equal(code(agent, "/drain/start"), 404, "commands on a health port")


# --- checks: B-25, B-26 ---

class FakeStat:
    """A /proc/stat that the test writes, seen by one agent alone."""

    def __init__(self, lab):
        self.path, self.busy, self.idle, self.load = os.path.join(lab.folder, "stat"), 0, 0, 0
        self.write()
        self.stopped = False
        threading.Thread(target=self.loop, daemon=True).start()

    def write(self):
        with open(self.path, "r+" if os.path.exists(self.path) else "w") as f:
            f.write("cpu  %020d 0 0 %020d 0 0 0 0 0 0\n" % (self.busy, self.idle))

    def loop(self):
        while not self.stopped:
            time.sleep(0.05)
            self.busy += self.load
            self.idle += 100 - self.load
            self.write()

    def before(self):
        return ["unshare", "-m", "sh", "-c", 'mount --bind %s /proc/stat && exec "$@"' % self.path, "sh"]


def test_B_25_cpu_check(lab):
    stat = FakeStat(lab)
    lab.put("node.json", obj.node())
    window = int(os.environ.get("CPU_WINDOW_SECONDS", 1))
    agent = lab.run(before=stat.before(), proxylet={"agent": {"checks": [
        {"type": "cpuPercentMax", "value": 90, "forSeconds": window, "appliesTo": ["agent", "healthz"]}]}}).ready()
    equal(code(agent, "/agent"), 200, "before the load")
    for load, want in ((100, 503), (10, 200)):
        stat.load, began = load, time.monotonic()
        wait(lambda: code(agent, "/agent") == want, "%d after load %d" % (want, load))
        print("     %d after %.1f s of load %d %%, window %d s" % (want, time.monotonic() - began, load, window))
        equal(code(agent), want, "/healthz, to which the check applies")
        result = body(agent, "/agent")[1]["checks"]
        equal([(c["name"], c["ok"]) for c in result], [("cpu", want == 200)], "what /agent says")
        check(0 <= result[0]["value"] <= 100, "value %s", result)
        equal(code(agent, "/livez"), 200, "/livez")
    stat.stopped = True


def lives(word):
    """-> the number of a process with this in its command line; 0: there is none"""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                if word.encode() in f.read():
                    return int(path.split("/")[2])
        except OSError:
            pass  # it has ended
    return 0


def test_B_26_exec_check(lab):
    mark, runs = "86%d.5" % os.getpid(), os.path.join(lab.folder, "runs")
    slow = {"type": "exec", "name": "slow", "command": ["/bin/sh", "-c", "sleep %s & sleep %s" % (mark, mark)],
            "intervalSeconds": 60, "timeoutSeconds": 1}
    counts = {"type": "exec", "name": "counts", "command": ["/bin/sh", "-c", "echo >>%s" % runs], "intervalSeconds": 60}
    fails = {"type": "exec", "name": "fails", "command": ["/bin/false"], "intervalSeconds": 60}
    missing = {"type": "exec", "name": "missing", "command": ["/no/such/program"], "intervalSeconds": 60}
    lab.put("node.json", obj.node())
    agent = lab.run(proxylet={"agent": {"checks": [slow, counts, fails, missing]}}).ready()
    wait(lambda: lives(mark), "the slow program runs")
    began = time.monotonic()
    took = []
    while lives(mark):
        check(time.monotonic() - began < DEADLINE, "the process group lives on")
        asked = time.monotonic()
        equal(code(agent, "/agent"), 503, "/agent while a check runs")
        took.append(time.monotonic() - asked)
    check(statistics.median(took) < 0.25, "/agent takes %.1f ms while a check runs", 1000 * statistics.median(took))
    wait(lambda: all(c["ok"] == (c["name"] == "counts") for c in body(agent, "/agent")[1]["checks"]), "the results")
    equal([c["name"] for c in body(agent, "/agent")[1]["checks"]], ["slow", "counts", "fails", "missing"], "the checks")
    equal(os.path.getsize(runs), 1, "runs of a program, however often it was asked for")
    equal((code(agent), code(agent, "/livez")), (200, 200), "/healthz and /livez, to which the checks do not apply")


def test_checks_change_in_place(lab):
    lab.put("node.json", obj.node())
    def program(path):
        return {"agent": {"checks": [{"type": "exec", "command": [path], "appliesTo": ["agent", "healthz"]}]}}
    agent = lab.run(proxylet=program("/bin/true")).ready()  # an agent that starts without a program gives up the right to run any
    with open(agent.config) as f:
        config = json.load(f)
    for command, want in (("/bin/false", 503), ("/bin/true", 200)):
        config["proxylet"] = program(command)
        with open(agent.config, "w") as f:
            json.dump(config, f)
        wait(lambda: code(agent) == want, "%d with %s" % (want, command))


def test_checks_that_stay(lab):
    """They are not run again, and what they have found holds: here they would hang."""
    lab.put("node.json", obj.node())
    ran = os.path.join(lab.folder, "ran")
    once = {"type": "exec", "name": "once", "command": ["/bin/sh", "-c", "test -e %s && exec sleep 300; : >%s" % (ran, ran)],
            "intervalSeconds": 3600, "timeoutSeconds": 60, "appliesTo": ["agent", "healthz"]}
    other = {"type": "exec", "name": "other", "command": ["/bin/true"]}
    agent = lab.run(proxylet={"agent": {"checks": [once]}}).ready()
    with open(agent.config) as f:
        config = json.load(f)
    for checks in ([other, once], [once]):
        config["proxylet"]["agent"]["checks"] = checks
        with open(agent.config, "w") as f:
            json.dump(config, f)
        found = {c["name"]: True for c in checks}
        wait(lambda: {c["name"]: c["ok"] for c in body(agent, "/agent")[1]["checks"]} == found, "%s" % found)
        equal(code(agent), 200, "/healthz")


def test_check_by_those_who_ignore_children(lab):
    """Who starts us with SIGCHLD ignored hides how programs end, unless we mind."""
    lab.put("node.json", obj.node())
    checks = [{"type": "exec", "name": name, "command": ["/bin/" + name], "intervalSeconds": 60} for name in ("true", "false")]
    ignore = [sys.executable, "-c", "import os, signal, sys\n"
              "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])"]
    agent = lab.run(before=ignore, proxylet={"agent": {"checks": checks}}).ready()
    wait(lambda: [c["ok"] for c in body(agent, "/agent")[1]["checks"]] == [True, False], "the results")


def test_check_that_does_not_die(lab):
    """As in a read from a file server that is gone: here somebody traces it, and does not let it be buried."""
    mark = "87%d.5" % os.getpid()
    lab.put("node.json", obj.node())
    agent = lab.run(proxylet={"agent": {"checks": [{"type": "exec", "command": ["/bin/sleep", mark], "timeoutSeconds": 60,
                                              "intervalSeconds": 60}]}}).ready()
    pid = wait(lambda: lives(mark), "the program runs")
    if LIBC.ptrace(PTRACE_SEIZE, pid, None, None):
        raise Skip("ptrace: %s" % os.strerror(ctypes.get_errno()))
    equal(agent.stop(), 0, "exit status, while its child is not quite gone")
    os.waitpid(pid, WALL)  # now it may


# --- the end: E.6 ---

def seen_until_the_end(agent):
    """Answers of /healthz and of the Service's port, as sets, until the process is gone; and how long that took."""
    ports, began = (MAIN, PORT), time.monotonic()
    seen = {p: set() for p in ports}
    while agent.process.poll() is None:
        check(time.monotonic() - began < DEADLINE, "it does not end")
        for p in ports:
            seen[p].add(code(agent, port=p))
    return [seen[p] - {0} for p in ports], time.monotonic() - began


def test_sigterm_fast(lab):
    agent = start(lab)
    agent.process.send_signal(signal.SIGTERM)
    seen, seconds = seen_until_the_end(agent)
    check(seconds < 1 * BUSY, "it took %.1f s", seconds)
    check(all(s <= {200} for s in seen), "answers %s", seen)
    equal(agent.end(), 0, "exit status")


def test_sigterm_drain(lab):
    agent, began = start(lab, terminationMode="drain", drainSeconds=3), time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    wait(lambda: code(agent) == 503, "503")
    equal((body(agent)[1]["state"], body(agent, "/livez")[0]), ("Stopping", 200), "state and /livez")
    equal("ending" in tell(agent, "drain", "stop", want=1), True, "drain stop is refused")
    seen, _ = seen_until_the_end(agent)
    equal(seen, [{503}, {503}], "answers")
    check(3 <= time.monotonic() - began < 3 * BUSY, "it took %.1f s", time.monotonic() - began)
    equal(agent.end(), 0, "exit status")
    check(nft.listing(lab.node), "the rules stay")


def test_second_sigterm(lab):
    agent = start(lab, terminationMode="drain", drainSeconds=600)
    agent.process.send_signal(signal.SIGTERM)
    wait(lambda: code(agent) == 503, "503")
    began = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    equal(agent.end(), 0, "exit status")
    check(time.monotonic() - began < 1 * BUSY, "it took %.1f s", time.monotonic() - began)


def shutting_down():
    node = obj.node()
    node["status"]["conditions"] = [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "node is shutting down"}]
    return node


def test_node_shutdown(lab):
    """The kubelet says so through the API server, in either form; whoever says drain stop is believed."""
    server = lab.serve(ApiServer(lab.node, obj.node(), *local_service()))
    agent = labs.Agent(lab, lab.node, [], clientConnection={"kubeconfig": kubeconfig(lab.folder, server.url)})
    lab.agents.append(agent)

    def is_(state, status):
        wait(lambda: (body(agent, "/agent")[1].get("state"), code(agent), code(agent, "/livez")) == (state, status, 200), state)

    for protobuf in (False, True):
        agent.stop(signal.SIGKILL)
        server.quirks.protobuf = protobuf
        agent.start().ready()
        is_("Ready", 200)
        server.put(shutting_down())
        is_("Stopping", 503)
        equal(code(agent, port=PORT), 200, "the Service's port: its endpoints serve on")
        server.put(obj.node())
        is_("Ready", 200)
        server.put(shutting_down())
        is_("Stopping", 503)
        equal(lab.command("drain", "stop", "--socket", agent.socket).returncode, 0, "drain stop")
        is_("Ready", 200)
        server.put(obj.node())
        equal(lab.command("drain", "start", "--socket", agent.socket).returncode, 0, "drain start")
        server.put(shutting_down())
        server.put(obj.node())
        time.sleep(0.2)  # time in which a mistake would show
        is_("Stopping", 503)


def test_C_10_disabled_while_it_runs(lab):
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.2"]))
    aks = os.path.join(lab.folder, "aks.json")
    with open(aks, "w") as f:
        f.write('{"mode":"NFTABLES"}')
    agent = labs.Agent(lab, lab.node, lab.objects, proxylet={"cleanupDrainSeconds": 3, "cleanupMaxSeconds": 40})
    agent.stop(signal.SIGKILL)
    agent.argv += ["--kube-proxy-config", aks]
    lab.agents.append(agent.start())
    agent.ready()
    flows = [traffic.Connection(lab.ext, "10.96.0.10", 80) for _ in range(20)]
    with open(aks, "w") as f:
        f.write('{"enabled":false}')
    wait(lambda: code(agent) == 503, "503, while it waits")
    equal(body(agent)[1]["state"], "Stopping", "state")
    check(isinstance(traffic.ask(lab.ext, "10.96.0.10", 80), tuple), "the rules are there while it waits")
    equal(agent.end(), 0, "exit status")
    check('"proxylet cleanup --wait --max-seconds 40"' in agent.log(), "how the rest goes: %s", agent.log())
    equal((code(agent), code(agent, port=SHARED)), (0, 0), "the ports")
    check(not isinstance(traffic.ask(lab.ext, "10.96.0.10", 80, timeout=0.5), tuple), "new connections are served")
    for _ in range(int(float(os.environ.get("FLOW_SECONDS", 0.6)) * 5)):
        check(all(f.ping() for f in flows), "a flow broke")
        time.sleep(0.2)
    for f in flows:
        f.close()


def test_cleanup_waits(lab):
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.2"]))
    agent = lab.run().ready()
    flow = traffic.Connection(lab.ext, "10.96.0.10", 80)
    agent.stop()
    began = time.monotonic()
    p = lab.command("cleanup", "--wait", "--max-seconds", "1")
    equal(p.returncode, 0, p.stderr)
    check(0.9 < time.monotonic() - began < DEADLINE, "it took %.1f s", time.monotonic() - began)
    for family in ("ip", "ip6"):
        equal((nft.raw(lab.node, family), nft.raw(lab.node, family, "proxylet-residual")), ([], []), "tables of " + family)
    flow.close()


# --- the relay: B-30 ---

class Target(http.server.BaseHTTPRequestHandler):
    """What stands for kube-proxy; server.how says how it behaves."""

    protocol_version = "HTTP/1.1"
    timeout = 10

    def log_message(self, *args):
        pass

    def do_GET(self):
        how, headers = self.server.how, dict(self.headers.items())
        self.server.seen.append((self.command, self.path, headers))
        if how == "hangs":
            time.sleep(4)
            self.close_connection = True
            return
        if how == "nonsense":
            self.wfile.write(b"SSH-2.0-x\r\n\r\n")
            self.close_connection = True
            return
        text = b"body of " + self.path.encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/x-target")
        if how == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            text = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
        elif how == "until closed":
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_HEAD = do_GET


def target(lab, port=10256):
    with lab.node:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Target)
    server.daemon_threads = True
    server.how, server.status, server.seen = "well", 200, []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def relay(lab, **more):
    agent = labs.Agent(lab, lab.node, [], proxylet={"health": {"relayTarget": "127.0.0.1"}}, **more)
    lab.agents.append(agent)
    wait(lambda: agent.get("/healthz", SHARED)[0], "the relay's port")
    return agent


def talk(lab, data, port=SHARED, n_answers=1):
    """Raw bytes to the relay, and all it says until so many bodies are there."""
    with lab.ext:
        s = socket.create_connection(("192.0.2.1", port), DEADLINE)
    s.sendall(data)
    got = b""
    while got.count(b"body of") < n_answers:
        more = s.recv(4096)
        if not more:
            break
        got += more
    s.close()
    return got.decode()


def test_B_30_relay(lab):
    agent = relay(lab)
    began = time.monotonic()
    equal(code(agent, port=SHARED), 502, "target down")
    check(time.monotonic() - began < 1 * BUSY, "502 took %.1f s", time.monotonic() - began)
    server = target(lab)
    rows = [  # how the target answers, its status, the relay's, the body
        ("well", 503, 503, "body of /healthz?x=1"), ("well", 200, 200, "body of /healthz?x=1"),
        ("chunked", 200, 200, "body of /healthz?x=1"), ("until closed", 404, 404, "body of /healthz?x=1"),
        ("nonsense", 200, 502, "502 Bad Gateway\n"),
    ]
    for how, status, want, text in rows:
        server.how, server.status = how, status
        got = agent.get("/healthz?x=1", SHARED, "192.0.2.1")
        equal((got[0], got[2]), (want, text), "a target that answers %s with %d" % (how, status))
        check(want == 502 or got[1]["Content-Type"] == "application/x-target", "headers %s", got[1])
    server.how, server.status, server.seen = "well", 200, []
    header = b"PROXY TCP4 198.51.100.22 10.0.0.1 35646 443\r\n"
    first = b"GET /a?b HTTP/1.1\r\nHost: probe.example:1\r\n\r\n"
    text = talk(lab, header + first + b"HEAD /c HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /d HTTP/1.1\r\nHost: y\r\n\r\n", n_answers=2)
    equal((text.count("HTTP/1.1 200 OK\r\n"), text.count("body of"), text.endswith("body of /d")), (3, 2, True), "answers in order")
    equal([(m, p) for m, p, _ in server.seen], [("GET", "/a?b"), ("HEAD", "/c"), ("GET", "/d")], "what reached the target")
    sent = server.seen[0][2]
    equal((sent["Host"], sent["X-Forwarded-For"], sent["Connection"]), ("probe.example:1", "192.0.2.100", "close"), "its headers")
    equal(text.count("Content-Length: 10\r\n"), 2, "lengths of HEAD and GET /d in %s" % text)
    equal(agent.get("/x", MAIN)[2], "body of /x", "10256 is the target's own")
    equal(nft.raw(lab.node), [], "tables")
    check("Bad Request" in talk(lab, b"GET / HTTP/1.1\r\n\r\n", n_answers=9), "a bad request is not relayed")
    equal(agent.get("/status", 10249)[0], 0, "no metrics port")
    server.shutdown()
    server.server_close()


def test_B_30_slow_target(lab):
    server = target(lab)
    agent = relay(lab)
    server.how = "hangs"
    slow = []

    def ask():
        began = time.monotonic()
        with agent.ns:
            slow.append((obj.http_get("192.0.2.1", SHARED, "/slow")[0], time.monotonic() - began))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for t in threads:
        t.start()
    wait(lambda: sum(p == "/slow" for _, p, _ in server.seen) == 5, "the slow requests reach the target")
    server.how = "well"
    took = []
    for _ in range(50):
        began = time.monotonic()
        equal(code(agent, port=SHARED), 200, "another request meanwhile")
        took.append(time.monotonic() - began)
    for t in threads:
        t.join()
    check(all(status == 502 and 2.8 < seconds < 3.6 * BUSY for status, seconds in slow), "slow ones: %s", slow)
    check(statistics.median(took) < 0.05 * BUSY, "others took %.0f ms", 1000 * statistics.median(took))
    print("     502 after %.2f s; meanwhile %.1f ms" % (slow[0][1], 1000 * statistics.median(took)))
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    harness.main(globals())
