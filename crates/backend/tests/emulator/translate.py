"""Makes a shared object for the host from a CUDA translation unit, and prints its path.

    translate.py UNIT CAPABILITY

The unit is preprocessed, with prelude.h in front. Then what the host's compiler would not
understand is rewritten, as text: statements in assembly become calls, shared variables become
references into the memory of a block, and each kernel is exported with a description
(`Kernel` in machine.h). An instruction that is not listed in `INSTRUCTIONS` is an error.

Objects are kept in the folder that DWARFSTAR_EMULATED_CACHE names, or in one of the user's own
beside other temporary files, by the hash of the unit and of all that translates it.
"""

import hashlib
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

SUMS = "{type} *emulated_sums[] = {{%outputs}}; "
FACTORS = "unsigned emulated_a[] = {%a}; unsigned emulated_b[] = {%b}; "
FLOAT_SUMS = SUMS.format(type="float")
TILES = "unsigned *emulated_tiles[] = {%outputs}; "

# Patterns of instructions, the first that is found counts, and what stands for them. `%0` and so on
# are operands, as in the assembly, `\1` what the pattern has caught; `%outputs` are the addresses
# of all outputs, `%a` the first four inputs and `%b` the two after.
INSTRUCTIONS = [
    # One kernel runs at a time, registers and caches are not counted, and memory is coherent.
    (r"griddepcontrol|setmaxnreg|prefetch|fence\.proxy", ""),
    # Products are done at once.
    (r"wgmma\.(fence|commit_group|wait_group)", ""),
    # Nobody waits for a cluster without having arrived: one meeting stands for both.
    (r"barrier\.cluster\.arrive", ""),
    (r"barrier\.cluster\.wait", "emulated::meet_cluster();"),
    (r"globaltimer|createpolicy", "%0 = 0;"),
    (r"prmt\.b32", "%0 = emulated::pick_bytes(%1, %2, %3);"),
    (r"cvt\.f32\.f16", "%0 = emulated::half_to_float(%1);"),
    (r"cvt\.rn\.bf16x2", "%0 = emulated::bf16_pair(%1, %2);"),
    (r"rcp\.approx", "%0 = 1.0f / %1;"),
    (r"cvt\.rn\.f16x2", "%0 = emulated::half_pair(%1, %2);"),
    (r"fma\.rn\.bf16x2", "%0 = emulated::multiply_add_pairs(%1, %2, %3);"),
    (r"ex2\.approx", "%0 = exp2f(%1);"),
    (r"dp4a\.u32\.s32", "%0 = emulated::dot_unsigned(%1, %2, %0);"),
    (r"max\.NaN\.f32 %0, %1, 0f00000000;", "%0 = emulated::positive_part(%1);"),
    (r"ld\.shared\.u32 %0, \[%1 \+ %2\];", "%0 = *(unsigned *)emulated::at(%1 + %2);"),
    (r"ld\.global\.nc\.L2::cache_hint\.u32 %0, \[%1\], %2;", "%0 = *%1;"),
    (r"st\.shared::cluster\.f32", "*(float *)emulated::at(%0) = %1;"),
    (r"st\.async\.\S+\.v2\.f32", "emulated::store_and_count(%0, {%1, %2}, %3);"),
    (r"st\.async\.\S+\.f32", "emulated::store_and_count(%0, {%1}, %2);"),
    (r"mapa\.", "%0 = emulated::address_in(%1, %2);"),
    (r"cp\.async\.commit_group", "emulated::commit_copies();"),
    (r"cp\.async\.wait_all", "emulated::wait_for_all_copies();"),
    (r"cp\.async\.wait_group", "emulated::wait_for_copies(%0);"),
    (r"cp\.async\.\S+::cache_hint \[%0\], \[%1\], (\d+), %2;", r"emulated::copy(%0, %1, \1, \1);"),
    (r"cp\.async\.\S+ \[%0\], \[%1\], (\d+), %2;", r"emulated::copy(%0, %1, \1, %2);"),
    # Who only says that it has come waits as well: that is one order of many.
    (r"bar\.(?:sync|arrive)", "emulated::meet_at_barrier(%0, %1, false);"),
    (r"mbarrier\.init\S* \[%0\], (%?\d+);", r"emulated::begin_barrier(%0, \1);"),
    (r"mbarrier\.arrive\.expect_tx", "emulated::arrive_expecting(%0, %1);"),
    (r"mbarrier\.arrive", "emulated::arrive(%0);"),
    (
        r"mbarrier\.(?:try|test)_wait\.parity\S* p, \[%1\], (%?\d+);",
        r"%0 = emulated::phase_is_over(%1, \1);",
    ),
    (
        r"ldmatrix\S*\.x(\d)\.trans\S* \{[^}]*\}, \[(%\d)\];",
        TILES + r"emulated::load_matrices(emulated_tiles, \1, \2, true);",
    ),
    (
        r"ldmatrix\S*\.x(\d)\.shared\S* \{[^}]*\}, \[(%\d)\];",
        TILES + r"emulated::load_matrices(emulated_tiles, \1, \2, false);",
    ),
    (
        r"m16n8k16\.row\.col\.f32\.bf16",
        FLOAT_SUMS + FACTORS + "emulated::multiply_bf16(emulated_sums, emulated_a, emulated_b);",
    ),
    (
        r"m16n8k16\.row\.col\.f32\.f16",
        FLOAT_SUMS + FACTORS + "emulated::multiply_f16(emulated_sums, emulated_a, emulated_b);",
    ),
    (
        r"m16n8k8\.row\.col\.f32\.tf32",
        FLOAT_SUMS + FACTORS + "emulated::multiply_tf32(emulated_sums, emulated_a, emulated_b);",
    ),
    (
        r"m16n8k32\.row\.col\.s32\.s8.* \{(%\d+), \1, \1, \1\};",
        SUMS.format(type="unsigned")
        + FACTORS
        + r"emulated::multiply_bytes(emulated_sums, emulated_a, emulated_b, \1);",
    ),
    (
        r"setp\.ne\.b32 p, (%\d+), 0;.*\.m64n(\d+)k16\.f32\.bf16.*\}, (%\d+), p, 1, 1, 0;",
        FLOAT_SUMS
        + "unsigned emulated_a[] = {%a}; "
        + r"emulated::multiply_shared(\2, emulated_sums, emulated_a, \3, \1 != 0);",
    ),
    (
        r"\.m64n(\d+)k16\.f32\.f16.*\}, (%\d+), (%\d+), 1, 1, 1, 0, 0;",
        FLOAT_SUMS + r"emulated::multiply_both_shared(\1, emulated_sums, \2, \3, true, true);",
    ),
    (
        r"setp\.ne\.b32 p, (%\d+), 0;.*\.m64n(\d+)k16\.f32\.bf16.*"
        r"\}, (%\d+), (%\d+), p, 1, 1, 0, 0;",
        FLOAT_SUMS
        + r"emulated::multiply_both_shared(\2, emulated_sums, \3, \4, \1 != 0, false);",
    ),
    (
        r"\.m64n(\d+)k16\.f32\.bf16.*\}, (%\d+), 1, 1, 1, 1;",
        FLOAT_SUMS
        + "unsigned emulated_a[] = {%a}; "
        + r"emulated::multiply_shared(\1, emulated_sums, emulated_a, \2, true, true);",
    ),
    (
        r"\.m64n(\d+)k16\.f32\.bf16.*\}, (%\d+), 1, 1, 1, 0;",
        FLOAT_SUMS
        + "unsigned emulated_a[] = {%a}; "
        + r"emulated::multiply_shared(\1, emulated_sums, emulated_a, \2, true);",
    ),
]

