"""The agent under an API server: cold start, changes, bursts, memory, idle time.

The server is that of tests/judge/load.py (WatchList, plain HTTP) with live watches of both collections, in JSON or
protobuf, encoded before the clock runs; times are taken as load.py takes them: an event written to the watch until
the kernel's commit notification.
"""
import http.server
import os
import re
import threading
import time
import urllib.parse

import fakeapi
import lab as labs
import load as judge_load
from harness import wait
from loads import CIDR, SERVICES, SLICES, api_objects, event

PATHS = (SERVICES, SLICES)
PROTOBUF = "application/vnd.kubernetes.protobuf;stream=watch"


def hear(commits, on):
    """Hear of commits, or no longer: whoever does, on the whole machine, makes each of them slower."""
    NETLINK, ADD, DROP, NFTABLES = 270, 1, 2, 7
    commits.sock.setsockopt(NETLINK, ADD if on else DROP, NFTABLES)


class Handler(judge_load.Handler):
    """Live watches of Services, too, and of whoever asks again."""

    disable_nagle_algorithm = True     # as every Go server

    def do_GET(self):
        url, server = urllib.parse.urlsplit(self.path), self.server
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path not in PATHS:
            return super().do_GET()
        if "watch" not in query or (server.protobuf and "protobuf" not in self.headers.get("Accept", "")):
            return self.reply(406, {})      # what is measured here asks otherwise
        kind, api = fakeapi.KINDS[url.path]
        self.send_response(200)
        self.send_header("Content-Type", PROTOBUF if server.protobuf else "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if query.get("sendInitialEvents") == "true":
            items = server.initial[url.path]
            for at in range(0, len(items), 200):
                self.chunk(b"".join(items[at:at + 200]))
            self.chunk(event("BOOKMARK", {"kind": kind[:-4], "apiVersion": api, "metadata": {
                "resourceVersion": "1000000", "annotations": {"k8s.io/initial-events-end": "true"}}}, server.protobuf))
        server.watchers[url.path] = self
        while not server.stopping:
            time.sleep(0.1)


class Session:
    """One agent in a bare node with its server. With .start() the clock runs."""

    def __init__(self, lab, load, commits=True, protobuf=False):
        self.lab, self.load, self.protobuf = lab, load, protobuf
        self.ns = lab.bare_node()
        with self.ns:
            self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            self.commits = judge_load.Commits() if commits else None
        self.server.daemon_threads, self.server.block_on_close = True, False
        self.server.objects, self.server.watchers, self.server.stopping, self.server.encoded = api_objects(), {}, False, {}
        self.server.initial, self.server.protobuf = load.collections(protobuf), protobuf
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.agent = None

    def start(self, seconds=120):
        """-> seconds from the start of the process to 200 on /healthz"""
        import apiserver
        config = apiserver.kubeconfig(self.lab.folder, "http://127.0.0.1:%d" % self.server.server_address[1],
                                      name="kubeconfig-%d" % next(labs.SERIAL))
        began = time.monotonic()
        self.agent = ApiAgent(self.lab, self.ns, config)
        self.lab.agents.append(self.agent)
        self.agent.ready(seconds)
        took = time.monotonic() - began
        wait(lambda: len(self.server.watchers) == len(PATHS), "both watches", 20)
        if self.commits and not self.commits.is_alive():
            self.commits.listen()
        return took

    def close(self):
        if self.commits and self.commits.is_alive():
            hear(self.commits, False)    # its thread lives on
        if self.agent:
            self.agent.stop()
        self.server.stopping = True
        self.server.shutdown()
        self.server.server_close()
        self.ns.close()
        self.lab.namespaces.remove(self.ns)

    # --- events and their commits ---

    def send(self, path, data):
        self.server.watchers[path].chunk(data)

    def event(self, kind, o):
        return event(kind, o, self.protobuf)

    def first_commit(self, path, data, seconds=10.0):
        """-> milliseconds from the event to the next commit"""
        times = self.commits.times
        seen, sent = len(times), time.monotonic()
        self.send(path, data)
        wait(lambda: len(times) > seen, "a commit", seconds, every=0.0002)
        return 1000 * (times[seen] - sent)

    def last_commit(self, path, data, quiet=0.5, seconds=30.0):
        """-> milliseconds from the events to the last commit, after which nothing comes for a while"""
        times = self.commits.times
        seen, sent = len(times), time.monotonic()
        self.send(path, data)
        wait(lambda: len(times) > seen and time.monotonic() > times[-1] + quiet, "commits to end", seconds, every=0.02)
        return 1000 * (times[-1] - sent)

    def replace_one(self):
        return self.first_commit(SLICES, self.event("MODIFIED", self.load.replace()))

    def replace_unseen(self, count, gap):
        """Changes while nobody hears of commits: the kernel tells within the commit, and whoever hears takes a processor."""
        hear(self.commits, False)
        for _ in range(count):
            self.send(SLICES, self.event("MODIFIED", self.load.replace()))
            time.sleep(gap)
        hear(self.commits, True)

    def burst(self, count):
        data = b"".join(self.event("MODIFIED", self.load.replace(i % self.load.services)) for i in range(count))
        return self.last_commit(SLICES, data)

    def add_services(self, numbers):
        """The slices first: without their Services they change nothing, so that the Services are one event."""
        pairs = [self.load.add(k) for k in numbers]
        self.send(SLICES, b"".join(self.event("ADDED", s) for _, s in pairs))
        time.sleep(0.1)
        data = b"".join(self.event("ADDED", o) for o, _ in pairs)
        return self.first_commit(SERVICES, data) if len(pairs) == 1 else self.last_commit(SERVICES, data)

    def flood(self, rate, seconds):
        """Changes at a steady rate. -> (ms until the kernel had the latest, % of a processor meanwhile, changes, commits)

        The first two of each third. A commit holds all that was there when it began, so a change is in the second one
        after it at the latest.
        """
        events = [self.event("MODIFIED", self.load.replace()) for _ in range(int(rate * seconds) // 3 * 3)]
        sent, marks, seen = [], [self.mark()], len(self.commits.times)
        for k, data in enumerate(events):
            pause = marks[0][0] + k / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            sent.append(time.monotonic())
            self.send(SLICES, data)
            if len(sent) % (len(events) // 3) == 0:
                marks.append(self.mark())
        wait(lambda: self.commits.times[-1] >= sent[-1] and time.monotonic() > self.commits.times[-1] + 0.2, "the last commit", 10)
        commits = self.commits.times[seen:]
        return [latest_ms(part, commits) for part in thirds(sent)], shares(marks), len(events), len(commits)

    def idle(self, seconds):
        """-> % of a processor while nothing changes, in each third of the time"""
        marks = [self.mark()]
        for _ in range(3):
            time.sleep(seconds / 3)
            marks.append(self.mark())
        return shares(marks)

    def mark(self):
        return time.monotonic(), self.agent.cpu_seconds()


def thirds(values):
    n = len(values) // 3
    return values[:n], values[n:2 * n], values[2 * n:]


def shares(marks):
    """% of a processor from each mark to the next"""
    return [100 * (b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(marks, marks[1:])]


def latest_ms(sent, commits):
    at, worst = 0, 0.0
    for t in sent:
        while at < len(commits) and commits[at] < t:
            at += 1
        worst = max(worst, commits[min(at + 1, len(commits) - 1)] - t)
    return 1000 * worst


class ApiAgent(labs.Agent):
    def __init__(self, lab, ns, kubeconfig):
        super().__init__(lab, ns, [], clientConnection={"kubeconfig": kubeconfig}, clusterCIDR=CIDR)

    def memory(self):
        """-> (resident MB, peak MB)"""
        stats = judge_load.process_stats(self.pid)
        return stats["rss_mb"], stats["peak_mb"]

    def cpu_seconds(self):
        """To the nanosecond: the ticks of stat are 10 ms."""
        total = 0
        for task in os.listdir("/proc/%d/task" % self.pid):
            with open("/proc/%d/task/%s/schedstat" % (self.pid, task)) as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def histogram(self, name="proxylet_change_duration_seconds", family="IPv4"):
        """-> {upper bound: how many up to it}"""
        body = self.get("/metrics", 10249)[2]
        pattern = r'^%s_bucket\{.*\} (\d+)$' % name
        out = {}
        for line in body.splitlines():
            if re.match(pattern, line) and 'ip_family="%s"' % family in line:
                out[float(re.search(r'le="([^"]+)"', line).group(1))] = int(line.rsplit(" ", 1)[1])
        return out

    def metric(self, name):
        for line in self.get("/metrics", 10249)[2].splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        return None


def quantile(before, after, q):
    """Of what came between two readings of a histogram, linear within a bucket. None: nothing came."""
    counts = [(bound, after[bound] - before.get(bound, 0)) for bound in sorted(after)]
    total = counts[-1][1]
    if not total:
        return None
    low, below = 0.0, 0
    for bound, upto in counts:
        if upto >= q * total:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (q * total - below) / max(1, upto - below)
        low, below = bound, upto
    return low
