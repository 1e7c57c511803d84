#!/usr/bin/env python3
"""One Service that changes all the time costs the others nothing, and a flood of events no memory."""
import os
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import lab as labs
import nft
import objects as obj
from apiserver import ApiServer, event, kubeconfig
from harness import check, equal, wait

RATE = int(os.environ.get("FLAPS_PER_SECOND", "10000"))
VERSION = "0123456789"     # stands for the version, which rises: an older one would be ignored
CALM = 25       # changes of another Service, one after the other
LATE_MS = 250   # a test machine that does other things, too; alone it is a few. Or ten times what it is without the flood


def slice_with(name, pod, version):
    s = obj.slice_of(name, [pod])
    s["metadata"]["resourceVersion"] = version
    return s


class Flapping(threading.Thread):
    """One Service's only endpoint becomes another one RATE times a second, in portions of a hundredth of a second."""

    def __init__(self, server, name):
        super().__init__(daemon=True)
        self.server, self.name, self.stopping, self.sent, self.pod = server, name, False, 0, None

    def run(self):
        began = time.monotonic()
        # Encoded once, but for the version: this process shares the processors with the agent.
        lines = [event("MODIFIED", slice_with(self.name, "10.244.2.%d" % (10 + k), VERSION)).split(VERSION.encode()) for k in range(100)]
        while not self.stopping:
            n = int((time.monotonic() - began) * RATE) - self.sent
            if n > 0:
                self.server.inject("endpointslices", b"".join(
                    lines[i % 100][0] + b"%d" % (1000000 + i) + lines[i % 100][1] for i in range(self.sent, self.sent + min(n, RATE))))
                self.sent += min(n, RATE)
                self.pod = "10.244.2.%d" % (10 + (self.sent - 1) % 100)
            time.sleep(0.01)


def start(lab):
    server = lab.serve(ApiServer(lab.node, obj.node(), obj.service("flap", "10.96.0.10"), obj.slice_of("flap", ["10.244.2.2"]),
                                 obj.service("calm", "10.96.0.11"), obj.slice_of("calm", ["10.244.2.2"])))
    agent = labs.Agent(lab, lab.node, [], clientConnection={"kubeconfig": kubeconfig(lab.folder, server.url)})
    lab.agents.append(agent)
    agent.ready()
    wait(lambda: server.watching("endpointslices"), "the watch")
    return server, agent


def memory_kb(agent, field="VmRSS"):
    with open("/proc/%d/status" % agent.pid) as f:
        return int(next(line for line in f if line.startswith(field)).split()[1])


def change(lab, server, k):
    """-> ms from the event to the kernel"""
    pod, began = "10.244.1.%d" % (1 + k), time.monotonic()
    server.put(obj.slice_of("calm", [pod]))
    wait(lambda: nft.endpoints(lab.node, "10.96.0.11", 80) == {pod}, "change %d of the other Service" % k, every=0.001)
    return 1000 * (time.monotonic() - began)


def test_flapping_service_does_not_delay_others(lab):
    server, _ = start(lab)
    quiet = [change(lab, server, k) for k in range(CALM)]
    flap = Flapping(server, "flap")
    flap.start()
    wait(lambda: flap.sent > RATE / 4, "the flood to begin")
    began, sent = time.monotonic(), flap.sent
    busy = [change(lab, server, CALM + k) for k in range(CALM)]
    rate = (flap.sent - sent) / (time.monotonic() - began)
    flap.stopping = True
    flap.join()
    print("     %.0f changes a second of one Service; another one's: median %.1f ms and at most %.1f ms, alone %.1f and %.1f" % (
        rate, statistics.median(busy), max(busy), statistics.median(quiet), max(quiet)))
    check(rate > RATE / 20, "only %.0f changes a second: nothing was tested", rate)
    check(statistics.median(busy) < max(LATE_MS, 10 * statistics.median(quiet)), "the median change of another Service took %.0f ms", statistics.median(busy))
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {flap.pod}, "the flapping Service's last state")


def commits(agent):
    name = 'kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"} '
    return int(next(line for line in agent.get("/metrics", 10249)[2].splitlines() if line.startswith(name)).split()[1])


def test_changes_that_come_closely_go_together(lab):
    server, agent = start(lab)
    sent, before, began = 500, commits(agent), time.monotonic()
    for k in range(sent):
        server.put(obj.slice_of("flap", ["10.244.2.%d" % (2 + k % 200)]))
        time.sleep(max(0.0, began + 0.001 * (k + 1) - time.monotonic()))
    rate = sent / (time.monotonic() - began)
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {"10.244.2.%d" % (2 + (sent - 1) % 200)}, "the last of them")
    made = commits(agent) - before
    print("     %d changes, %.0f a second, in %d commits" % (sent, rate, made))
    check(rate < 400 or made < 0.6 * sent, "%d commits for %d changes, %.0f of them a second", made, sent, rate)


def test_flood_costs_no_memory_and_the_newest_state_wins(lab):
    server, agent = start(lab)
    flap = Flapping(server, "flap")
    flap.start()
    wait(lambda: flap.sent > RATE / 2, "the flood to begin")
    time.sleep(0.5)     # buffers have the size they need
    before, sent = memory_kb(agent), flap.sent
    wait(lambda: flap.sent > sent + 2 * RATE, "more of it")
    flap.stopping = True
    flap.join()
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {flap.pod}, "the last state")
    grown = memory_kb(agent) - before
    print("     %d events, resident memory %+d kB" % (flap.sent, grown))
    check(grown < 2048, "resident memory grew by %d kB over %d events", grown, flap.sent - sent)
    equal(nft.faults(nft.listing(lab.node, "ip")), [], "faults")


if __name__ == "__main__":
    harness.main(globals())
