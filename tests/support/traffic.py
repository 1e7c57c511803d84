"""Servers that say who they are and whom they see, and clients that tell refusal from silence."""
import collections
import errno
import selectors
import socket
import struct
import threading
import time

from harness import check, wait

REFUSED, SILENT, UNREACHABLE, RESET, REPEATED = "refused", "silent", "unreachable", "reset", "only when asked again"
PATIENCE = 20.0  # seconds; who expects silence gives less,
POLLING = 1.0    # and so does who asks again and again, until it is another answer than silence


def plain(address):
    return address[7:] if address.startswith("::ffff:") else address


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class TcpServer:
    """Every address of a namespace unless told, one port: greets with 'ME PEER\\n', then echoes."""

    def __init__(self, ns, port=8080, address="::"):
        with ns:
            self.listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((address, port))
            self.listener.listen(1024)
        self.selector = selectors.DefaultSelector()
        self.wake, self.woken = socket.socketpair()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.woken, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.woken:
                    return
                if key.fileobj is self.listener:
                    self.greet()
                else:
                    self.echo(key.fileobj)

    def greet(self):
        try:
            c, peer = self.listener.accept()
            c.sendall(("%s %s\n" % (plain(c.getsockname()[0]), plain(peer[0]))).encode())
        except OSError:
            return
        self.selector.register(c, selectors.EVENT_READ)

    def echo(self, c):
        try:
            data = c.recv(65536)
            if data:
                c.sendall(data)
                return
        except OSError:
            pass
        self.selector.unregister(c)
        c.close()

    def close(self):
        self.wake.send(b"x")
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.wake.close()


class UdpServer:
    """One address: answers each datagram with 'ME PEER', and with what it said."""

    def __init__(self, ns, address, port=8080):
        self.address = address
        with ns:
            self.sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
            self.sock.bind((address, port))
        self.stopping = False
        self.sock.settimeout(0.1)
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while not self.stopping:
            try:
                said, peer = self.sock.recvfrom(2048)
                self.sock.sendto(("%s %s " % (self.address, peer[0])).encode() + said, peer)
            except OSError:
                pass  # nothing came, or the client has gone

    def close(self):
        self.stopping = True
        self.thread.join()
        self.sock.close()


def problem(e):
    if isinstance(e, TimeoutError):
        return SILENT
    if e.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM):
        return UNREACHABLE
    return REFUSED if e.errno == errno.ECONNREFUSED else RESET


class Connection:
    """An open TCP connection. me, peer: what the server said about itself and us."""

    def __init__(self, ns, address, port, source=None, timeout=PATIENCE):
        with ns:
            self.sock = socket.socket(family_of(address), socket.SOCK_STREAM)
        try:
            self.sock.settimeout(timeout)
            if source:
                self.sock.bind((source, 0))
            self.sock.connect((address, port))
            self.me, self.peer = self.line().split()
        except BaseException:
            self.sock.close()
            raise

    def line(self):
        data = b""
        while not data.endswith(b"\n"):
            more = self.sock.recv(4096)
            if not more:
                raise ConnectionResetError(errno.ECONNRESET, "closed")
            data += more
        return data.decode()

    def is_first_time(self):
        """No packet of ours had to be sent again (tcpi_total_retrans): a slow machine does not lose any."""
        return struct.unpack_from("=I", self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0] == 0

    def ping(self, text="ping\n"):
        """True when it is still alive, end to end."""
        try:
            self.sock.sendall(text.encode())
            return self.line() == text
        except OSError:
            return False

    def close(self):
        self.sock.close()


def ask(ns, address, port, source=None, timeout=PATIENCE):
    """One connection. -> (endpoint, source it saw), or REFUSED, SILENT, UNREACHABLE, RESET"""
    try:
        c = Connection(ns, address, port, source, timeout)
    except OSError as e:
        return problem(e)
    c.close()
    return c.me, c.peer


def ask_once(ns, address, port, **more):
    """As ask(), and REPEATED where a SYN was lost, however long the answer may take otherwise."""
    try:
        c = Connection(ns, address, port, **more)
    except OSError as e:
        return problem(e)
    answer = (c.me, c.peer) if c.is_first_time() else REPEATED
    c.close()
    return answer


def ask_often(ns, address, port, times, **more):
    """-> set of what came back"""
    return {ask(ns, address, port, **more) for _ in range(times)}


def endpoints_of(answers):
    return {a[0] if isinstance(a, tuple) else a for a in answers}


class UdpClient:
    """Keeps its source port, as clients that never stop do."""

    def __init__(self, ns, address, port):
        with ns:
            self.sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
        self.sock.connect((address, port))
        self.asked = 0

    def ask(self, timeout=PATIENCE):
        """-> endpoint that answered this very question, or REFUSED, SILENT, ..."""
        deadline, self.asked = time.monotonic() + timeout, self.asked + 1
        try:
            self.sock.send(b"%d" % self.asked)
            while True:
                self.sock.settimeout(max(0.001, deadline - time.monotonic()))
                me, _, said = self.sock.recv(2048).decode().split()
                if int(said) == self.asked:
                    return me
        except OSError as e:
            return problem(e)

    def is_at(self, endpoint):
        """For polling: who is asked now may be gone, and say nothing."""
        return self.ask(POLLING) == endpoint

    def close(self):
        self.sock.close()


class Load(threading.Thread):
    """Calls once() so many times a second from a thread in a namespace, and counts what it says."""

    def __init__(self, ns, rate, once):
        super().__init__(daemon=True)
        self.ns, self.rate, self.once = ns, rate, once
        self.said, self.stopping = collections.Counter(), False
        self.start()

    def run(self):
        at = time.monotonic()
        with self.ns:
            while not self.stopping:
                self.said[self.once()] += 1
                at = max(at + 1 / self.rate, time.monotonic() - 1)  # behind by over a second: leave some out
                time.sleep(max(0, at - time.monotonic()))

    def let_through(self):
        """Whoever was on the way when this is called has arrived and been answered when it returns."""
        seen = self.said.total()
        wait(lambda: self.said.total() >= seen + 2, "new connections")

    def end(self):
        """-> how often it said what"""
        self.stopping = True
        self.join()
        return self.said


class Traffic:
    """New connections to each of the frontends at a steady rate, of which none may lose its SYN, and standing ones."""

    def __init__(self, ns, *frontends, rate=500):
        self.ns, self.began, self.wrong = ns, time.monotonic(), []
        self.standing = [Connection(ns, *frontend) for frontend in frontends for _ in range(4)]
        self.loads = [Load(ns, rate / len(frontends), lambda frontend=frontend: self.connect(*frontend)) for frontend in frontends]

    def connect(self, address, port):
        answer = ask_once(self.ns, address, port)
        if not isinstance(answer, tuple):
            self.wrong.append("%.2f s: %s:%d: %s" % (time.monotonic() - self.began, address, port, answer))

    def finish(self, what):
        """Nothing of it went wrong. -> number of new connections"""
        done = sum(load.end().total() for load in self.loads)
        dead = [c for c in self.standing if not c.ping()]
        for c in self.standing:
            c.close()
        print("     %s: %d new connections in %.1f s, %d failed, %d of %d standing ones broke" % (
            what, done, time.monotonic() - self.began, len(self.wrong), len(dead), len(self.standing)))
        check(not self.wrong, "%d of %d new connections failed, the first: %s", len(self.wrong), done, self.wrong[:3])
        check(not dead, "%d of %d standing connections broke", len(dead), len(self.standing))
        return done
