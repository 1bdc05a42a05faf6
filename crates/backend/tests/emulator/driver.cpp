// A stand-in for the CUDA driver, libcuda.so.1: what DwarfStar calls of it, with the signatures of
// cuda.h reduced to plain types. There is one device, one stream, and nothing is asynchronous.
//
// Device memory is the host's. Each allocation ends where a page begins that nobody may touch, so
// that who reads or writes behind the end is caught. Modules are shared objects, named by their
// path; nvrtc.cpp makes them. A graph is a list of launches.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <vector>

#include "fibers.h"
#include "launch.h"

using emulated::Kernel;
using emulated::Launch;

namespace {

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_IMAGE = 200,
    NOT_FOUND = 500,
};

enum Attribute {
    MULTIPROCESSORS = 16,
    CAPABILITY_MAJOR = 75,
    CAPABILITY_MINOR = 76,
    SHARED_OF_MULTIPROCESSOR = 81,
    SHARED_OF_BLOCK = 97,
};

// The device keeps so much of a multiprocessor's shared memory for itself, per block.
constexpr int SHARED_KEPT = 1024;
constexpr size_t PAGE_BYTES = 4096, ALLOCATION_ALIGNMENT = 256, GRANULARITY = 2 << 20;

typedef unsigned long long Address;

struct Allocation {
    char *mapping;
    size_t bytes;
};

struct Recorded {
    Launch launch;
    std::vector<std::vector<char>> arguments;
};

typedef std::vector<Recorded> Graph;

struct LaunchConfig {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, dynamic_bytes;
    void *stream, *attributes;
    unsigned attribute_count;
};

std::map<Address, Allocation> allocations;
std::mutex allocations_guard;
thread_local Graph *recording;
thread_local void *context_of_thread;
// What handles point to that stand for something of which there is one.
char the_context, the_stream, the_event;

int setting(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

size_t round_up(size_t bytes, size_t multiple) {
    return (bytes + multiple - 1) / multiple * multiple;
}

void *reserve(size_t bytes) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *mapping = mmap(nullptr, bytes, PROT_NONE, flags, -1, 0);
    return mapping == MAP_FAILED ? nullptr : mapping;
}

}  // namespace

extern "C" {

// --- the device

int cuInit(unsigned) {
    emulated::catch_faults();
    return SUCCESS;
}
int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
int cuDeviceGet(int *device, int) { return *device = 0, SUCCESS; }
int cuDeviceGetName(char *name, int bytes, int) {
    return snprintf(name, bytes, "emulated"), SUCCESS;
}
int cuDeviceGetAttribute(int *value, int attribute, int) {
    int shared = setting("DWARFSTAR_EMULATED_SHARED", 233472);
    switch (attribute) {
        case MULTIPROCESSORS: *value = setting("DWARFSTAR_EMULATED_PROCESSORS", 132); break;
        case CAPABILITY_MAJOR: *value = setting("DWARFSTAR_EMULATED_MAJOR", 9); break;
        case CAPABILITY_MINOR: *value = setting("DWARFSTAR_EMULATED_MINOR", 0); break;
        case SHARED_OF_MULTIPROCESSOR: *value = shared; break;
        case SHARED_OF_BLOCK: *value = shared - SHARED_KEPT; break;
        default: *value = 0;
    }
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void **context, int) { return *context = &the_context, SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void *context) {
    context_of_thread = context;
    emulated::prepare_host_thread();
    return SUCCESS;
}
int cuCtxGetCurrent(void **context) { return *context = context_of_thread, SUCCESS; }
int cuCtxSynchronize() { return SUCCESS; }
int cuGetErrorName(int, const char **name) { return *name = "error", SUCCESS; }
int cuGetErrorString(int, const char **text) { return *text = "error of the emulator", SUCCESS; }

// --- streams and events

int cuStreamCreate(void **stream, unsigned) { return *stream = &the_stream, SUCCESS; }
int cuStreamDestroy_v2(void *) { return SUCCESS; }
int cuStreamSynchronize(void *) { return SUCCESS; }
int cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
int cuEventCreate(void **event, unsigned) { return *event = &the_event, SUCCESS; }
int cuEventRecord(void *, void *) { return SUCCESS; }
int cuEventSynchronize(void *) { return SUCCESS; }
int cuEventQuery(void *) { return SUCCESS; }
int cuEventDestroy_v2(void *) { return SUCCESS; }
int cuEventElapsedTime_v2(float *milliseconds, void *, void *) {
    return *milliseconds = 0.001f, SUCCESS;
}

// --- memory

int cuMemGetInfo_v2(size_t *free, size_t *total) {
    return *free = 6ull << 30, *total = 8ull << 30, SUCCESS;
}
int cuMemAlloc_v2(Address *address, size_t bytes) {
    size_t whole = round_up(bytes, ALLOCATION_ALIGNMENT), pages = round_up(whole, PAGE_BYTES);
    char *mapping = (char *)reserve(pages + 2 * PAGE_BYTES);
    if (!mapping) return OUT_OF_MEMORY;
    char *first = mapping + PAGE_BYTES;
    if (mprotect(first, pages, PROT_READ | PROT_WRITE) != 0) return OUT_OF_MEMORY;
    memset(first, 0xff, pages);
    *address = (Address)(first + pages - whole);
    std::lock_guard<std::mutex> guard(allocations_guard);
    allocations[*address] = {mapping, pages + 2 * PAGE_BYTES};
    return SUCCESS;
}
int cuMemFree_v2(Address address) {
    std::lock_guard<std::mutex> guard(allocations_guard);
    auto found = allocations.find(address);
    if (found == allocations.end()) return INVALID_VALUE;
    munmap(found->second.mapping, found->second.bytes);
    allocations.erase(found);
    return SUCCESS;
}
int cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
    *memory = aligned_alloc(PAGE_BYTES, round_up(bytes, PAGE_BYTES));
    return *memory ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemFreeHost(void *memory) { return free(memory), SUCCESS; }
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *) {
    return memcpy((void *)to, from, bytes), SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *) {
    return memcpy(to, (void *)from, bytes), SUCCESS;
}
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *) {
    return memmove((void *)to, (void *)from, bytes), SUCCESS;
}
int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void *) {
    return memset((void *)to, value, bytes), SUCCESS;
}

