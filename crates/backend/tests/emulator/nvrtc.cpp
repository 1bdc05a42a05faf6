// A stand-in for NVRTC, the run-time compiler of CUDA. Its machine code is the path of a shared
// object for the host, which translate.py makes; driver.cpp loads it.
//
// Objects are kept in the folder that DWARFSTAR_EMULATED_CACHE names, or in one of the user's own
// beside other temporary files, by the hash of the source and of all that translates it.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

enum Result { SUCCESS = 0, INVALID_INPUT = 3, COMPILATION = 6 };

struct Program {
    std::string source, code, log;
};

std::string contents(const fs::path &path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Where this library lies; build.sh puts beside it what translation needs.
fs::path own_folder() {
    Dl_info info;
    dladdr((void *)contents, &info);
    return fs::absolute(info.dli_fname).parent_path();
}

// Nobody else may write here: what lies in it is run.
fs::path cache_folder() {
    const char *given = getenv("DWARFSTAR_EMULATED_CACHE");
    std::string own = "dwarfstar-emulator-" + std::to_string(getuid());
    fs::path folder = given ? fs::path(given) : fs::temp_directory_path() / own;
    std::error_code there_already;
    fs::create_directories(folder.parent_path(), there_already);
    mkdir(folder.c_str(), 0700);
    struct stat status;
    bool ours = lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
                status.st_uid == getuid() && !(status.st_mode & (S_IWGRP | S_IWOTH));
    return ours ? folder : fs::path();
}

std::string quoted(const std::string &word) {
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

// Makes the shared object `object`; returns the words of the tools if that fails.
std::string translate(const std::string &source, int capability, const fs::path &object) {
    static std::atomic<unsigned> number;
    fs::path unit = object;
    std::string own = std::to_string(getpid()) + "-" + std::to_string(number++);
    unit.replace_extension("." + own + ".cu");
    fs::path log = unit;
    log.replace_extension(".log");
    std::ofstream(unit) << source;
    std::string command = "python3 " + quoted(own_folder() / "translate.py") + " " + quoted(unit) +
                          " " + std::to_string(capability) + " " + quoted(object) + " > " +
                          quoted(log) + " 2>&1";
    bool made = system(command.c_str()) == 0;
    std::string words = made ? "" : contents(log) + "\n(" + command + ")";
    fs::remove(unit);
    fs::remove(log);
    return words;
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
    int capability = architecture(count, options);
    std::string all = program.source + std::to_string(capability);
    for (const char *name : {"translate.py", "prelude.h", "machine.h"})
        all += contents(own_folder() / name);
    char name[32];
    snprintf(name, sizeof name, "%016zx.so", std::hash<std::string>()(all));
    fs::path folder = cache_folder();
    if (folder.empty()) {
        program.log = "the folder for emulated kernels is not a folder of this user alone; "
                      "name another in DWARFSTAR_EMULATED_CACHE";
        return INVALID_INPUT;
    }
    fs::path object = folder / name;
    if (!fs::exists(object)) program.log = translate(program.source, capability, object);
    program.code = object;
    return program.log.empty() ? SUCCESS : COMPILATION;
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
