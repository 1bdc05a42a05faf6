"""Shows that the emulator sees what it says it sees: small wrong kernels, and how each ends.

    check.py FOLDER

The folder is one that build.sh has filled. Each kernel runs in a process of its own.
"""

import ctypes
import os
import pathlib
import subprocess
import sys

BEGIN = """
typedef unsigned int u32;
extern "C" __global__ void wrong(u32 *to) {
    to[threadIdx.x] = 1;
    __shared__ u32 tile[64];
    u32 at = (u32)__cvta_generic_to_shared(&tile[threadIdx.x]);
"""
COPY = (
    'asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"'
    ' :: "r"(at), "l"(to + threadIdx.x), "r"(4));'
)
WAIT = 'asm volatile("cp.async.wait_all;");'
BARRIER_OF_64 = 'asm volatile("bar.sync %0, %1;" :: "r"(1), "n"(64));'
# Name, body, and words of the sentence; no words where the kernel ends well.
CASES = [
    ("right", f"{COPY} {WAIT} if (tile[threadIdx.x] != to[threadIdx.x]) __syncwarp(0);", ""),
    ("read early", f"{COPY} if (tile[threadIdx.x] != 1) __syncwarp(0);", "not in its mask"),
    ("outside of a mask", "__syncwarp(1);", "a lane that is not in its mask"),
    ("deadlock", BARRIER_OF_64, "deadlock"),
    ("behind the end", "to[256 / 4] = 1;", "fault at address"),
    ("misaligned", f"at += 2; {COPY}", "a misaligned copy"),
    ("not shared", "at = __cvta_generic_to_shared(to);", "not in shared memory"),
    ("stack overrun", "volatile char deep[1 << 17]; deep[0] = 0;", "fault at address"),
]


def run(body):
    """Compiles a kernel and runs it with one block of 32 threads, on 256 bytes of memory."""
    compiler, driver = ctypes.CDLL("libnvrtc.so.12"), ctypes.CDLL("libcuda.so.1")
    program, module, kernel = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    address, argument = ctypes.c_uint64(), (ctypes.c_void_p * 1)()
    source = (BEGIN + body + "}").encode()
    options = (ctypes.c_char_p * 1)(b"--gpu-architecture=sm_90a")
    assert compiler.nvrtcCreateProgram(ctypes.byref(program), source, b"", 0, None, None) == 0
    if compiler.nvrtcCompileProgram(program, 1, options) != 0:
        log = ctypes.create_string_buffer(1 << 16)
        compiler.nvrtcGetProgramLog(program, log)
        sys.exit(log.value.decode())
    code = ctypes.create_string_buffer(1 << 12)
    compiler.nvrtcGetCUBIN(program, code)
    assert driver.cuInit(0) == driver.cuCtxSetCurrent(None) == 0
    assert driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(256)) == 0
    assert driver.cuModuleLoadData(ctypes.byref(module), code) == 0
    assert driver.cuModuleGetFunction(ctypes.byref(kernel), module, b"wrong") == 0
    argument[0] = ctypes.cast(ctypes.pointer(address), ctypes.c_void_p)
    # Grid, block, dynamic shared memory; then a stream and attributes, of which there are none.
    config = (ctypes.c_uint32 * 16)(1, 1, 1, 32, 1, 1)
    assert driver.cuLaunchKernelEx(config, kernel, argument, None) == 0


def main(folder):
    failures = 0
    environment = {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": folder,
        "DWARFSTAR_EMULATED_CACHE": str(pathlib.Path(folder, "kernels")),
    }
    for name, body, words in CASES:
        command = [sys.executable, __file__, folder, body]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        found = words in ended.stderr and "in wrong" in ended.stderr if words else not ended.stderr
        if (ended.returncode == 0) != (words == "") or not found:
            failures += 1
            print(f"{name}: expected '{words}', found {ended.returncode}: {ended.stderr}")
    print(f"the emulator sees {len(CASES) - failures} of {len(CASES)}")
    sys.exit(failures > 0)


if __name__ == "__main__":
    run(sys.argv[2]) if len(sys.argv) > 2 else main(sys.argv[1])