// --- ranges of addresses, parts of which become memory

int cuMemGetAllocationGranularity(size_t *bytes, const void *, int) {
    return *bytes = GRANULARITY, SUCCESS;
}
int cuMemAddressReserve(Address *address, size_t bytes, size_t, Address, unsigned long long) {
    *address = (Address)reserve(bytes);
    return *address ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemCreate(unsigned long long *handle, size_t, const void *, unsigned long long) {
    return *handle = 1, SUCCESS;
}
int cuMemMap(Address, size_t, size_t, unsigned long long, unsigned long long) { return SUCCESS; }
int cuMemSetAccess(Address address, size_t bytes, const void *, size_t) {
    return mprotect((void *)address, bytes, PROT_READ | PROT_WRITE) ? INVALID_VALUE : SUCCESS;
}
int cuMemUnmap(Address address, size_t bytes) {
    return mprotect((void *)address, bytes, PROT_NONE) ? INVALID_VALUE : SUCCESS;
}
int cuMemRelease(unsigned long long) { return SUCCESS; }
int cuMemAddressFree(Address address, size_t bytes) {
    return munmap((void *)address, bytes) ? INVALID_VALUE : SUCCESS;
}

// --- modules and launches

int cuModuleLoadData(void **module, const void *path) {
    *module = dlopen((const char *)path, RTLD_NOW | RTLD_LOCAL);
    if (*module) return SUCCESS;
    fprintf(stderr, "emulator: %s\n", dlerror());
    return INVALID_IMAGE;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = dlsym(module, (std::string("emulated_kernel_") + name).c_str());
    return *function ? SUCCESS : NOT_FOUND;
}
int cuModuleGetGlobal_v2(Address *address, size_t *bytes, void *module, const char *name) {
    *bytes = sizeof(Address);
    *address = (Address)dlsym(module, name);
    return *address ? SUCCESS : NOT_FOUND;
}
int cuFuncSetAttribute(void *, int, int) { return SUCCESS; }
int cuOccupancyMaxActiveClusters(int *count, void *function, const LaunchConfig *) {
    unsigned blocks = ((const Kernel *)function)->cluster_blocks;
    return *count = setting("DWARFSTAR_EMULATED_PROCESSORS", 132) / blocks, SUCCESS;
}

int cuLaunchKernelEx(const LaunchConfig *config, void *function, void **arguments, void **) {
    auto kernel = (const Kernel *)function;
    if (!config->grid_x || !config->grid_y || !config->grid_z || config->block_x > 1024)
        return INVALID_VALUE;
    uint3 grid = {config->grid_x, config->grid_y, config->grid_z};
    Launch launch = {kernel, grid, config->block_x, config->dynamic_bytes};
    if (!recording) return emulated::run(launch, arguments), SUCCESS;
    Recorded recorded = {launch, {}};
    for (unsigned i = 0; i < kernel->argument_count; i++) {
        auto value = (const char *)arguments[i];
        recorded.arguments.emplace_back(value, value + kernel->argument_bytes[i]);
    }
    recording->push_back(recorded);
    return SUCCESS;
}

// --- graphs

int cuStreamBeginCapture_v2(void *, int) { return recording = new Graph, SUCCESS; }
int cuStreamEndCapture(void *, void **graph) {
    *graph = recording;
    recording = nullptr;
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
    return *executable = new Graph(*(Graph *)graph), SUCCESS;
}
int cuGraphDestroy(void *graph) { return delete (Graph *)graph, SUCCESS; }
int cuGraphExecDestroy(void *graph) { return delete (Graph *)graph, SUCCESS; }
int cuGraphLaunch(void *graph, void *) {
    for (Recorded &recorded : *(Graph *)graph) {
        std::vector<void *> arguments;
        for (auto &argument : recorded.arguments) arguments.push_back(argument.data());
        emulated::run(recorded.launch, arguments.data());
    }
    return SUCCESS;
}

}  // extern "C"
