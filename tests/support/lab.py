"""A cluster's network in namespaces, and agents that run in it.

    ext ---- node ---- pod1     10.244.1.2  fd00:10:244:1::2    pods of this node
                  \\--- pod2     10.244.1.3  fd00:10:244:1::3
                   \\-- rem      10.244.2.0/24  fd00:10:244:2::/64: every pod of other nodes

ext has 192.0.2.100 and, as addresses of its own, 198.51.100.0/24; the node 192.0.2.1 (v6: 2001:db8::).
Sockets are made by the test's process inside a namespace ('with ns:') and stay there.
"""
import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import objects as obj

LIBC = ctypes.CDLL(None, use_errno=True)
NODE_IP, NODE_IP6 = "192.0.2.1", "2001:db8::1"
EXT_IP, EXT_IP6 = "192.0.2.100", "2001:db8::100"
PODS = {"pod1": ("10.244.1.2", "fd00:10:244:1::2"), "pod2": ("10.244.1.3", "fd00:10:244:1::3")}
CLUSTER_CIDR = "10.244.0.0/16,fd00:10:244::/48"
SERIAL = iter(range(1 << 30))
LAST_LINES = 40  # of each log, with a failure


def sh(*argv):
    p = subprocess.run(argv, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError("%s: %s" % (" ".join(argv), p.stderr.strip()))
    return p.stdout


def last_lines(what, text):
    lines = text.splitlines()
    left_out = "" if len(lines) <= LAST_LINES else ", the last %d of %d lines" % (LAST_LINES, len(lines))
    return "\n--- %s%s\n%s" % (what, left_out, "\n".join(line[:400] for line in lines[-LAST_LINES:]))


def without(what):
    """How to start an agent on a kernel that lacks something: see without.py. -> argv in front"""
    return [sys.executable, "-B", os.path.join(os.path.dirname(os.path.abspath(__file__)), "without.py"), what]


class AgentError(Exception):
    """The agent ended or never got ready; the log is shown with the failure."""


@contextlib.contextmanager
def one_at_a_time():
    """Of all programs here: those that make the first namespace at the same moment are in each other's way."""
    fd = os.open("/run", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class Namespace:
    """'with ns:' moves the calling thread into it. May be nested, also from several threads."""

    def __init__(self, label):
        self.name = "pxl-%d-%d-%s" % (os.getpid(), next(SERIAL), label)
        self.before = threading.local()
        with one_at_a_time():
            if os.path.exists("/run/netns/" + self.name):
                self.close()  # of a process that had our number, and was killed
            sh("ip", "netns", "add", self.name)
        with self:
            sh("ip", "link", "set", "lo", "up")
            for key in ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1", "ipv4.conf.all.rp_filter=0", "ipv4.conf.default.rp_filter=0",
                        "ipv6.conf.all.accept_dad=0", "ipv6.conf.default.accept_dad=0", "ipv4.icmp_ratelimit=0", "ipv6.icmp.ratelimit=0",
                        "ipv4.icmp_ratemask=0", "ipv6.icmp.ratemask=255",  # which all namespaces have one allowance for
                        "ipv4.conf.all.send_redirects=0", "ipv4.conf.default.send_redirects=0"):
                path, value = key.split("=")
                self.sysctl(path, value)

    def sysctl(self, path, value):
        try:
            with open("/proc/sys/net/" + path.replace(".", "/"), "w") as f:
                f.write(value)
        except OSError:
            pass  # a kernel without IPv6, say: the tests that need it will tell

    def __enter__(self):
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.before.stack = getattr(self.before, "stack", []) + [home]
        self.switch(os.open("/run/netns/" + self.name, os.O_RDONLY), close=True)
        return self

    def __exit__(self, *_):
        self.switch(self.before.stack.pop(), close=True)

    @staticmethod
    def switch(fd, close):
        r = LIBC.setns(fd, 0x40000000)
        if close:
            os.close(fd)
        if r:
            raise OSError(ctypes.get_errno(), "setns")

    def sh(self, *argv):
        with self:
            return sh(*argv)

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL)


def wire(a, a_dev, b, b_dev):
    """A veth pair between two namespaces."""
    a.sh("ip", "link", "add", a_dev, "type", "veth", "peer", "name", b_dev, "netns", b.name)
    for ns, dev in ((a, a_dev), (b, b_dev)):
        ns.sh("ip", "link", "set", dev, "addrgenmode", "none")  # no link-local addresses: they are random
        ns.sh("ip", "link", "set", dev, "up")