ASSEMBLY = re.compile(r"\basm\b\s*(?:volatile\b)?\s*\(")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
OPERAND = re.compile(r'\s*"[^"]*"\s*\((.*)\)\s*$', re.DOTALL)
DYNAMIC = re.compile(r"extern\s+EMULATED_SHARED\s+([\w:]+)\s+(\w+)\s*\[\s*\]\s*;")
SHARED = re.compile(r"EMULATED_SHARED\s+((?:typename\s+)?[\w:]+(?:<[^;]*?>)?)\s+([^;=]+);")
KERNEL = re.compile(
    r"EMULATED_KERNEL\s+void\s+(?:EMULATED_CLUSTER\(\s*(\d+)\s*\)\s*)?(\w+)\s*\("
)


def outside_strings(text, start=0):
    """Places and characters of a text, without those in string literals."""
    in_string = escaped = False
    for place in range(start, len(text)):
        character = text[place]
        if not in_string:
            in_string = character == '"'
            if not in_string:
                yield place, character
        elif escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            in_string = False


def closing(text, opening):
    """Where the bracket at `opening` is closed."""
    depth = 0
    for place, character in outside_strings(text, opening):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return place
    sys.exit(f"a bracket that is not closed: {text[opening:opening + 80]}")


def split(text, separator):
    """Parts between separators that stand in no brackets."""
    depth, start, parts = 0, 0, []
    for place, character in outside_strings(text):
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def operands(text):
    """The expressions of a list of operands."""
    if not text.strip():
        return []
    return [f"({OPERAND.match(operand).group(1)})" for operand in split(text, ",")]


