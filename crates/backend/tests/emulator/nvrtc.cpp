// A stand-in for NVRTC, the run-time compiler of CUDA. Its machine code is the path of a shared
// object for the host, which translate.py makes and keeps; driver.cpp loads it.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <string>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

enum Result { SUCCESS = 0, COMPILATION = 6 };

struct Program {
    std::string source, code, log;
};

// What build.sh has put beside this library.
fs::path translator() {
    Dl_info info;
    dladdr((void *)translator, &info);
    return fs::absolute(info.dli_fname).replace_filename("translate.py");
}

std::string shell_word(const std::string &word) {
    std::string out = "'";
    for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

// 90 of `--gpu-architecture=sm_90a`.
int architecture(int count, const char *const *options) {
    for (int i = 0; i < count; i++)
        if (const char *name = strstr(options[i], "sm_")) return atoi(name + 3);
    return 0;
}

// Runs the translator. What it prints is the path of an object; if it fails, the reason.
bool translate(const std::string &source, int capability, std::string &printed) {
    std::string unit = fs::temp_directory_path() / "dwarfstar-kernel-XXXXXX";
    int file = mkstemp(unit.data());
    if (file < 0 || write(file, source.data(), source.size()) != (ssize_t)source.size())
        return printed = "no room for the source of a kernel in " + unit, false;
    close(file);
    std::string command = "python3 " + shell_word(translator()) + " " + shell_word(unit) + " " +
                          std::to_string(capability) + " 2>&1";
    FILE *output = popen(command.c_str(), "r");
    if (!output) return printed = "python3 does not start", false;
    for (int c; (c = getc(output)) != EOF;) printed += (char)c;
    bool made = pclose(output) == 0;
    unlink(unit.c_str());
    return made;
}

}  // namespace

extern "C" {

int nvrtcVersion(int *major, int *minor) { return *major = 12, *minor = 9, SUCCESS; }

int nvrtcCreateProgram(void **program, const char *source, const char *, int,
                       const char *const *, const char *const *) {
    return *program = new Program{source, "", ""}, SUCCESS;
}

int nvrtcDestroyProgram(void **program) { return delete (Program *)*program, SUCCESS; }

int nvrtcCompileProgram(void *handle, int count, const char *const *options) {
    Program &program = *(Program *)handle;
    std::string printed;
    bool made = translate(program.source, architecture(count, options), printed);
    (made ? program.code : program.log) = printed;
    return made ? SUCCESS : COMPILATION;
}

int nvrtcGetCUBINSize(void *program, size_t *bytes) {
    return *bytes = ((Program *)program)->code.size() + 1, SUCCESS;
}
int nvrtcGetCUBIN(void *program, char *to) {
    return strcpy(to, ((Program *)program)->code.c_str()), SUCCESS;
}
int nvrtcGetProgramLogSize(void *program, size_t *bytes) {
    return *bytes = ((Program *)program)->log.size() + 1, SUCCESS;
}
int nvrtcGetProgramLog(void *program, char *to) {
    return strcpy(to, ((Program *)program)->log.c_str()), SUCCESS;
}

}  // extern "C"
