"""Another Service's changes while one flaps: whose endpoints change all the time must not be what others wait for.

Both come on the same watch, one thread sends them. With one Service flapping there is always some commit, so a change
counts as done when the kernel tells of the element that it brought.
"""
import socket
import struct
import time

import load as judge_load
from harness import wait
from loads import SLICES, newcomer
from report import OURS
from session import hear

RATE, GAP = 10000, 0.02
FLAPPING = 3        # a plain Service
VERSION = b'"resourceVersion":"%d"'
ALONE, FLAPS = "nothing flaps", "another Service while one flaps"
GOAL_WORST = 20.0   # as of all other changes


class Told(judge_load.Commits):
    """What the kernel told of commits, and when."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def run(self):
        while True:
            try:
                data = self.sock.recv(1 << 20)
            except OSError:
                continue
            self.messages.append((time.monotonic(), data))

    def first(self, after, bytes_):
        return next((at for at, data in self.messages if at >= after and bytes_ in data), None)


class Flap:
    """Events of one Service at a rate. They are encoded before, but for the version, which rises."""

    def __init__(self, session, rate):
        self.load, self.rate, self.sent, self.pieces = session.load, rate, 0, []
        for _ in range(100):
            o = self.load.replace(FLAPPING)
            self.pieces.append(session.event("MODIFIED", o).split(VERSION % int(o["metadata"]["resourceVersion"])))

    def due(self, seconds):
        """What is missing so long after the beginning. Never more than of 10 ms: a sender that is late stays late, and the rate tells."""
        n = max(0, min(int(seconds * self.rate) - self.sent, self.rate // 100))
        self.sent += n
        return b"".join((VERSION % self.load.next_version()).join(self.pieces[k % 100]) for k in range(self.sent - n, self.sent))


def element(k):
    """The value of an element that leads to the k-th newcomer, as the kernel has it."""
    return socket.inet_aton(newcomer(k)) + struct.pack(">H", 8080)


def changes(session, told, rate, seconds):
    """-> (ms of each change of another Service, changes a second of the one that flaps)"""
    load, flap, waiting, began = session.load, Flap(session, rate), [], time.monotonic()
    while time.monotonic() < began + seconds:
        data = flap.due(time.monotonic() - began)
        if data:    # an empty chunk ends the stream
            session.send(SLICES, data)
        if time.monotonic() >= began + GAP * len(waiting):
            changed = session.event("MODIFIED", load.replace((FLAPPING + 1 + len(waiting)) % load.services))
            waiting.append((time.monotonic(), element(load.n_changes)))
            session.send(SLICES, changed)
        time.sleep(0.001)
    reached = flap.sent / (time.monotonic() - began)
    wait(lambda: all(told.first(*w) for w in waiting), "every change of another Service", 10, every=0.1)
    return [1000 * (told.first(*w) - w[0]) for w in waiting], reached


def all_rows(report, session, load, args):
    hear(session.commits, False)
    with session.ns:
        told = Told()
    told.listen()
    try:
        for rate, who in ((0, ALONE), (RATE, OURS)):
            ms, reached = changes(session, told, rate, args.flapping)
            report.add(FLAPS + ", p50", load.name, who, "ms", ms)
            report.add(FLAPS + ", worst", load.name, who, "ms", max(ms), GOAL_WORST if who == OURS else None)
        report.note("%s: one Service flapped %.0f times a second" % (load.name, reached))
    finally:
        hear(told, False)
        hear(session.commits, True)