def call(statement):
    """What stands for a statement in assembly, given without `asm` and its parentheses."""
    parts = [*split(statement, ":"), "", ""]
    code = "".join(STRING.findall(parts[0]))
    outputs, inputs = operands(parts[1]), operands(parts[2])
    for pattern, template in INSTRUCTIONS:
        found = re.search(pattern, code, re.DOTALL)
        if not found:
            continue
        lists = {
            "%outputs": ", ".join(f"&{output}" for output in outputs),
            "%a": ", ".join(f"(unsigned){value}" for value in inputs[:4]),
            "%b": ", ".join(f"(unsigned){value}" for value in inputs[4:6]),
        }
        lists |= {f"%{i}": operand for i, operand in enumerate(outputs + inputs)}
        return re.sub(r"%\w+", lambda name: lists[name.group()], found.expand(template))
    sys.exit(f"an instruction that is not emulated: {code}")


def without_assembly(text):
    done, out = 0, []
    while found := ASSEMBLY.search(text, done):
        end = closing(text, found.end() - 1)
        out += [text[done : found.start()], "{ ", call(text[found.end() : end]), " }"]
        done = text.index(";", end) + 1
    return "".join(out) + text[done:]


def shared_variables(text):
    text = DYNAMIC.sub(r"static \1 *&\2 = (\1 *&)emulated::dynamic_memory;", text)
    depth, depths = 0, {}
    starts = {found.start() for found in SHARED.finditer(text)}
    for place, character in outside_strings(text):
        depth += (character == "{") - (character == "}")
        if place in starts:
            depths[place] = depth

    def references(found):
        kind, out = found.group(1), []
        for declared in split(found.group(2), ","):
            name, dimensions = re.match(r"\s*(\w+)(.*)", declared, re.DOTALL).groups()
            its_type = f"emulated_type_{name}"
            out.append(f"typedef {kind} {its_type}{dimensions};")
            if depths[found.start()] == 0:
                out.append(f"static emulated::SharedArray<{its_type}> {name};")
                continue
            out.append(f"static char emulated_key_{name};")
            memory = f"emulated::static_memory(&emulated_key_{name}, sizeof({its_type}))"
            out.append(f"{its_type} &{name} = *({its_type} *){memory};")
        return " ".join(out)

    return SHARED.sub(references, text)


def exported_kernels(text):
    exports = [
        f'extern "C" emulated::Kernel emulated_kernel_{name} = {{"{name}", {cluster or 1}, '
        f"emulated::Called<&{name}>::count, emulated::Called<&{name}>::bytes, "
        f"emulated::Called<&{name}>::call}};\n"
        for cluster, name in KERNEL.findall(text)
    ]
    return KERNEL.sub(r"void \2(", text) + "\n" + "".join(exports)


def compiler(*arguments):
    """What the host's compiler writes; its errors go where ours do."""
    done = subprocess.run(["g++", "-std=c++17", *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(1)
    return done.stdout


def cache():
    """The folder of objects. Nobody else may write there: what lies in it is run."""
    own = os.path.join(tempfile.gettempdir(), f"dwarfstar-emulator-{os.getuid()}")
    folder = pathlib.Path(os.environ.get("DWARFSTAR_EMULATED_CACHE", own)).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    ours = status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not ours or not stat.S_ISDIR(status.st_mode):
        sys.exit(f"{folder}: others can write here; name another in DWARFSTAR_EMULATED_CACHE")
    return folder


def make(unit, capability, target):
    architecture = [f"-D__CUDA_ARCH__={capability * 10}"]
    if capability == 90:
        architecture.append("-D__CUDA_ARCH_FEAT_SM90_ALL")
    prelude = ["-include", HERE / "prelude.h"]
    text = compiler("-E", "-P", "-x", "c++", *architecture, *prelude, unit)
    text = exported_kernels(shared_variables(without_assembly(text)))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        translated, made = pathlib.Path(folder, "unit.cpp"), pathlib.Path(folder, "unit.so")
        translated.write_text(text)
        # Kernels say where products and sums are joined; and they read memory as other types.
        numbers = ["-ffp-contract=off", "-fno-strict-aliasing"]
        shared = ["-fPIC", "-shared", "-Wl,-Bsymbolic", f"-L{HERE}", "-l:libcuda.so.1"]
        compiler("-w", "-O1", *numbers, translated, "-o", made, *shared)
        # Others may make the same; whoever reads it finds it whole.
        os.replace(made, target)


def main(unit, capability):
    digest = hashlib.blake2b(capability.encode(), digest_size=16)
    for part in [unit, *(HERE / name for name in ("translate.py", "prelude.h", "machine.h"))]:
        digest.update(pathlib.Path(part).read_bytes())
    target = cache() / f"{digest.hexdigest()}.so"
    if not target.exists():
        make(unit, int(capability), target)
    print(target, end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