def give_node_addresses(ns, dev):
    ns.sh("ip", "addr", "add", NODE_IP + "/24", "dev", dev)
    ns.sh("ip", "addr", "add", NODE_IP6 + "/64", "dev", dev, "nodad")


class Agent:
    """One 'proxylet run' in a namespace."""

    def __init__(self, lab, ns, paths, before=(), **config):
        self.lab, self.ns = lab, ns
        # The machine's own snapshot is none of a test's business.
        config["proxylet"] = dict({"snapshot": {"path": ""}}, **config.get("proxylet", {}))
        self.config = os.path.join(lab.folder, "config-%d.yaml" % next(SERIAL))
        with open(self.config, "w") as f:
            json.dump(dict({
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
                "hostnameOverride": obj.NODE, "clusterCIDR": CLUSTER_CIDR,
                "conntrack": {"maxPerCore": 0},  # a limit that only the first namespace may set
            }, **config), f)  # JSON is YAML
        self.logname = self.config + ".log"
        self.socket = self.config + ".sock"
        self.argv = list(before) + [lab.agent, "run", "--config", self.config, "--socket", self.socket]
        for p in paths if isinstance(paths, (list, tuple)) else [paths]:
            self.argv += ["--objects", p]
        self.start()

    def start(self):
        with open(self.logname, "a") as log, self.ns:
            self.logged, self.is_judged = log.tell(), False
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self

    @property
    def pid(self):
        return self.process.pid

    def has_committed(self):
        return re.search("IPv4: (committed|nothing to change)", self.log()[self.logged:]) is not None

    def log(self):
        with open(self.logname, errors="replace") as f:
            return f.read()

    def get(self, path="/healthz", port=10256, address="127.0.0.1"):
        """-> (status, headers, body); status 0: nobody answers"""
        with self.ns:
            return obj.http_get(address, port, path)

    def status(self, *flags):
        """'proxylet status' about it. -> CompletedProcess"""
        return self.lab.command("status", "--socket", self.socket, *flags)

    def ready(self, seconds=60.0):
        """It answers 200, and has compared what is wanted with the kernel: a warm start answers before that."""
        deadline = time.monotonic() + seconds
        while self.get()[0] != 200 or not self.has_committed():
            if self.process.poll() is not None:
                raise AgentError("the agent ended with %s" % self.process.returncode)
            if time.monotonic() > deadline:
                raise AgentError("the agent is not ready after %g s" % seconds)
            time.sleep(0.005)
        return self

    def end(self, seconds=60.0):
        """Wait for it to end by itself. -> exit status, which is the test's to judge"""
        self.is_judged = True
        return self.process.wait(seconds)

    def stop(self, sig=signal.SIGTERM):
        """Whatever it ends with but 0, and the signal that nobody can catch, is a crash or a sanitizer's finding."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.end()
        if status and (sig, status) != (signal.SIGKILL, -signal.SIGKILL):
            raise AgentError("agent %d ended with %s" % (self.pid, status))
        return status

    def kill(self):
        """However it goes: the test is over."""
        self.process.kill()
        self.process.wait(60)


class Lab:
    def __init__(self, agent):
        self.agent, self.agents, self.namespaces, self.servers = agent, [], [], []
        self.folder = tempfile.mkdtemp(prefix="pxl-")
        self.objects = os.path.join(self.folder, "objects")
        os.mkdir(self.objects)
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def namespace(self, label):
        ns = Namespace(label)
        self.namespaces.append(ns)
        return ns

    def build(self):
        self.node, self.ext, self.rem = (self.namespace(n) for n in ("node", "ext", "rem"))
        wire(self.node, "eth0", self.ext, "eth0")
        give_node_addresses(self.node, "eth0")
        self.ext.sh("ip", "addr", "add", EXT_IP + "/24", "dev", "eth0")
        self.ext.sh("ip", "addr", "add", EXT_IP6 + "/64", "dev", "eth0", "nodad")
        self.ext.sh("ip", "route", "add", "local", "198.51.100.0/24", "dev", "lo")
        self.ext.sh("ip", "route", "add", "default", "via", NODE_IP)
        self.ext.sh("ip", "-6", "route", "add", "default", "via", NODE_IP6)
        self.node.sh("ip", "route", "add", "default", "via", EXT_IP)
        self.node.sh("ip", "-6", "route", "add", "default", "via", EXT_IP6)
        self.pods = {name: self.pod(name, *addresses) for name, addresses in PODS.items()}
        wire(self.node, "rem", self.rem, "eth0")
        self.attach(self.rem, "rem", "10.244.2.1", "fd00:10:244:2::1", "10.244.2.0/24", "fd00:10:244:2::/64")
        self.rem.sh("ip", "route", "add", "local", "10.244.2.0/24", "dev", "lo")
        self.rem.sh("ip", "-6", "route", "add", "local", "fd00:10:244:2::/64", "dev", "lo")

    def pod(self, name, ip, ip6):
        ns = self.namespace(name)
        wire(self.node, name, ns, "eth0")
        self.attach(ns, name, ip, ip6, ip + "/32", ip6 + "/128")
        return ns

    def attach(self, ns, dev, ip, ip6, cidr, cidr6):
        """Give a pod namespace its address and both sides their routes; the node is 169.254.1.1 to it."""
        mac = json.loads(self.node.sh("ip", "-j", "link", "show", dev))[0]["address"]
        ns.sh("ip", "addr", "add", ip + "/32", "dev", "eth0")
        ns.sh("ip", "addr", "add", ip6 + "/128", "dev", "eth0", "nodad")
        ns.sh("ip", "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
        ns.sh("ip", "route", "add", "default", "via", "169.254.1.1", "dev", "eth0", "src", ip)
        ns.sh("ip", "neigh", "add", "169.254.1.1", "lladdr", mac, "dev", "eth0")
        ns.sh("ip", "-6", "neigh", "add", "fe80::1", "lladdr", mac, "dev", "eth0")
        ns.sh("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0", "src", ip6)
        peer = json.loads(ns.sh("ip", "-j", "link", "show", "eth0"))[0]["address"]
        for family, target, net in (("-4", ip, cidr), ("-6", ip6, cidr6)):
            self.node.sh("ip", family, "neigh", "add", target, "lladdr", peer, "dev", dev)
            if net.split("/")[0] != target:
                self.node.sh("ip", family, "route", "add", target, "dev", dev)
                self.node.sh("ip", family, "route", "add", net, "via", target, "dev", dev)
            else:
                self.node.sh("ip", family, "route", "add", net, "dev", dev)

    def bare_node(self):
        """A second node with the same addresses and nothing behind them: to program something for comparison."""
        ns = self.namespace("bare")
        wire(ns, "eth0", ns, "nobody")
        give_node_addresses(ns, "eth0")
        return ns

    def put(self, name, *items, folder=None):
        """Write objects as one file of the objects folder, replacing it in one step. -> path"""
        path = os.path.join(folder or self.objects, name)
        hidden = os.path.join(os.path.dirname(path), "." + os.path.basename(path) + ".new")
        with open(hidden, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "List", "items": list(items)}, f)
        os.rename(hidden, path)
        return path

    def run(self, ns=None, paths=None, before=(), **config):
        agent = Agent(self, ns or self.node, paths or self.objects, before, **config)
        self.agents.append(agent)
        return agent

    def command(self, *argv, ns=None, env=None):
        """Another subcommand of the binary. -> CompletedProcess"""
        with ns or self.node:
            return subprocess.run([self.agent, *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, env=env)

    def end_agents(self):
        """Ask those that still run to end. No other may have ended unless the test asked it to, or waited for it."""
        for a in self.agents:
            if a.process.poll() is None:
                a.stop()
            elif not a.is_judged:
                raise AgentError("agent %d ended by itself with %s" % (a.pid, a.process.returncode))
            if "refused system call" in a.log():
                raise AgentError("the sandbox is too narrow for what agent %d does" % a.pid)

    def serve(self, server):
        self.servers.append(server)
        return server

    def logs(self):
        """The end of each: what led to the failure is there."""
        return "".join(last_lines("log of agent %d" % a.pid, a.log()) for a in self.agents)

    def close(self):
        """-> what could not be taken down, one after the other; the rest is"""
        steps = [a.kill for a in self.agents] + [thing.close for thing in self.servers + self.namespaces]
        wrong = []
        for step in steps:
            try:
                step()
            except Exception as e:
                wrong.append(repr(e))
        shutil.rmtree(self.folder, ignore_errors=True)
        return "; ".join(wrong)
