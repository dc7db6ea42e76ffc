"""Runs a program and stops it at each call by which it changes files, through ptrace and a filter
of system calls: to count these calls, to kill the program at one of them, and to let one fail.
Linux on x86-64 or arm64; the standard library alone."""

import ctypes
import errno
import functools
import os
import platform
import signal
import struct
import time

from scenes import LIMIT, Failed

MACHINES = {
    "x86_64": {
        "audit": 0xC000003E,
        "calls": {
            "write": 1, "pwrite64": 18, "writev": 20, "open": 2, "openat": 257, "creat": 85,
            "rename": 82, "renameat": 264, "renameat2": 316, "link": 86, "linkat": 265,
            "unlink": 87, "unlinkat": 263, "rmdir": 84, "mkdir": 83, "mkdirat": 258,
            "fsync": 74, "fdatasync": 75, "ftruncate": 77, "flock": 73,
        },
        # r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax ..
        "registers": 27, "arguments": [14, 13, 12, 7], "number": 15, "result": 10,
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "calls": {
            "write": 64, "pwrite64": 68, "writev": 66, "openat": 56, "renameat": 38,
            "renameat2": 276, "linkat": 37, "unlinkat": 35, "mkdirat": 34, "fsync": 82,
            "fdatasync": 83, "ftruncate": 46, "flock": 32,
        },
        "registers": 34, "arguments": [0, 1, 2, 3], "number": None, "result": 0,
    },
}

TRACEME, PEEKUSER, CONT, KILL, SYSCALL, SETOPTIONS = 0, 3, 7, 8, 24, 0x4200
GETREGSET, SETREGSET = 0x4204, 0x4205
NT_PRSTATUS, NT_ARM_SYSTEM_CALL = 1, 0x404
# SYSGOOD, FORK, VFORK, CLONE, EXEC, SECCOMP, EXITKILL
OPTIONS = 1 | 2 | 4 | 8 | 16 | 0x80 | 0x100000
EVENT_SECCOMP = 7
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@functools.cache
def machine():
    """What is known of this machine's calls, or nothing where none is, or ptrace is not allowed."""
    if platform.system() != "Linux" or platform.machine() not in MACHINES:
        return None
    child = os.fork()
    if child == 0:
        os._exit(0 if libc.ptrace(TRACEME, 0, None, None) == 0 else 1)
    return MACHINES[platform.machine()] if os.waitpid(child, 0)[1] == 0 else None


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Event:
    """A call that changes files: its kind, the file, and for a rename where to."""

    def __init__(self, kind, path, to=None, size=0):
        self.kind, self.path, self.to, self.size = kind, path, to, size

    def __str__(self):
        return f"{self.kind} {self.path}" + (f" -> {self.to}" if self.to else "")


class Outcome:
    def __init__(self):
        self.status = None  # as waitpid has it
        self.events = []
        self.killed = None  # the event at which it was killed
        self.seconds = 0.0

    @property
    def code(self):
        return None if self.status is None else os.waitstatus_to_exitcode(self.status)


def bpf_filter(known):
    """Programs of the kernel's filter: those calls are reported, all others pass."""
    numbers = sorted(known["calls"].values())
    program = [(0x20, 0, 0, 4), (0x15, 1, 0, known["audit"]), (0x06, 0, 0, 0x7FFF0000)]
    program.append((0x20, 0, 0, 0))
    for i, number in enumerate(numbers):
        program.append((0x15, len(numbers) - i, 0, number))
    program += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x7FF00000)]
    return b"".join(struct.pack("HBBI", *line) for line in program), len(program)


