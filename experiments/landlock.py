"""Landlock by raw system calls: which files this process and all it starts may open from now on.

Owns the numbers of the kernel's interface and the rule set. Standard library only. Deny by default: what no rule names
cannot be read, written, made, removed or started. Not mediated by Landlock, and therefore the system call filter's
business: metadata (stat still tells that a file exists), sockets other than TCP, and before version 6 signals.
"""

import ctypes
import errno
import os
import stat
import struct

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
VERSION_FLAG, RULE_PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR = (1 << i for i in range(8))
MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV = (1 << i for i in range(8, 16))
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # a rule on a file may hold no other right

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
WRITE = READ_FILE | WRITE_FILE | TRUNCATE
SCRATCH = READ | WRITE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER  # no links, sockets, pipes, devices
DEVICE = READ | WRITE_FILE | IOCTL_DEV

RIGHTS_OF_VERSION = {1: MAKE_SYM * 2 - 1, 2: REFER * 2 - 1, 3: TRUNCATE * 2 - 1, 4: TRUNCATE * 2 - 1}
ALL_RIGHTS = IOCTL_DEV * 2 - 1  # from version 5
TCP_RIGHTS, SCOPES = 3, 3  # bind and connect (version 4); abstract unix sockets and signals (version 6)
SIGNALS_SCOPED_FROM = 6

_libc = ctypes.CDLL(None, use_errno=True)


def version():
    """The kernel's Landlock version, 0 without. Asked by the call itself: files that tell are missing in places."""
    return max(0, _libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG))


def handled_rights(number):
    return RIGHTS_OF_VERSION.get(number, ALL_RIGHTS)


def checked(result, doing):
    if result < 0:
        number = ctypes.get_errno()
        raise RuntimeError(f"{doing}: {errno.errorcode.get(number, number)}")
    return result


class RuleSet:
    """Made and filled while everything is still visible; `apply` cannot be taken back."""

    def __init__(self, number):
        if number < 1:
            raise RuntimeError("this kernel has no Landlock")
        self.handled = handled_rights(number)
        attributes = struct.pack("=QQQ", self.handled, TCP_RIGHTS, SCOPES if number >= SIGNALS_SCOPED_FROM else 0)
        size = 24 if number >= 6 else 16 if number >= 4 else 8
        self.set = checked(
            _libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(size), 0), "making the Landlock rules"
        )

    def allow(self, path, rights):
        """`path` and everything beneath it."""
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights &= self.handled
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                rights &= ON_FILES
            rule = struct.pack("=Qi", rights, descriptor)
            call = _libc.syscall(ADD_RULE, self.set, RULE_PATH_BENEATH, rule, 0)
            checked(call, f"allowing {path}")
        finally:
            os.close(descriptor)

    def apply(self):
        """Needs no_new_privs. From here on only what was allowed exists."""
        checked(_libc.syscall(RESTRICT_SELF, self.set, 0), "applying the Landlock rules")
        os.close(self.set)
