#!/usr/bin/env python3
"""Runs a program as if the kernel lacked something: it gets no such sockets (seccomp).

    without.py nftables|ipv6 PROGRAM ARG...
"""
import ctypes
import errno
import os
import platform
import struct
import sys

# The number of socket(), the errno, and arguments of the call with their values.
SOCKET = 41 if platform.machine() == "x86_64" else 198
LACKS = {"nftables": (errno.EPROTONOSUPPORT, [(0, 16), (2, 12)]), "ipv6": (errno.EAFNOSUPPORT, [(0, 10)])}
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x50000


def main():
    refusal, arguments = LACKS[sys.argv[1]]
    tests = [(0, SOCKET)] + [(16 + 8 * i, value) for i, value in arguments]
    program = []
    for i, (offset, value) in enumerate(tests):
        program += [(LOAD, 0, 0, offset), (EQUAL, 0, 2 * (len(tests) - i) - 1, value)]
    program += [(RETURN, 0, 0, ERRNO | refusal), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *op) for op in program))
    fprog = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, fprog, 0, 0):
        sys.exit("seccomp: %s" % os.strerror(ctypes.get_errno()))
    os.execv(sys.argv[2], sys.argv[2:])


main()
