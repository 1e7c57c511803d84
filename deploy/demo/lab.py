"""A small cluster's network in namespaces: a client outside, nodes, and pods behind each node.

    client 192.0.2.100 ---+--- node-1 192.0.2.1 --- pod-1a 10.244.1.11, pod-1b 10.244.1.12
     (br0, the wire)      +--- node-2 192.0.2.2 --- pod-2a 10.244.2.11, pod-2b 10.244.2.12

IPv6 likewise: 2001:db8::N, fd00:10:244:N::11. Pods are routed, not bridged, so that every packet
between two of them passes the node's rules. Names carry the process id: several labs may stand at once.
Needs root and iproute2. Sockets are made by this process inside a namespace ('with ns:') and stay there.
"""
import ctypes
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
CLIENT_IP, CLIENT_IP6 = "192.0.2.100", "2001:db8::100"
CLUSTER_CIDR = "10.244.0.0/16,fd00:10:244::/48"
SYSCTLS = ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1", "ipv4.conf.all.rp_filter=0", "ipv4.conf.default.rp_filter=0",
           "ipv6.conf.all.accept_dad=0", "ipv6.conf.default.accept_dad=0", "ipv4.conf.all.send_redirects=0",
           "ipv4.conf.default.send_redirects=0")


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def plain(address):
    return address[7:] if address.startswith("::ffff:") else address


class Namespace:
    """A network namespace. 'with ns:' moves the calling thread into it and back; not to be nested."""

    def __init__(self, label):
        self.label, self.name = label, "pxl-demo-%d-%s" % (os.getpid(), label)
        self.home = threading.local()

    def create(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link set lo up")
        with self:
            for line in SYSCTLS:
                self.sysctl(*line.split("="))

    @staticmethod
    def sysctl(path, value):
        try:
            with open("/proc/sys/net/" + path.replace(".", "/"), "w") as f:
                f.write(value)
        except FileNotFoundError:
            pass  # a kernel without IPv6: what needs it will tell

    def ip(self, *commands):
        """ip commands, one a line."""
        subprocess.run(["ip", "-n", self.name, "-b", "-"], input="\n".join(commands) + "\n", text=True, check=True)

    def __enter__(self):
        self.home.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.switch(os.open("/run/netns/" + self.name, os.O_RDONLY))
        return self

    def __exit__(self, *_):
        self.switch(self.home.fd)

    @staticmethod
    def switch(fd):
        r = LIBC.setns(fd, CLONE_NEWNET)
        os.close(fd)
        if r:
            raise OSError(ctypes.get_errno(), "setns")

    def socket(self, family, kind):
        with self:
            return socket.socket(family, kind)

    def spawn(self, argv, **more):
        with self:
            return subprocess.Popen(argv, **more)

    def run(self, *argv):
        with self:
            subprocess.run(argv, check=True)

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL)


