"""A process that gives up what it does not need: the network, writing, other programs, more memory and time.

Three layers, each for what the others cannot: a network namespace without interfaces where the system permits it; a
seccomp filter, which every process may put on itself, also in a container without any capability; and an audit hook,
which names what Python code tried. The filter and the hook cannot be taken off again.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from typing import Any

CLONE_NEWNET = 0x40000000
CLONE_THREAD = 0x00010000
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
EPERM, ENOSYS = 1, 38
ALLOW, REFUSE, NOT_THERE = 0x7FFF0000, 0x00050000 | EPERM, 0x00050000 | ENOSYS
# Classic BPF: load a word of the call, compare it, return.
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, MACHINE_AT, ARGUMENTS_AT = 0, 4, 16
# A second numbering of the calls on x86-64; whoever uses it wants to get around a filter.
X32 = 0x40000000
# Opening for reading is all that is left: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE's own bit.
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0o20000000

# Name -> number on x86-64 and on AArch64 (None: the machine has no such call), from Linux' tables.
FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "sendto": (44, 206),
    "sendmsg": (46, 211), "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "ptrace": (101, 117), "process_vm_writev": (311, 271), "kill": (62, 129), "tkill": (200, 130),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "io_uring_setup": (425, 425), "bpf": (321, 280),
    "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268), "keyctl": (250, 219), "creat": (85, None),
    "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33), "chmod": (90, None),
    "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "truncate": (76, 45), "setxattr": (188, 5), "utimensat": (280, 88),
}  # fmt: skip
# Said not to be there: the C library then uses the older call, whose flags a filter can read.
HIDDEN = {"clone3": (435, 435), "openat2": (437, 437)}
# Of each: which argument has flags, and which of them are refused.
OPEN, OPENAT, CLONE = (2, None), (257, 56), (56, 220)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# What Python code would do to reach out; `sys.audit` events. Imports go on: the runtimes load parts of themselves late.
AUDITED = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn",
    "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
    "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect", "webbrowser.open",
    "pickle.find_class", "shutil.", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
    "os.chmod", "os.chown", "os.truncate", "os.kill", "ctypes.dlopen",
)  # fmt: skip


def leave_network() -> bool:
    """Move to a network of our own without interfaces; whether the system permitted it. Before any thread begins."""
    try:
        return bool(ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0)
    except (OSError, AttributeError):
        return False


def limit(memory_bytes: int, processor_s: float) -> None:
    """From here on: so many bytes of address space more, so many seconds of the processor more, no file written."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - before pathlib is of use to anyone
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + processor_s) + 1
    for kind, most in (
        (resource.RLIMIT_AS, mapped + memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def forbid() -> list[str]:
    """Forbid the network, writing and other programs to all threads of this process; names of the layers that hold."""
    layers = ["seccomp"] if _filter() else []
    sys.addaudithook(_refuse)
    return [*layers, "audit hook"]


def first_to_go() -> None:
    """When the machine runs out of memory, this process is the one to end, not the server."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("1000")
    except OSError:
        return


def program(machine: str) -> bytes:
    """The filter for this machine, as the kernel reads it. Raises KeyError for a machine whose calls are not listed."""
    column, architecture = MACHINES[machine]
    code = [(LOAD, 0, 0, MACHINE_AT), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, NUMBER_AT)]
    if machine == "x86_64":
        code += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, REFUSE)]
    for numbers, answer in [(each, REFUSE) for each in FORBIDDEN.values()] + [
        (each, NOT_THERE) for each in HIDDEN.values()
    ]:
        if (number := numbers[column]) is not None:
            code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, answer)]
    for numbers, argument in ((OPEN, 1), (OPENAT, 2)):
        if (number := numbers[column]) is not None:
            code += _if_flags(number, argument, [(ANY_BIT, 0, 1, WRITING & ~os.O_CLOEXEC), (RETURN, 0, 0, REFUSE)])
    # A thread is a clone with this flag; without it, it is a process.
    code += _if_flags(CLONE[column], 0, [(ANY_BIT, 1, 0, CLONE_THREAD), (RETURN, 0, 0, REFUSE)])
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("<HBBI", *each) for each in code)


def _if_flags(number: int, argument: int, then: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Of the call of that number, look at an argument's low word (little-endian) and allow what is left."""
    inner = [(LOAD, 0, 0, ARGUMENTS_AT + 8 * argument), *then, (RETURN, 0, 0, ALLOW)]
    return [(EQUAL, 0, len(inner), number), *inner]


def _filter() -> bool:
    machine = platform.machine()
    if machine not in MACHINES or sys.byteorder != "little":
        return False
    filters = program(machine)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        code = ctypes.create_string_buffer(filters, len(filters))
        described = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(filters) // 8, ctypes.addressof(code)))
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        call = {"x86_64": 317, "aarch64": 277}[machine]
        # In all threads, also those that the runtimes have begun.
        done = libc.syscall(
            ctypes.c_long(call),
            ctypes.c_long(SECCOMP_SET_MODE_FILTER),
            ctypes.c_long(SECCOMP_FILTER_FLAG_TSYNC),
            described,
        )
    except (OSError, AttributeError):
        return False
    return bool(done == 0)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(AUDITED) or (event == "open" and _writes(arguments)):
        raise PermissionError(f"a version on trial tried {event} {ascii(arguments)[:200]}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
