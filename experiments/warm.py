"""The warm parent: imports torch once, then forks a child for every script it is asked to run.

    python -I warm.py FD        FD: one end of a unix stream socket pair; the other end is the owner's

Saves each run the import. Speaks lines of JSON:
    in   {"id": 7, "argv": ["/path/train.py", "--seed", "0"], "cwd": "/scratch", "extra": 0,
          "confine": null}                                               or what confine.py takes
         and with it 1 + extra file descriptors: the first becomes the script's standard output and standard error,
         the others become its file descriptors 3, 4 and so on
         {"kill": 7}
    out  {"event": "ready", "pid": 100, "threads": 1}
         {"event": "failed", "reason": "ModuleNotFoundError: ..."}
         {"event": "started", "id": 7, "pid": 123}
         {"event": "exited", "id": 7, "status": 0, "peak_memory_bytes": 1}         status below 0: minus the signal
A child leads its own session; when it ends, and when the owner closes the socket or dies, its whole process group and
everything it left behind is killed. With "confine" null a script can do what its user can do.

Two rules keep forking safe. No threads here, ever. No tensor is ever made here: after one parallel operation in the
parent, the first one of a forked child hangs for ever, and CUDA does not survive a fork.
"""

import contextlib
import ctypes
import fcntl
import gc
import importlib.util
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback

NICENESS = 10  # the node and its network come first; training still gets every idle cycle
OUT_OF_MEMORY_SCORE = "1000"  # when memory runs out the kernel takes the trial, not the node
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
LAST_SECONDS = 1.0  # how long to hunt for what children left behind before leaving
MAX_REQUEST_BYTES = 1 << 20


def preload():
    """What training scripts import. torch._dynamo: the first optimizer would import it, for one second a run."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's would start threads at import
    import numpy  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch._dynamo
    import torch.nn.functional  # noqa: F401

    preload_neighbour("confine")


def preload_neighbour(name):
    """A module of this folder; the folder itself stays out of sys.path, where candidates' imports look."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def prctl(option, value):
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class WarmParent:
    def __init__(self, owner):
        self.owner = owner
        self.pids = {}  # job id -> pid of its session's leader
        self.received = b""
        self.descriptors = []  # that came with requests not parsed yet
        self.wake, wake_writer = os.pipe()
        for end in (self.wake, wake_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to write into the wake pipe
        self.wake_ends = (self.wake, wake_writer)
        self.selector = selectors.DefaultSelector()

    # --- the loop ---

    def serve(self):
        """Until the owner is gone."""
        self.selector.register(self.owner, selectors.EVENT_READ)
        self.selector.register(self.wake, selectors.EVENT_READ)
        alive = True
        while alive:
            ready = {key.fileobj for key, _ in self.selector.select()}
            if self.wake in ready:
                os.read(self.wake, 4096)
                self.reap()
            if self.owner in ready:
                alive = self.receive()

    def receive(self):
        """False when the owner is gone."""
        try:
            chunk, descriptors, _, _ = socket.recv_fds(self.owner, 65536, 16)
        except OSError:
            return False
        self.received += chunk
        self.descriptors += descriptors
        if not chunk or len(self.received) > MAX_REQUEST_BYTES:
            return False
        *lines, self.received = self.received.split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "kill" in request:
                self.kill(request["kill"])
            else:
                count = 1 + request.get("extra", 0)
                output, *extra = self.descriptors[:count]
                del self.descriptors[:count]
                self.start(request, output, extra)
        return True

    def tell(self, **message):
        with contextlib.suppress(OSError):  # gone; the loop sees it next
            self.owner.sendall(json.dumps(message).encode() + b"\n")

    # --- children ---

    def start(self, request, output, extra):
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self.run_child(request, output, extra, parent)  # does not return
        for end in (output, *extra):
            os.close(end)
        self.pids[request["id"]] = pid
        self.tell(event="started", id=request["id"], pid=pid)

    def run_child(self, request, output, extra, parent):
        status = 1
        try:
            self.become_child(output, extra, request["cwd"], parent)
            if request.get("confine") is not None:  # RuntimeError where any of it cannot be had: then nothing is run
                sys.modules["confine"].confine(request["confine"])
            status = run_script(request["argv"])
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)

    def become_child(self, output, extra, cwd, parent):
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before it could take us along
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for end in (nothing, output, *self.descriptors, *self.wake_ends):
            os.close(end)
        self.selector.close()
        self.owner.close()
        moved = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in extra]  # out of the way of 3, 4, ...
        for end in extra:
            os.close(end)
        for number, end in enumerate(moved, start=3):
            os.dup2(end, number)
            os.close(end)
        os.nice(NICENESS)
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(OUT_OF_MEMORY_SCORE)
        except OSError:
            pass  # not Linux
        os.chdir(cwd)
        os.environ.update(HOME=cwd, TMPDIR=cwd)
        os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)  # set by the import; what a trial compiled is no other's
        tempfile.tempdir = None  # what was found here at some import

    def kill(self, id):
        if id in self.pids:
            kill_group(self.pids[id])

    def reap(self):
        """End what ended children have left behind, then tell of them: after that nothing of theirs runs any more."""
        ended = []
        for id, pid in list(self.pids.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            kill_group(pid)  # while the pid is still taken, so that it cannot be somebody else's
            _, status, usage = os.wait4(pid, 0)
            del self.pids[id]
            scale = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
            code = os.waitstatus_to_exitcode(status)
            ended.append({"id": id, "status": code, "peak_memory_bytes": usage.ru_maxrss * scale})
        self.hunt_strays()
        for message in ended:
            self.tell(event="exited", **message)

    def reap_strays(self):
        """Orphans that left their session and came to us, the subreaper. True if there were any."""
        strays = [pid for pid in own_children() if pid not in self.pids.values()]
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError):
                pass
        return bool(strays)

    def end(self):
        """Leave nothing behind."""
        for pid in self.pids.values():
            kill_group(pid)
        self.pids.clear()
        self.hunt_strays()

    def hunt_strays(self):
        """A stray's own children come to us only when it is gone: until there are none, but not for ever."""
        deadline = time.monotonic() + LAST_SECONDS
        while self.reap_strays() and time.monotonic() < deadline:
            time.sleep(0.002)


def kill_group(pid):
    for kill in (os.killpg, os.kill):  # a child that was forked this instant has no group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def own_children():
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []  # not Linux


def run_script(argv):
    """Run a script as `python argv[0] ...` would, in this process; its exit status."""
    sys.argv = list(argv)
    sys.path.insert(0, os.path.dirname(argv[0]))
    sys.stdout.reconfigure(line_buffering=True)
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "runpy" not in frame.filename]
        print("Traceback (most recent call last):", file=sys.stderr)
        print("".join(traceback.format_list(frames[1:][-10:])), end="", file=sys.stderr)
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}", file=sys.stderr)
        return 1
    return 0


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who then tells us
    owner = socket.socket(fileno=int(sys.argv[1]))
    owner.set_inheritable(False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    parent = WarmParent(owner)
    try:
        preload()
    except Exception as error:  # whatever a broken installation raises; the owner says it to a person
        parent.tell(event="failed", reason=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        sys.exit(1)
    gc.collect()
    gc.freeze()  # children share these pages instead of copying them at their first collection
    threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
    parent.tell(event="ready", pid=os.getpid(), threads=threads)
    parent.serve()
    parent.end()
    os._exit(0)  # taking torch apart would take longer than its owner wants to wait


if __name__ == "__main__":
    main()
