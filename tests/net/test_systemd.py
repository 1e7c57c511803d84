#!/usr/bin/env python3
"""What a supervisor of systemd's kind is told and keeps: NOTIFY_SOCKET, WATCHDOG_USEC, FDSTORE and LISTEN_FDS."""
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import objects as obj
from apiserver import kubeconfig
from harness import Skip, check, equal, wait
from lab import NODE_IP, Agent

CHECK_PORT = 31003
WATCHDOG_MS = 300
FIXED = ["main", "main", "metrics", "shared", "shared"]


class Supervisor:
    """The service manager's end of the notify socket."""

    def __init__(self, lab, where):
        self.ns, self.where, self.said, self.kept = lab.node, where, [], []
        with lab.node:  # where abstract names are
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + where[1:] if where[0] == "@" else where)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            data, fds, _, _ = socket.recv_fds(self.sock, 4096, 16)
            text = data.decode()
            self.said.append(text)
            name = text.partition("FDNAME=")[2]
            if text.startswith("FDSTORE=1"):
                self.kept += [(name, fd) for fd in fds]
            elif text.startswith("FDSTOREREMOVE=1"):
                for _, fd in [k for k in self.kept if k[0] == name]:
                    os.close(fd)
                self.kept = [k for k in self.kept if k[0] != name]

    def wait(self, text, times=1):
        wait(lambda: sum(s.startswith(text) for s in self.said) >= times, "%s x %d" % (text, times))

    def catch_up(self):
        """Hear what was said until now: a word of our own comes after it."""
        mark = "MARK %d" % len(self.said)
        with self.ns:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with s:
            s.sendto(mark.encode(), self.sock.getsockname())
        self.wait(mark)

    def names(self):
        return sorted(name for name, _ in self.kept)


class Service(Agent):
    """An agent as the supervisor starts it, with the sockets it keeps."""

    supervisor = None

    def start(self):
        kept = [(name, fcntl.fcntl(fd, fcntl.F_DUPFD, 100)) for name, fd in self.supervisor.kept]
        env = dict(os.environ, NOTIFY_SOCKET=self.supervisor.where, WATCHDOG_USEC=str(WATCHDOG_MS * 1000))
        if kept:
            env.update(LISTEN_FDS=str(len(kept)), LISTEN_FDNAMES=":".join(name for name, _ in kept))

        def place():
            for i, (_, fd) in enumerate(kept):
                os.dup2(fd, 3 + i, inheritable=True)

        with open(self.logname, "a") as log, self.ns:
            self.logged, self.is_judged = log.tell(), False
            argv = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"] + self.argv
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
                                            preexec_fn=place, close_fds=False)
        for _, fd in kept:
            os.close(fd)
        return self


def start(lab, where):
    lab.put("node.json", obj.node())
    lab.put("s3.json", obj.service("s3", "10.96.0.13", vips=["203.0.113.3"], externalTrafficPolicy="Local",
                                   healthCheckNodePort=CHECK_PORT), obj.slice_of("s3", ["10.244.1.2"]))
    Service.supervisor = Supervisor(lab, where)
    lab.agents.append(Service(lab, lab.node, lab.objects))
    return lab.agents[-1], Service.supervisor


def test_what_is_told(lab):
    agent, supervisor = start(lab, "@pxl-notify-%d" % os.getpid())
    agent.ready()
    supervisor.wait("WATCHDOG=1", 3)
    wait(lambda: supervisor.names() == FIXED, "what is kept while it runs")
    said = supervisor.said
    check(said.index("READY=1\nSTATUS=the rules are in the kernel") < said.index("FDSTORE=1\nFDNAME=main"), "order: %s", said)
    with open(agent.config) as f:
        text = f.read()
    with open(agent.config, "w") as f:
        f.write(text.replace('"mode"', '"healthzBindAddress": "127.0.0.1:10257", "mode"'))
    supervisor.wait("RELOADING=1\nMONOTONIC_USEC=")
    wait(lambda: supervisor.names() == ["main", "metrics", "shared", "shared"], "what is kept with one address of main")
    agent.process.send_signal(signal.SIGTERM)
    supervisor.wait("STOPPING=1")
    equal(agent.end(), 0, "exit status")


