"""Attempts to get out of the sandbox: short scripts that print GOT when they believe they did.

Each starts with PRELUDE: `W` names what there is to get at. Whether anything outside changed is looked at from outside.
"""
# ruff: noqa: E501 - one attempt, one line

PRELUDE = """
import ctypes, errno, fcntl, json, mmap, os, resource, signal, socket, stat, struct, sys, threading, time
W = json.load(open(os.environ["WORLD"]))
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def got(what=True):
    if what: print("GOT", what, flush=True)
def tries(*works):
    for work in works:
        try: got(repr(work())[:200] or "done")
        except Exception as error: print("refused", type(error).__name__, flush=True)
def read(path): return open(path, "rb").read(100) or "empty"
def write(path, mode="wb"): open(path, mode).write(b"x"); return path
def put_through(path, flags): os.close(os.open(path, flags)); return path
"""

READ = {
    "read the key": "tries(lambda: read(W['key']))",
    "read the journal": "tries(lambda: read(W['journal']))",
    "read the validation text": "tries(lambda: read(W['validation']))",
    "list the home": "tries(lambda: os.listdir(W['home']), lambda: os.listdir(W['home'] + '/results'))",
    "read /etc/passwd": "tries(lambda: read('/etc/passwd'), lambda: read('/etc/shadow'), lambda: read('/etc/hostname'))",
    "read by a way back": "tries(lambda: read(W['scratch'] + '/../../home/key'), lambda: read('../../home/key'))",
    "read through a symlink": "tries(lambda: (os.symlink(W['key'], 'l'), read('l')))",
    "read through a link that lay there": "tries(lambda: read(W['lying_link']))",
    "read through a hard link": "tries(lambda: (os.link(W['key'], 'h'), read('h')))",
    "read through /proc/*/root": "tries(*[lambda p=p: read(f'/proc/{p}/root' + W['key']) for p in (1, W['victim'], 'self')])",
    "read through /proc/*/cwd": "tries(*[lambda p=p: read(f'/proc/{p}/cwd/key') for p in (1, W['victim'])])",
    "read through another's descriptor": "tries(*[lambda n=n: read(f'/proc/{W[\"victim\"]}/fd/{n}') for n in range(3, 9)])",
    "open by path only, then again": "tries(lambda: read(f\"/proc/self/fd/{os.open(W['key'], os.O_PATH)}\"))",
    "open by a handle": "tries(lambda: call(303 if os.uname().machine == 'x86_64' else 264, -100, W['key'].encode(), "
    "ctypes.create_string_buffer(b'\\x80' + b'\\0' * 200), ctypes.create_string_buffer(8), 0))",
    "read with openat2": "tries(lambda: call(437, -100, W['key'].encode(), ctypes.create_string_buffer(24), 24))",
    "execute another program": "tries(lambda: os.execv('/bin/cat', ['cat', W['key']]), "
    "lambda: os.execv(sys.executable, ['python', '-c', 'print(\"GOT it\")']))",
    "see the environment of others": "tries(*[lambda p=p: read(f'/proc/{p}/environ') for p in (W['node'], W['victim'])])\n"
    "got([v for v in os.environ.values() if 'sk-' in v])",
    "use an inherited descriptor": "tries(*[lambda n=n: os.read(n, 10) for n in range(3, 64)])",
    "use a descriptor of a folder": "tries(*[lambda n=n: os.listdir(n) for n in range(3, 64)])",
}
PROCESSES = {
    "read the memory of another": "tries(lambda: read(f'/proc/{W[\"victim\"]}/mem'), lambda: read(f'/proc/{W[\"victim\"]}/maps'))",
    "trace another": "tries(lambda: call(101 if os.uname().machine == 'x86_64' else 117, 16, W['victim'], 0, 0))",
    "read memory across processes": """
b = ctypes.create_string_buffer(8); v = struct.pack('PN', ctypes.addressof(b), 8)
tries(lambda: call(310 if os.uname().machine == 'x86_64' else 270, W['victim'], v, 1, v, 1, 0))""",
    "take a descriptor of another": "tries(lambda: call(434, W['victim'], 0), lambda: os.pidfd_open(W['victim']))",
    "list processes": "tries(lambda: [p for p in os.listdir('/proc') if p.isdigit() and int(p) == W['victim']][0])",
    "kill another": "tries(lambda: os.kill(W['victim'], 9), lambda: os.kill(W['node'], 0), lambda: os.kill(os.getppid(), 0))",
    "kill everybody": "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntries(lambda: os.kill(-1, signal.SIGTERM))",
    "kill another's group": "tries(lambda: os.killpg(W['victim'], 9), lambda: os.killpg(W['node'], 0))",
    "kill with a queued signal": """
x = os.uname().machine == 'x86_64'
tries(lambda: call(234 if x else 131, W['victim'], W['victim'], 9), lambda: call(200 if x else 130, W['victim'], 9),
      lambda: call(129 if x else 138, W['victim'], 9, ctypes.create_string_buffer(struct.pack('iii', 9, 0, -1), 128)))""",
    "kill as owner of a pipe": """
r, w = os.pipe()
tries(lambda: fcntl.fcntl(r, fcntl.F_SETOWN, W['victim']), lambda: fcntl.fcntl(r, 10, 9),
      lambda: fcntl.ioctl(r, 0x8901, struct.pack('i', W['victim'])), lambda: fcntl.ioctl(r, 0x5452, struct.pack('i', 1)))
os.write(w, b'x')""",
    "set limits of another": "tries(lambda: resource.prlimit(W['victim'], resource.RLIMIT_NOFILE, (5, 5)))",
    "move another to another core": "tries(lambda: os.sched_setaffinity(W['victim'], {0}))",
    "slow another down": "tries(lambda: os.setpriority(os.PRIO_PROCESS, W['victim'], 19), "
    "lambda: os.setpriority(os.PRIO_USER, 0, 19), lambda: os.sched_setscheduler(W['victim'], os.SCHED_IDLE, os.sched_param(0)))",
    "leave the session": "tries(os.setsid, lambda: os.setpgid(0, 0) or 'done')",
    "outlive the parent": "tries(lambda: call(157 if os.uname().machine == 'x86_64' else 167, 1, 0) == 0 or 'done')",
    "become the parent of orphans": "tries(lambda: call(157 if os.uname().machine == 'x86_64' else 167, 36, 1))",
    "make a process": "tries(os.fork)",
}
WRITE = {
    "write into the home": "tries(lambda: write(W['home'] + '/new'), lambda: write(W['key']), lambda: write(W['key'], 'ab'))",
    "write into /tmp": "tries(lambda: write('/tmp/' + W['token']), lambda: write('/var/tmp/' + W['token']), "
    "lambda: write('/dev/shm/' + W['token']))",
    "write a git hook": "tries(lambda: write(W['hook']), lambda: os.mkdir(W['home'] + '/results/x'))",
    "write what Python imports": "tries(lambda: write(os.path.dirname(ctypes.__file__) + '/x.pth'), "
    "lambda: write(W['experiments'] + '/x.py'), lambda: write(W['experiments'] + '/train.py', 'ab'))",
    "write its own source": "tries(lambda: write(W['train']), lambda: write(W['script'], 'ab'), lambda: write(W['inside'] + '/x'))",
    "empty by truncate": "tries(lambda: os.truncate(W['train'], 0), lambda: os.truncate(W['key'], 0))",
    "empty by open": "tries(lambda: put_through(W['train'], os.O_RDONLY | os.O_TRUNC), lambda: put_through(W['train'], 3 | os.O_TRUNC), "
    "lambda: put_through(W['key'], os.O_RDONLY | os.O_TRUNC), lambda: put_through(W['train'], os.O_WRONLY | os.O_TRUNC))",
    "empty by ftruncate": "d = os.open(W['train'], os.O_RDONLY)\ntries(lambda: os.ftruncate(d, 0) or 'done')",
    "empty by creat": "tries(lambda: os.close(call(85, W['train'].encode(), 0o644))) if os.uname().machine == 'x86_64' else print('refused')",
    "remove": "tries(lambda: os.remove(W['train']), lambda: os.remove(W['key']), lambda: os.rmdir(W['empty']))",
    "rename": "tries(lambda: os.rename(W['train'], 'mine'), lambda: os.rename(W['key'], 'k'), lambda: (write('f'), os.rename('f', W['train'])))",
    "write by mapping": "d = os.open(W['train'], os.O_RDONLY)\ntries(lambda: mmap.mmap(d, 4, mmap.MAP_SHARED, mmap.PROT_WRITE))",
    "change modes": "os.chmod(W['key'], 0o777); os.chmod(W['empty'], 0); print('refused')",  # said to work, without effect
    "change owners": "os.chown(W['key'], os.getuid(), os.getgid()); os.lchown(W['train'], 0, 0); print('refused')",
    "change times": "os.utime(W['key'], (1, 1)); os.utime(W['train'], ns=(1, 1)); print('refused')",
    "set attributes": "tries(lambda: os.setxattr(W['key'], 'user.x', b'x'), lambda: os.setxattr('.', 'user.x', b'x'))",
    "leave a link": "tries(lambda: os.symlink('/etc/passwd', 'weights.safetensors'))",
    "leave a pipe": "tries(lambda: os.mkfifo('weights.safetensors'), lambda: os.mknod('d', 0o600 | stat.S_IFCHR, os.makedev(1, 3)))",
    "leave a folder nobody can list": "tries(lambda: os.mkdir('d', 0o300) or 'done', lambda: os.umask(0o700) or 'done')",
    "change the kernel's settings": "tries(lambda: write('/proc/sys/kernel/core_pattern'), lambda: write('/proc/sysrq-trigger'), "
    "lambda: write('/proc/sys/vm/drop_caches'), lambda: write('/sys/kernel/profiling'))",
}
NETWORK = {
    "connect by TCP": "tries(lambda: socket.create_connection(('127.0.0.1', W['tcp']), 1))",
    "connect by TCP over IPv6": "tries(lambda: socket.create_connection(('::1', W['tcp']), 1))",
    "send by UDP": "tries(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', W['udp'])))",
    "listen": "tries(lambda: socket.create_server(('127.0.0.1', 0)))",
    "connect to a unix socket": "s = lambda: socket.socket(socket.AF_UNIX)\ntries(lambda: s().connect(W['unix']), "
    "lambda: s().connect('\\0' + W['token']))",
    "reach a unix socket from a datagram pair": """
def reach():
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return pair[0].sendto(b'x', W['datagram'])
tries(reach, lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))""",
    "reach a unix socket from a stream pair": """
pair = socket.socketpair()
tries(lambda: pair[0].sendto(b'x', W['datagram']), lambda: pair[0].sendmsg([b'x'], [], 0, W['datagram']),
      lambda: pair[0].connect(W['unix']), lambda: pair[0].bind(W['scratch'] + '/s') or 'done')""",
    "pass a descriptor": "pair = socket.socketpair()\ntries(lambda: socket.send_fds(pair[0], [b'x'], [0]), lambda: pair[1].recvmsg(1))",
    "open a socket of any family": "tries(*[lambda f=f, k=k: socket.socket(f, k) for f in range(46) for k in (1, 2, 3)])",
    "use io_uring": "tries(lambda: call(425, 4, ctypes.create_string_buffer(120)))",
}
KERNEL = {
    "use the 32-bit calls": """
import platform
if platform.machine() != 'x86_64': sys.exit(print('refused'))
# getpid by int 0x80; then mov rax, the answer; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex('b814000000' 'cd80' 'c3'))
print('refused or killed next', flush=True)
got(ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() > 0)""",
    "use the x32 calls": """
if os.uname().machine != 'x86_64': sys.exit(print('refused'))
print('refused or killed next', flush=True)
tries(lambda: call(0x40000000 | 39))""",
    "make namespaces": "x = os.uname().machine == 'x86_64'\ntries(*[lambda f=f: call(272 if x else 97, f) or 'done' for f in "
    "(0x10000000, 0x20000, 0x40000000, 0x20000000, 0x10020000)])",
    "clone with namespaces": "x = os.uname().machine == 'x86_64'\ntries(lambda: call(56 if x else 220, 0x10000000 | 17, 0, 0, 0, 0), "
    "lambda: call(56 if x else 220, 0x10010000 | 0x900, 0, 0, 0, 0), lambda: call(435, ctypes.create_string_buffer(88), 88))",
    "mount": "x = os.uname().machine == 'x86_64'\ntries(lambda: call(165 if x else 40, b'none', W['scratch'].encode(), b'tmpfs', 0, 0) or 'done', "
    "lambda: call(430, b'tmpfs', 0), lambda: call(428, -100, b'/', 1), lambda: os.chroot('.') or 'done')",
    "become another user": "tries(lambda: os.setuid(0) or os.setuid(1) or 'done', lambda: os.setgroups([0]) or 'done', "
    "lambda: os.setresuid(0, 0, 0) or os.setresuid(1, 1, 1) or 'done')",
    "get capabilities": "b = struct.pack('Ii', 0x20080522, 0)\ntries(lambda: call(126 if os.uname().machine == 'x86_64' else 91, "
    "b, struct.pack('6I', 0x1ff, 0x1ff, 0, 0, 0, 0)) or 'done')",
    "raise its limits": "tries(*[lambda k=k: resource.setrlimit(k, (resource.RLIM_INFINITY,) * 2) or 'done' for k in "
    "(resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)])",
    "use the kernel's larger surfaces": "x = os.uname().machine == 'x86_64'\ntries(*[lambda n=n: call(n, 0, 0, 0, 0, 0) for n in "
    "((321, 298, 323, 250, 248, 246, 175, 103, 300, 253, 317, 135) if x else (280, 241, 282, 219, 217, 104, 105, 116, 262, 26, 277, 92))])",
    "use calls newer than the table": "tries(*[lambda n=n: call(n, -100, W['key'].encode(), 0, 0, 0) for n in range(463, 500)])",
    "share memory that outlives it": "x = os.uname().machine == 'x86_64'\ntries(lambda: call(29 if x else 194, 0, 4096, 0o1600), "
    "lambda: call(240 if x else 180, b'q', 0o102, 0o600, 0))",
    "watch others' files": "x = os.uname().machine == 'x86_64'\ntries(lambda: call(294 if x else 26, 0))",
    "hide memory": "tries(lambda: os.memfd_create('x'), lambda: call(447, 0))",
}
GROUPS = {"read": READ, "processes": PROCESSES, "write": WRITE, "network": NETWORK, "kernel": KERNEL}
ATTEMPTS = {name: script for group in GROUPS.values() for name, script in group.items()}

