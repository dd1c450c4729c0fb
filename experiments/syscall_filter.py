"""The system call filter of a confined child, assembled by hand: which calls fail, which pretend, which kill.

Owns the table of calls and the filter program. Standard library only. What files may be opened is Landlock's business;
here is everything Landlock does not mediate: sockets, other processes, metadata, namespaces, other call tables.
Not covered: bugs of the kernel behind the calls that stay allowed, and the ioctl surface of a GPU's driver.
"""

import errno
import platform
import struct

# Offsets into struct seccomp_data, <linux/seccomp.h>: nr, arch, instruction pointer, six 64-bit arguments.
NUMBER, ARCHITECTURE = 0, 4
KILL, FAIL, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000  # kill the whole process; fail with an errno; <linux/seccomp.h>
LOAD, AND, EQUAL, GREATER_OR_EQUAL, BITS, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06  # <linux/bpf_common.h>
X32_BIT = 0x40000000
HIGHEST_KNOWN = 462  # mseal, Linux 6.10; what a later kernel adds was not looked at, so it does not exist here
CLONE_THREAD, CLONE_PARENT = 0x00010000, 0x00008000
CLONE_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
O_TRUNC, O_ACCMODE = 0x200, 0x3

# name: (x86_64, aarch64); None where the architecture has no such call. From <asm/unistd_64.h>, <asm-generic/unistd.h>.
NUMBERS = {
    "x86_64": (0xC000003E, 0),
    "aarch64": (0xC00000B7, 1),
}
# Never needed to train, and a way out of, or a way to reach, what is outside.
FORBIDDEN = {
    # the network, and handing descriptors on
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendmsg": (46, 211), "sendmmsg": (307, 269), "recvmsg": (47, 212), "recvmmsg": (299, 243),
    # calls that do other calls' work past this filter
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # leaving the group that is killed as a whole
    "setsid": (112, 157), "setpgid": (109, 154),
    # mounts, namespaces, and opening files past a path
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "statmount": (457, 457),
    "listmount": (458, 458), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    # what one is
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "setgroups": (116, 159), "capset": (126, 91), "personality": (135, 92), "seccomp": (317, 277),
    "lsm_set_self_attr": (460, 460),
    # the kernel's larger surfaces
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "memfd_secret": (447, 447),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "syslog": (103, 116), "acct": (163, 89), "swapon": (167, 224), "swapoff": (168, 225),
    "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "nfsservctl": (180, 42), "lookup_dcookie": (212, 18),
    "uselib": (134, None), "sysfs": (139, None), "_sysctl": (156, None), "vhangup": (153, 58),
    # what others do with their files
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "inotify_init": (253, None), "inotify_init1": (294, 26),
    # memory that outlives a process and is in no process's count
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190), "semop": (65, 193), "semtimedop": (220, 192),
    "semctl": (66, 191), "mq_open": (240, 180), "mq_unlink": (241, 181), "mq_notify": (244, 184),
    # links, special files; and what Landlock before version 3 lets through
    "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33), "truncate": (76, 45),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}  # fmt: skip