class Tracer:
    def __init__(self, known, folder):
        self.known, self.folder = known, os.path.realpath(folder)
        self.names = {number: name for name, number in known["calls"].items()}

    def registers(self, tid):
        buffer = (ctypes.c_uint64 * self.known["registers"])()
        vec = IoVec(ctypes.addressof(buffer), ctypes.sizeof(buffer))
        if libc.ptrace(GETREGSET, tid, NT_PRSTATUS, ctypes.addressof(vec)) != 0:
            return None
        return buffer

    def put_registers(self, tid, buffer):
        vec = IoVec(ctypes.addressof(buffer), ctypes.sizeof(buffer))
        libc.ptrace(SETREGSET, tid, NT_PRSTATUS, ctypes.addressof(vec))

    def call(self, registers):
        number = self.known["number"]
        value = registers[8] if number is None else registers[number]
        return self.names.get(value)

    def text(self, tid, address):
        found = b""
        try:
            with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
                while b"\0" not in found and len(found) < 4096:
                    # To the end of the page, which may be the last there is.
                    memory.seek(address + len(found))
                    found += memory.read(4096 - (address + len(found)) % 4096)
        except OSError:
            pass
        return os.fsdecode(found.split(b"\0")[0])

    def opened(self, tid, descriptor):
        try:
            return os.readlink(f"/proc/{tid}/fd/{descriptor}")
        except OSError:
            return ""

    def at(self, tid, descriptor, name):
        if os.path.isabs(name):
            return name
        descriptor = ctypes.c_int32(descriptor & 0xFFFFFFFF).value
        link = f"/proc/{tid}/cwd" if descriptor == -100 else f"/proc/{tid}/fd/{descriptor}"
        try:
            return os.path.normpath(os.path.join(os.readlink(link), name))
        except OSError:
            return name

    def event(self, tid, registers):
        """What a call would change in the folder, or nothing."""
        name = self.call(registers)
        a = [registers[i] for i in self.known["arguments"]]
        path = to = None
        size = 0
        if name in ("write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "flock"):
            path, size = self.opened(tid, a[0]), a[2] if name in ("write", "pwrite64") else 0
        elif name in ("open", "creat"):
            flags = a[1] if name == "open" else os.O_CREAT
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                path = self.at(tid, -100, self.text(tid, a[0]))
        elif name == "openat":
            if a[2] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                path = self.at(tid, a[0], self.text(tid, a[1]))
        elif name in ("rename", "link"):
            path = self.at(tid, -100, self.text(tid, a[0]))
            to = self.at(tid, -100, self.text(tid, a[1]))
        elif name in ("renameat", "renameat2", "linkat"):
            path = self.at(tid, a[0], self.text(tid, a[1]))
            to = self.at(tid, a[2], self.text(tid, a[3]))
        elif name in ("unlink", "rmdir", "mkdir"):
            path = self.at(tid, -100, self.text(tid, a[0]))
        elif name in ("unlinkat", "mkdirat"):
            path = self.at(tid, a[0], self.text(tid, a[1]))
        if path is None or not (path + "/").startswith(self.folder + "/"):
            return None
        kind = {"openat": "open", "creat": "open", "renameat": "rename", "renameat2": "rename",
                "linkat": "link", "unlinkat": "unlink", "mkdirat": "mkdir", "pwrite64": "write",
                "writev": "write", "fdatasync": "fsync"}.get(name, name)
        return Event(kind, path, to, size)

    def fail(self, tid, registers, code):
        """Lets the call return an error, without being made."""
        registers[self.known["result"]] = -code & 0xFFFFFFFFFFFFFFFF
        if self.known["number"] is None:
            self.put_registers(tid, registers)
            none = ctypes.c_int32(-1)
            vec = IoVec(ctypes.addressof(none), 4)
            libc.ptrace(SETREGSET, tid, NT_ARM_SYSTEM_CALL, ctypes.addressof(vec))
        else:
            registers[self.known["number"]] = 0xFFFFFFFFFFFFFFFF
            self.put_registers(tid, registers)


def run(args, folder, decide, log, env=None, timeout=LIMIT):
    """Runs a program to its end. `decide` is asked at each call that changes something below
    `folder`, with its number from 0 on and the `Event`: it answers with nothing, "kill" (before the
    call), "half" (a write of which half is done, then the end), or the number of an error. A
    program that has not ended after `timeout` seconds is killed, and that is a failure."""
    known = machine()
    code, length = bpf_filter(known)
    outcome, began = Outcome(), time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(out, 2)
            libc.prctl(38, 1, 0, 0, 0)
            libc.ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            kept = ctypes.create_string_buffer(code, len(code))
            head = struct.pack("HxxxxxxQ", length, ctypes.addressof(kept))
            if libc.prctl(22, 2, ctypes.c_char_p(head), 0, 0) != 0:
                os._exit(125)
            os.execve(args[0], args, env or os.environ)
        finally:
            os._exit(126)
    tracer = Tracer(known, folder)
    os.waitpid(child, WALL)
    libc.ptrace(SETOPTIONS, child, None, OPTIONS)
    libc.ptrace(CONT, child, None, None)

    def end():
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass

    # An alarm interrupts the waiting for a program that hangs.
    hung = []

    def on_alarm(*_):
        hung.append(True)
        end()

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    ending = set()  # threads that have half a write to do
    try:
        while True:
            try:
                tid, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                break
            if not os.WIFSTOPPED(status):
                if tid == child:
                    outcome.status = status
                continue
            how, what = os.WSTOPSIG(status), 0
            if how == signal.SIGTRAP | 0x80 and tid in ending:
                end()
                continue
            if status >> 16 == EVENT_SECCOMP:
                registers = tracer.registers(tid)
                event = registers and outcome.killed is None and tracer.event(tid, registers)
                if event:
                    answer = decide(len(outcome.events), event)
                    outcome.events.append(event)
                    if answer == "half" and event.kind == "write" and event.size > 1:
                        registers[known["arguments"][2]] = event.size // 2
                        tracer.put_registers(tid, registers)
                        outcome.killed = event
                        ending.add(tid)
                        libc.ptrace(SYSCALL, tid, None, None)
                        continue
                    if answer in ("kill", "half"):
                        outcome.killed = event
                        end()
                        continue
                    if answer:
                        tracer.fail(tid, registers, answer)
            elif status >> 16 or how in (signal.SIGTRAP, signal.SIGSTOP):
                pass  # a new thread or process, or a program begun
            else:
                what = how  # its own signals reach it
            libc.ptrace(CONT, tid, None, what)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    outcome.seconds = time.monotonic() - began
    if hung:
        raise Failed(f"it hangs: {' '.join(args)} had not ended after {timeout:.0f} s")
    return outcome


ERRORS = {name: getattr(errno, name) for name in
          ("ENOSPC", "EIO", "EROFS", "ENOLCK", "EINVAL", "EDQUOT")}