# These run as trials do, forked from the warm process, with small limits: (script, how it must end).
RESOURCES = {
    "fork bomb": ("import os\nwhile True: os.fork()", "status 1"),
    "thread bomb": ("""
import threading, time
threading.stack_size(65536)
while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()""", "tasks or status"),
    "fill the disk": ("""
for n in range(1000):
    try: open(f'f{n}', 'wb').write(b'x' * (8 << 20))
    except OSError: pass""", "scratch"),
    "one huge file": ("f = open('f', 'wb')\nwhile True: f.write(b'x' * (1 << 20))", "status 1"),
    "sparse file": ("import os\nos.truncate(os.open('f', os.O_CREAT | os.O_RDWR), 1 << 50)", "status 1"),
    "deleted files": ("""
import os, time
kept = []
for n in range(40):
    kept.append(open('f', 'wb')); kept[-1].write(b'x' * (8 << 20)); kept[-1].flush(); os.remove('f')
time.sleep(60)""", "scratch"),
    "many files": ("import time\nfor n in range(100000): open(f'f{n}', 'wb').close()\ntime.sleep(60)", "files"),
    "deep folders": ("""
import os, time
for n in range(3000): os.mkdir('d'); os.chdir('d')
time.sleep(60)""", "files"),
    "descriptors": ("import os\nwhile True: os.dup(0)", "status 1"),
    "private memory": ("""
import time
kept = []
try:
    while True: kept.append(b'x' * (16 << 20)); time.sleep(0.002)
except MemoryError: kept.clear(); print('no more memory', flush=True); raise""", "memory or status"),
    "shared memory": ("""
import mmap, time
kept = []
while True: kept.append(mmap.mmap(-1, 16 << 20)); kept[-1].write(b'x' * (16 << 20)); time.sleep(0.002)""", "memory or status"),
    "memory without a name": ("import os\nos.memfd_create('x')", "status 1"),
    "memory in pipes": ("""
import fcntl, os
while True:
    r, w = os.pipe(); os.set_blocking(w, False)
    try: fcntl.fcntl(w, 1031, 1 << 20)
    except OSError: pass
    os.write(w, b'x' * (1 << 20))""", "status 1"),
    "output flood": ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "output"),
    "spin and ignore signals": ("""
import signal
for n in range(1, 32):
    if n not in (9, 19): signal.signal(n, signal.SIG_IGN)
while True: pass""", "cancelled"),
    "stop itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nimport time\ntime.sleep(60)", "cancelled"),
    "daemon": ("import os\nif os.fork() == 0: os.setsid()", "status 1"),
}  # fmt: skip
