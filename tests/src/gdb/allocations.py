"""For gdb: writes down the stack of every allocation of the process it is attached to, until that ends.

One JSON object a line: each allocation with gdb's own backtrace, and the registers and the stack's bytes that
it was made from; at the end, what was mapped as code.
"""

import json
import os
import re

import gdb

# Where the C library is entered to allocate. Those that enter one another count once, as the outer call.
FUNCTIONS = (
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "pvalloc",
)
# Those that jump to another: realloc(NULL, n) goes on as malloc.
HANDS_ON = {"realloc": "malloc", "reallocarray": "realloc"}
# Bytes of stack that are written down at most.
MOST_STACK = 1 << 18

out = open(os.environ["ALLOCATIONS"], "w", encoding="ascii")
code = {}


def read_maps():
    with open(f"/proc/{gdb.selected_inferior().pid}/maps", encoding="utf-8") as maps:
        for line in maps:
            match = re.match(r"(\w+)-(\w+) ..x. (\w+) \S+ \d+ *(.*)", line)
            if match:
                start, end, offset = (int(number, 16) for number in match.groups()[:3])
                code[start] = {"start": start, "end": end, "offset": offset, "path": match[4]}


def is_known(address):
    return any(piece["start"] <= address < piece["end"] for piece in code.values())


def register(frame, name):
    return int(frame.read_register(name)) & 0xFFFF_FFFF_FFFF_FFFF


def base_name(function):
    return re.sub(r"^__libc_|@.*$", "", function or "")


class Allocation(gdb.Breakpoint):
    # Of the last stop: what it was called from, and the function that may go on with the same call.
    came_from = None
    hands_on_to = None

    def __init__(self, function):
        # The very first instruction, not behind what gdb takes for a prologue.
        super().__init__(f"*{function}", internal=True)
        self.silent = True
        self.function = function

    def stop(self):
        innermost = frame = gdb.newest_frame()
        registers = {name: register(frame, name) for name in ("rip", "rsp", "rbp")}
        frames = []
        names = []
        while frame is not None:
            # With debug information gdb tells of calls that have no frame: inlined ones, and jumps.
            if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
                frames.append(frame.pc())
                names.append(frame.name())
            outermost = frame
            frame = frame.older()
        caller = names[1] if len(names) > 1 else None
        came_from = (registers["rsp"], frames[1:])
        # By a jump, within the call that the last stop was at.
        handed_on = Allocation.came_from == came_from and self.function == Allocation.hands_on_to
        Allocation.came_from = came_from
        Allocation.hands_on_to = HANDS_ON.get(self.function)
        asks_for_nothing = False
        if self.function == "realloc":
            block, size = register(innermost, "rdi"), register(innermost, "rsi")
            asks_for_nothing = block != 0 and size == 0
            if block != 0:
                Allocation.hands_on_to = None
        if handed_on or asks_for_nothing or base_name(caller) in FUNCTIONS:
            return False
        if not all(is_known(address) for address in frames):
            read_maps()
        size = register(outermost, "rsp") + 128 - registers["rsp"]
        stack = bytes(read_stack(registers["rsp"], min(size, MOST_STACK)))
        end = gdb.frame_stop_reason_string(outermost.unwind_stop_reason())
        stop = {"function": self.function, "frames": frames, "end": end, "stack": stack.hex()}
        out.write(json.dumps(stop | registers) + "\n")
        return False


def read_stack(address, size):
    inferior = gdb.selected_inferior()
    try:
        return inferior.read_memory(address, size)
    except gdb.MemoryError:
        # It ends before the bytes that were asked for beyond the outermost frame.
        return inferior.read_memory(address, size - 128)


gdb.execute("set pagination off")
gdb.execute("set confirm off")
gdb.execute("set backtrace past-main on")
gdb.execute("set backtrace past-entry on")
gdb.execute("set backtrace limit unlimited")
gdb.execute("handle all nostop noprint pass")
read_maps()
seen = set()
for function in FUNCTIONS:
    address = int(gdb.parse_and_eval(f"(long)&{function}"))
    # Some are names for one and the same.
    if address not in seen:
        seen.add(address)
        Allocation(function)
print("ready", flush=True)
gdb.execute("continue")
out.write(json.dumps({"code": list(code.values())}) + "\n")
out.close()
print("done", flush=True)