class Servers:
    """All pods' servers on one thread. HTTP and UDP alike answer 'NAME PEER': who answers, and whom it sees."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.wake, woken = socket.socketpair()
        self.selector.register(woken, selectors.EVENT_READ)
        self.thread = None

    def add(self, ns, name, http_port, udp_port):
        for kind, port, handler in ((socket.SOCK_STREAM, http_port, self.accept), (socket.SOCK_DGRAM, udp_port, self.datagram)):
            s = ns.socket(socket.AF_INET6, kind)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                s.listen(128)
            self.selector.register(s, selectors.EVENT_READ, (handler, name))

    def start(self):
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    return
                handler, name = key.data
                try:
                    handler(key.fileobj, name)
                except OSError:
                    pass  # the client has gone

    def accept(self, listener, name):
        c, _ = listener.accept()
        self.selector.register(c, selectors.EVENT_READ, (self.answer, name))

    def answer(self, c, name):
        try:
            if c.recv(4096):
                body = "%s %s" % (name, plain(c.getpeername()[0]))
                c.sendall(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)).encode())
        finally:
            self.selector.unregister(c)
            c.close()

    @staticmethod
    def datagram(s, name):
        _, peer = s.recvfrom(2048)
        s.sendto(("%s %s" % (name, plain(peer[0]))).encode(), peer)

    def close(self):
        self.wake.send(b"x")
        if self.thread:
            self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.wake.close()


class Node:
    """A node's namespace, its pods, and at most one agent."""

    def __init__(self, lab, number):
        self.lab, self.number, self.name = lab, number, "node-%d" % number
        self.address, self.address6 = "192.0.2.%d" % number, "2001:db8::%d" % number
        self.ns = lab.namespace(self.name)
        self.process, self.pods = None, {}
        self.logname = os.path.join(lab.folder, self.name + ".log")
        lab.client.ip("link add %s type veth peer name eth0 netns %s" % (self.name, self.ns.name),
                      "link set %s master br0 up" % self.name)
        # 10.244.N.1 is the gateway the pods see; on lo it answers on every pod's wire
        self.ns.ip("link set eth0 up", "addr add %s/24 dev eth0" % self.address, "addr add %s/64 dev eth0 nodad" % self.address6,
                   "route add default via " + CLIENT_IP, "route add ::/0 via " + CLIENT_IP6,
                   "addr add 10.244.%d.1/32 dev lo scope link" % number)

    def add_pod(self, label, host):
        name = "pod-%d%s" % (self.number, label)
        address, address6 = "10.244.%d.%d" % (self.number, host), "fd00:10:244:%d::%d" % (self.number, host)
        ns = self.pods[name] = self.lab.namespace(name)
        self.ns.ip("link add %s type veth peer name eth0 netns %s" % (name, ns.name), "link set %s up" % name,
                   "addr add fe80::1/64 dev %s nodad" % name,
                   "route add %s dev %s src %s" % (address, name, self.address),
                   "route add %s dev %s src %s" % (address6, name, self.address6))
        ns.ip("link set eth0 up", "addr add %s/32 dev eth0" % address, "addr add %s/128 dev eth0 nodad" % address6,
              "route add default via 10.244.%d.1 dev eth0 onlink" % self.number, "route add ::/0 via fe80::1 dev eth0")
        self.lab.servers.add(ns, name, 8080, 5353)

    def reach(self, other):
        self.ns.ip("route add 10.244.%d.0/24 via %s" % (other.number, other.address),
                   "route add fd00:10:244:%d::/64 via %s" % (other.number, other.address6))

    def run(self, agent, config, objects):
        """Start 'proxylet run' here."""
        argv = [agent, "run", "--config", config, "--objects", objects, "--hostname-override", self.name, "--socket", ""]
        with open(self.logname, "ab") as log:
            self.process = self.ns.spawn(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self):
        """What its agents have said so far."""
        if not os.path.exists(self.logname):
            return ""
        with open(self.logname, errors="replace") as f:
            return f.read()

    def stop(self, sig=signal.SIGTERM):
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Lab:
    """pods: labels of the pods on each node. Use as 'with Lab() as lab:'; takes itself down in any case."""

    def __init__(self, nodes=2, pods="ab"):
        self.namespaces, self.nodes, self.servers = [], [], Servers()
        self.folder = tempfile.mkdtemp(prefix="pxl-demo-")
        try:
            self.build(nodes, pods)
        except BaseException:
            self.close()
            raise

    def namespace(self, label):
        ns = Namespace(label)
        self.namespaces.append(ns)  # first, so that an interrupt at any point leaves nothing behind
        ns.create()
        return ns

    def build(self, nodes, pods):
        self.client = self.namespace("client")
        self.client.ip("link add br0 type bridge", "link set br0 up", "addr add %s/24 dev br0" % CLIENT_IP,
                       "addr add %s/64 dev br0 nodad" % CLIENT_IP6)
        self.nodes = [Node(self, n + 1) for n in range(nodes)]
        for node in self.nodes:
            for i, label in enumerate(pods):
                node.add_pod(label, 11 + i)
            for other in self.nodes:
                if other is not node:
                    node.reach(other)
        self.servers.start()

    def pod(self, name):
        return next(node.pods[name] for node in self.nodes if name in node.pods)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Not to be disturbed: signals wait, for the programs called here as well, which inherit that."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        try:
            self.take_down()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def take_down(self):
        for node in self.nodes:
            node.stop()
        self.servers.close()
        for ns in self.namespaces:
            ns.close()
        shutil.rmtree(self.folder, ignore_errors=True)