# Said to have worked, without effect: Landlock does not mediate them, and shutil.copy fails when they fail.
PRETENDED = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "utimensat": (280, 88), "futimesat": (261, None),
}  # fmt: skip
# Not there, so that the C library takes the older call, whose arguments can be looked at.
ABSENT = {"clone3": (435, 435), "openat2": (437, 437)}
MEMFD = {"memfd_create": (319, 279)}
PROCESSES = {"fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281)}
CLONE = {"clone": (56, 220)}
# The argument that names a process must be 0 or our own; (call, which argument).
OWN_PROCESS_ONLY = [
    ({"prlimit64": (302, 261)}, 0), ({"sched_setaffinity": (203, 122)}, 0), ({"sched_setscheduler": (144, 119)}, 0),
    ({"sched_setparam": (142, 118)}, 0), ({"sched_setattr": (314, 274)}, 0),
]  # fmt: skip
KILL_CALL = {"kill": (62, 129)}
SIGNAL = {"tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)}
PRIORITY = [{"setpriority": (141, 140)}, {"ioprio_set": (251, 30)}]
FCNTL, IOCTL, PRCTL = {"fcntl": (72, 25)}, {"ioctl": (16, 29)}, {"prctl": (157, 167)}
F_FORBIDDEN = (8, 10, 15, 1026)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: kill in disguise; F_NOTIFY: others' folders
IOCTL_FORBIDDEN = (0x5412, 0x541C, 0x5452, 0x8901, 0x8902)  # TIOCSTI, TIOCLINUX, FIOASYNC, FIOSETOWN, SIOCSPGRP
# PR_SET_PDEATHSIG, DUMPABLE, SECCOMP, MM, CHILD_SUBREAPER, PTRACER: how a child dies with its parent, who may see it
PRCTL_FORBIDDEN = (1, 4, 22, 35, 36, 0x59616D61)
OPEN, OPENAT = {"open": (2, None)}, {"openat": (257, 56)}
MKDIR, MKDIRAT, UMASK = {"mkdir": (83, None)}, {"mkdirat": (258, 34)}, {"umask": (95, 166)}
OWNER_BITS = 0o700
SENDTO, SOCKETPAIR = {"sendto": (44, 206)}, {"socketpair": (53, 199)}
AF_UNIX, SOCK_STREAM = 1, 1


def machine():
    """The name of this machine in NUMBERS. RuntimeError where nobody has looked at the calls."""
    name = platform.machine()
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(name.lower(), name)
    if name not in NUMBERS or struct.calcsize("P") != 8:
        raise RuntimeError(f"no system call table for {name}")
    return name


def fail(number):
    return (RETURN, 0, 0, FAIL | number)


ALLOWED = (RETURN, 0, 0, ALLOW)
DENIED = fail(errno.EPERM)


def argument(index, high=False):
    return (LOAD, 0, 0, 16 + 8 * index + (4 if high else 0))  # both architectures are little-endian


def unless_in(values, index, otherwise=DENIED):
    """Allowed if the argument's lower half is one of the values."""
    block = [argument(index)]
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        block.append((EQUAL, left, 0, value & 0xFFFFFFFF))  # to ALLOWED, just behind `otherwise`
    return [*block, otherwise, ALLOWED]


def if_in(values, index):
    """Denied if the argument's lower half is one of the values."""
    return [*unless_in(values, index, ALLOWED)[:-1], DENIED]


def rules(pid, processes, memfd, signals_scoped):
    """(calls, block) pairs: what happens when a call is made. A block always ends in a return."""
    yield FORBIDDEN, [DENIED]
    yield PRETENDED, [fail(0)]
    yield ABSENT, [fail(errno.ENOSYS)]
    if not memfd:
        yield MEMFD, [DENIED]
    if processes:
        forbidden = CLONE_NAMESPACES | CLONE_PARENT
        yield CLONE, [argument(0), (BITS, 0, 1, forbidden), DENIED, ALLOWED]
    else:
        yield PROCESSES, [DENIED]
        yield CLONE, [argument(0), (BITS, 1, 0, CLONE_NAMESPACES | CLONE_PARENT), (BITS, 1, 0, CLONE_THREAD), DENIED,
                      ALLOWED]  # fmt: skip
    for call, index in OWN_PROCESS_ONLY:
        yield call, unless_in((0, pid), index)
    if not (processes and signals_scoped):  # else a program may end the programs it started, and nobody else
        yield KILL_CALL, unless_in((0, pid, -pid), 0)  # 0: the own group
        yield SIGNAL, unless_in((pid,), 0)
    for call in PRIORITY:  # of a process (0 there, 1 here), and that ourselves
        which = 0 if "setpriority" in call else 1
        yield call, [argument(0), (EQUAL, 0, 3, which), *unless_in((0, pid), 1)]  # 3: to its DENIED
    yield FCNTL, if_in(F_FORBIDDEN, 1)
    yield IOCTL, if_in(IOCTL_FORBIDDEN, 1)
    yield PRCTL, if_in(PRCTL_FORBIDDEN, 0)
    # Read-only and truncating empties a read-only file where Landlock is older than version 3.
    for call, index in ((OPEN, 1), (OPENAT, 2)):
        yield call, [argument(index), (AND, 0, 0, O_TRUNC | O_ACCMODE), (EQUAL, 1, 0, O_TRUNC),
                     (EQUAL, 0, 1, O_TRUNC | O_ACCMODE), fail(errno.EACCES), ALLOWED]  # fmt: skip
    # A folder its owner cannot list hides files from whoever counts or removes them.
    for call, index in ((MKDIR, 1), (MKDIRAT, 2)):
        yield call, [argument(index), (AND, 0, 0, OWNER_BITS), (EQUAL, 1, 0, OWNER_BITS), DENIED, ALLOWED]
    yield UMASK, [argument(0), (AND, 0, 0, OWNER_BITS), (EQUAL, 1, 0, 0), DENIED, ALLOWED]
    # A pair of streams is a pipe; a pair of datagram sockets reaches any socket by its address.
    yield SOCKETPAIR, [argument(0), (EQUAL, 0, 3, AF_UNIX), argument(1), (AND, 0, 0, 0xF), (EQUAL, 1, 0, SOCK_STREAM),
                       DENIED, ALLOWED]  # fmt: skip
    yield SENDTO, [argument(4), (EQUAL, 0, 2, 0), argument(4, high=True), (EQUAL, 1, 0, 0), DENIED, ALLOWED]


def program(pid, processes, memfd, signals_scoped):
    """The filter of process `pid` as bytes of struct sock_filter."""
    architecture, column = NUMBERS[machine()]
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    if column == 0:
        code += [(GREATER_OR_EQUAL, 0, 1, X32_BIT), (RETURN, 0, 0, KILL)]
    code += [(GREATER_OR_EQUAL, 0, 1, HIGHEST_KNOWN + 1), fail(errno.ENOSYS)]
    for calls, block in rules(pid, processes, memfd, signals_scoped):
        for numbers in calls.values():
            if numbers[column] is not None:
                code += [(EQUAL, 0, len(block), numbers[column]), *block]
    code.append(ALLOWED)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
