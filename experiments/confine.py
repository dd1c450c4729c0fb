"""Confines the calling process, before any candidate code runs in it, for good: nothing here can be taken back.

    confine(spec)                            in a child that was just forked, single-threaded
    python -I confine.py SPEC.json SCRIPT    the same around any script; for probing and for tests

spec, as JSON (paths are absolute; node/sandbox/spec.py builds it):
    read      files and folders that may be read      execute   the same, and programs in them may be started
    write     files that exist and may be written     scratch   a folder in which anything may be made, or null
    devices   device files with their ioctls          fds       open descriptors to keep besides 0, 1, 2
    limits    {"address_space_bytes", "data_bytes", "file_bytes", "open_files", "tasks"}; null: no limit
    processes whether it may start others             memfd     whether it may make anonymous files (CUDA does)
    landlock  whether Landlock is promised            uid       the user to become when we are root, or null
    kept_capability   one that stays, as that user, to read root's own files of those that Landlock lets be opened:
                      2 (CAP_DAC_READ_SEARCH), 1 (CAP_DAC_OVERRIDE) where 2 cannot be had, or null

Either everything that was promised is in force, or RuntimeError: the caller must then end the process. Linux only.
"""

import contextlib
import ctypes
import importlib.util
import json
import os
import resource
import signal
import socket
import struct
import sys

PR_SET_PDEATHSIG, PR_GET_SECCOMP, PR_SET_SECCOMP, PR_SET_SECUREBITS = 1, 21, 22, 28  # <linux/prctl.h>
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 39, 47
SECCOMP_MODE_FILTER, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 2, 4
SECBIT_NO_SETUID_FIXUP = 4
CAPABILITY_VERSION_3 = 0x20080522
ON_EVERY_SYSTEM = {  # what libraries ask about the machine and about themselves; nothing here is secret
    "read": ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/self/status", "/proc/self/stat", "/proc/self/statm",
             "/proc/self/maps", "/proc/self/fd", "/proc/self/cgroup", "/proc/self/limits",
             "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage",
             "/dev/urandom", "/dev/random", "/dev/zero"),
    "write": ("/dev/null",),
}  # fmt: skip


def neighbour(name):
    """A module of this folder, without putting the folder where candidates' imports look."""
    if name not in sys.modules:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
        module_spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(module_spec)
        module_spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


landlock, syscall_filter = neighbour("landlock"), neighbour("syscall_filter")
_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option, *values, doing):
    padded = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in (*values, 0, 0, 0, 0)[:4]]
    return landlock.checked(_libc.prctl(option, *padded), doing)


def confine(spec):
    """RuntimeError when anything of `spec` cannot be had."""
    try:
        _confine(spec)
    except RuntimeError:
        raise
    except Exception as error:  # OSError, ValueError of a limit, KeyError of a spec: all the same to the caller
        raise RuntimeError(f"the sandbox could not be set up: {type(error).__name__}: {error}") from error


def _confine(spec):
    pid, parent = os.getpid(), os.getppid()
    close_descriptors(spec["fds"])
    give_files(spec)
    number = landlock.version() if spec["landlock"] else 0
    rules = make_rules(spec, number) if spec["landlock"] else None
    set_limits(spec["limits"])
    code = syscall_filter.program(pid, spec["processes"], spec["memfd"], number >= landlock.SIGNALS_SCOPED_FROM)
    drop_privileges(spec["uid"], spec["kept_capability"] if rules is not None else None, spec["processes"])
    # A change of user took this setting away.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, doing="dying with the parent")
    if os.getppid() != parent:
        raise RuntimeError("the parent has died")
    prctl(PR_SET_NO_NEW_PRIVS, 1, doing="giving up new privileges")
    if rules is not None:
        rules.apply()
    apply_filter(code)
    check(rules is not None)


def close_descriptors(kept):
    wanted = {0, 1, 2, *kept}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in wanted:
            with contextlib.suppress(OSError):  # the listing's own is closed already
                os.close(int(name))


def give_files(spec):
    """What it may write belongs to the user it becomes."""
    if spec["uid"] is not None:
        for path in (*spec["write"], *([spec["scratch"]] if spec["scratch"] else ())):
            os.chown(path, spec["uid"], spec["uid"], follow_symlinks=False)


def make_rules(spec, number):
    rules = landlock.RuleSet(number)
    for kind, rights in (("read", landlock.READ), ("write", landlock.WRITE)):
        for path in ON_EVERY_SYSTEM[kind]:
            if os.path.exists(path):
                rules.allow(path, rights)
    for kind, rights in (("read", landlock.READ), ("execute", landlock.RUN), ("write", landlock.WRITE)):
        for path in spec[kind]:
            rules.allow(path, rights)
    for path in spec["devices"]:
        rules.allow(path, landlock.DEVICE)
    if spec["devices"]:
        rules.allow("/proc/self/task", landlock.WRITE | landlock.READ)  # the driver names its threads
    if spec["scratch"] is not None:
        rules.allow(spec["scratch"], landlock.SCRATCH)
    return rules


def set_limits(limits):
    """Never above what is in force already."""
    kinds = {
        "address_space_bytes": resource.RLIMIT_AS,
        "data_bytes": resource.RLIMIT_DATA,
        "file_bytes": resource.RLIMIT_FSIZE,
        "open_files": resource.RLIMIT_NOFILE,
        "tasks": resource.RLIMIT_NPROC,  # of the user; the kernel exempts root
    }
    unknown = limits.keys() - kinds.keys()
    if unknown:
        raise RuntimeError(f"unknown limits: {', '.join(sorted(unknown))}")
    wanted = [(kinds[name], value) for name, value in limits.items() if value is not None]
    wanted += [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_MSGQUEUE, 0), (resource.RLIMIT_RTPRIO, 0)]
    for kind, value in wanted:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def drop_privileges(uid, kept_capability, inherited):
    """Another user where we are root, and no capability but one: a folder of root's is closed to everybody else.

    `inherited`: programs that are started keep that one, too.
    """
    for capability in range(64):  # also from what a program started later could get back
        if capability != kept_capability and _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # the last one, or we may not: then there is nothing to get back with no_new_privs
    _libc.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0)  # absent before Linux 4.3
    kept = 0
    if uid is not None:
        if kept_capability is not None:
            kept = 1 << kept_capability
            # The change of user leaves it, and access(2), which compilers ask about their TMPDIR, respects it.
            prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, doing="keeping the right to read")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    landlock.checked(_libc.capset(header, struct.pack("=6I", kept, kept, kept, 0, 0, 0)), "giving up capabilities")
    if kept and inherited:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept_capability, doing="keeping the right to read in programs")


def apply_filter(code):
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_program, doing="setting the system call filter")


def check(landlocked):
    """Ask the kernel, and try."""
    if _libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 or _libc.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2:
        raise RuntimeError("the system call filter is not in force")
    try:
        socket.socket().close()
    except PermissionError:
        pass
    else:
        raise RuntimeError("the system call filter does not filter")
    if landlocked:
        try:
            os.listdir("/")
        except PermissionError:
            return
        raise RuntimeError("the Landlock rules do not hold")


def main():
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    script, sys.argv = sys.argv[2], sys.argv[2:]
    with open(script) as file:
        source = file.read()
    for name in ("errno", "ctypes", "traceback", "select", "threading", "subprocess"):  # before files are out of reach
        importlib.import_module(name)
    confine(spec)
    exec(compile(source, script, "exec"), {"__name__": "__main__", "__file__": script})


if __name__ == "__main__":
    main()