def test_ready_when_the_rules_are(lab):
    """A path, and objects that cannot be had: nothing is said before they can."""
    where = os.path.join(lab.folder, "notify")
    Service.supervisor = supervisor = Supervisor(lab, where)
    agent = Service(lab, lab.node, [], clientConnection={"kubeconfig": kubeconfig(lab.folder, "http://127.0.0.1:1")})
    lab.agents.append(agent)
    supervisor.wait("WATCHDOG=1", 2)
    check(not any(s.startswith("READY=1") for s in supervisor.said), "ready without rules: %s", supervisor.said)
    equal(agent.stop(), 0, "exit status")


def test_probes_wait_for_a_restart(lab):
    agent, supervisor = start(lab, "@pxl-notify-%d" % os.getpid())
    agent.ready()
    wait(lambda: agent.get(port=CHECK_PORT, address=NODE_IP)[0] == 200, "the health port of s3")
    ports = [("127.0.0.1", 10256), ("127.0.0.1", 10356), (NODE_IP, CHECK_PORT), ("127.0.0.1", 10249)]
    for sig in (signal.SIGTERM, signal.SIGKILL):
        agent.stop(sig)
        wait(lambda: len(supervisor.kept) >= (6 if sig == signal.SIGTERM else 5), "what is kept arrives")
        kept = ports if sig == signal.SIGTERM else [p for p in ports if p[1] != CHECK_PORT]
        with lab.node:
            waiting = [socket.create_connection(p, 60) for p in kept]  # nobody is there to answer
        for s in waiting:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        agent.start().ready()
        equal([s.recv(65536)[:15] for s in waiting], [b"HTTP/1.1 200 OK"] * len(kept), "answers after %s" % sig.name)
        wait(lambda: supervisor.names() == FIXED, "what is kept after %s" % sig.name)
        for s in waiting:
            s.close()
        check("cannot listen" not in agent.log(), "a socket was not used")


def thread_of(agent, name):
    for tid in os.listdir("/proc/%d/task" % agent.pid):
        with open("/proc/%d/task/%s/comm" % (agent.pid, tid)) as f:
            if f.read().strip() == name:
                return int(tid)
    raise harness.Failure("no thread %s" % name)


class Stopped:
    """One thread of a process, held by ptrace."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, tid):
        self.tid = tid
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        if self.libc.ptrace(self.SEIZE, tid, None, None):
            raise Skip("no ptrace here: %s" % os.strerror(ctypes.get_errno()))
        self.libc.ptrace(self.INTERRUPT, tid, None, None)
        os.waitpid(tid, 0x40000000)  # __WALL

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """It goes on; also where the test has failed, or the process could not even be killed."""
        self.libc.ptrace(self.DETACH, self.tid, None, None)


def test_watchdog_tells_the_truth(lab):
    agent, supervisor = start(lab, "@pxl-notify-%d" % os.getpid())
    agent.ready()
    supervisor.wait("WATCHDOG=1", 2)
    for name in ("health", "dataplane"):
        line = "the %s thread is stuck" % name
        seen = agent.log().count(line)  # a busy machine can make it look so by itself
        with Stopped(thread_of(agent, name)):
            wait(lambda: agent.log().count(line) > seen, "the log says so")
            supervisor.catch_up()
            before = supervisor.said.count("WATCHDOG=1")
            time.sleep(WATCHDOG_MS * 1.5 / 1000)  # a supervisor would have lost its patience
            equal(supervisor.said.count("WATCHDOG=1"), before, "pings without the %s thread" % name)
        supervisor.wait("WATCHDOG=1", before + 2)


if __name__ == "__main__":
    harness.main(globals())
