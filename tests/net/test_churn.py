#!/usr/bin/env python3
"""Endpoints change in a tight loop under new and established connections, and nobody notices."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import DEADLINE, check, equal, wait

# Classes grow and shrink, slots are replaced, the only endpoint changes. All of them always answer.
SETS = ([2], [2, 3, 4, 5, 6], [7], [3, 4], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [12, 13], [5, 6, 7])
CHANGES = 700
ENOUGH = 50
RATE = 10000  # a second, and more than goes: one after the other


def put(lab, turn, **extra):
    pods = ["10.244.2.%d" % p for p in SETS[turn % len(SETS)]]
    lab.put("web.json", obj.service("web", "10.96.0.10", node_port=30080, **extra), obj.slice_of("web", pods))


def connect(lab, address, port):
    answer = traffic.ask_once(lab.ext, address, port)
    if isinstance(answer, tuple) or answer == traffic.REPEATED:
        return answer == traffic.REPEATED
    return "new connection to %s:%d: %s" % (address, port, answer)


def few(again, of):
    """A packet whose maps change between two of its lookups may be lost, and is sent again: a rule that is wrong loses more."""
    print("     %d of %d new connections were asked for again" % (again, of))
    check(again <= 1 + of / 1000, "%d of %d new connections lost their SYN", again, of)


def churn(lab, change, changes=CHANGES):
    """Let change(turn) run while new connections come and old ones stay. -> the last turn"""
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("node.json", obj.node())
    change(0)
    lab.run().ready()
    standing = [traffic.Connection(lab.ext, "10.96.0.10", 80) for _ in range(16)]
    before = nft.generation(lab.node)
    steps = (lambda: connect(lab, "10.96.0.10", 80), lambda: connect(lab, "192.0.2.1", 30080),
             lambda: not all(c.ping() for c in standing) and "an established connection broke")
    loads = [traffic.Load(lab.ext, RATE, step) for step in steps]

    def tried():
        return min(nft.generation(lab.node) - before, *(load.said.total() for load in loads[:2]))

    turn, deadline = 0, time.monotonic() + DEADLINE
    # A busy machine may need more turns until enough of them were commits, and met by connections.
    while turn < changes or (tried() < ENOUGH and time.monotonic() < deadline):
        turn += 1
        change(turn)
        # About one transaction a change: give the agent the processor, not a rest.
        time.sleep(0.002)
    results = [load.end() for load in loads]
    for c in standing:
        c.close()
    for said in results:
        check(set(said) <= {False, True}, "%s", said)
    commits = nft.generation(lab.node) - before
    first, second, rounds = (said.total() for said in results)
    print("     %d changes, %d commits, %d new connections, %d rounds on 16 standing ones" % (turn, commits, first + second, rounds))
    few(results[0][True] + results[1][True], first + second)
    check(commits >= ENOUGH, "only %d commits: nothing was tested", commits)
    check(min(first, second) >= ENOUGH, "only %d and %d new connections", first, second)
    return turn


def last(lab, turn):
    want = {"10.244.2.%d" % p for p in SETS[turn % len(SETS)]}
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == want, "the last state is in the kernel")
    for family in ("ip", "ip6"):
        equal(nft.faults(nft.listing(lab.node, family)), [], "faults in %s" % family)


def test_endpoints_and_classes(lab):
    last(lab, churn(lab, lambda turn: put(lab, turn)))


def test_private_chains_come_and_go(lab):
    """A verdict never leads into a chain whose rules a packet on its way cannot see yet: it would leave untranslated."""
    def change(turn):
        sticky = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}
        put(lab, turn, **(sticky if turn % 2 else {}))

    last(lab, churn(lab, change, 3 * CHANGES))


def test_none_and_back_only_refuses(lab):
    """While there are no endpoints a connection is refused, never left hanging or untranslated."""
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("node.json", obj.node())
    put(lab, 0)
    lab.run().ready()
    answers = []
    load = traffic.Load(lab.ext, RATE, lambda: answers.append(traffic.ask_once(lab.ext, "10.96.0.10", 80)))
    turn, deadline = 0, time.monotonic() + DEADLINE
    while turn < CHANGES or (len(set(map(type, answers))) < 2 and time.monotonic() < deadline):
        turn += 1
        pods = ["10.244.2.2", "10.244.2.3", "10.244.2.4"][:turn % 4]
        lab.put("web.json", obj.service("web", "10.96.0.10", node_port=30080), obj.slice_of("web", pods))
        time.sleep(0.002)
    load.end()
    strange = [a for a in answers if not isinstance(a, tuple) and a not in (traffic.REFUSED, traffic.REPEATED)]
    check(not strange, "%d of %d: %s", len(strange), len(answers), strange[:1])
    few(answers.count(traffic.REPEATED), len(answers))
    check(traffic.REFUSED in answers and any(isinstance(a, tuple) for a in answers), "nothing was tested")


if __name__ == "__main__":
    harness.main(globals())
