/* A driver's management library for CARDS devices that draw 250 W: what libnvidia-ml.so.1 is where there is an NVIDIA GPU.
   Signatures, structures and error codes are those of nvml.h. The energy is counted in millijoules since 2024.
   One card is always loaded alike, and like an old driver it cannot list processes. Of several cards every other one is
   smaller, their figures change every second, and the process that asks holds memory of each.
   With HOLDERS, the file that NVML_HOLDERS names has a line for each process of the first card, `pid megabytes`, and the
   card is as full as they say; a line `pid megabytes mps` is a process that computes through the Multi-Process Service.
   With MIG, the first card is in MIG mode with so many instances. With COMPUTE_MODE, every card is in this mode. CUDA is the
   version that the driver supports, e.g. 12040. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef CARDS
#define CARDS 1
#endif
#ifndef MIG
#define MIG 0
#endif

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilisation;
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct { unsigned int pid; unsigned long long used; unsigned int instance, compute; } Process;

static const char *FIRST = "GPU-5a1e0000-0000-4000-8000-00000000000";
static int cards[CARDS];

static int instances[7];

static int is_instance(void *device) { return (int *)device >= instances && (int *)device < instances + 7; }
static int number(void *device) { return is_instance(device) ? 0 : (int)((int *)device - cards); }
static int small(void *device) { return number(device) % 2; }
static unsigned int load(void *device) { return CARDS == 1 ? 40 : (unsigned int)(time(NULL) * 7 + number(device) * 29) % 101; }

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(unsigned int flags) { (void)flags; return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int result) { return result == NOT_SUPPORTED ? "Not Supported" : "Not Found"; }
int nvmlSystemGetDriverVersion(char *version, unsigned int length) { strncpy(version, "570.00", length); return SUCCESS; }
#ifdef CUDA
int nvmlSystemGetCudaDriverVersion(int *version) { *version = CUDA; return SUCCESS; }
#endif
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = CARDS; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index >= CARDS) return INVALID_ARGUMENT;
    *device = &cards[index];
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    if (is_instance(device)) snprintf(uuid, length, "MIG-5a1e0000-0000-4000-8000-00000000000%d", (int)((int *)device - instances) + 1);
    else snprintf(uuid, length, "%s%d", FIRST, number(device) + 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    for (int index = 0; index < CARDS; index++) {
        char own[96];
        nvmlDeviceGetUUID(&cards[index], own, sizeof own);
        if (strcmp(uuid, own) == 0) { *device = &cards[index]; return SUCCESS; }
    }
    for (int index = 0; index < MIG; index++) {
        char own[96];
        nvmlDeviceGetUUID(&instances[index], own, sizeof own);
        if (strcmp(uuid, own) == 0) { *device = &instances[index]; return SUCCESS; }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    strncpy(name, is_instance(device) ? "Test GPU MIG 1g.5gb" : small(device) ? "Small GPU" : "Test GPU", length);
    return SUCCESS;
}

#ifdef HOLDERS
enum { MOST = 16 };

/* The processes of the file: all, those alone (0) or those through MPS (1). */
static unsigned int holders(Process *found, int through_mps) {
    char line[128], way[16];
    unsigned int count = 0, pid;
    unsigned long long megabytes;
    FILE *file = getenv("NVML_HOLDERS") ? fopen(getenv("NVML_HOLDERS"), "r") : NULL;
    while (file && count < MOST && fgets(line, sizeof line, file)) {
        way[0] = 0;
        if (sscanf(line, "%u %llu %15s", &pid, &megabytes, way) < 2) continue;
        if (through_mps < 0 || through_mps == (strcmp(way, "mps") == 0))
            found[count++] = (Process){pid, megabytes << 20, 0xFFFFFFFF, 0xFFFFFFFF};
    }
    if (file) fclose(file);
    return count;
}

static int listed(unsigned int *count, Process *processes, int through_mps) {
    Process found[MOST];
    unsigned int number = holders(found, through_mps), room = *count;
    *count = number;
    if (room < number) return INSUFFICIENT_SIZE;
    memcpy(processes, found, number * sizeof *found);
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, Process *processes) {
    (void)device;
    return listed(count, processes, 0);
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *device, unsigned int *count, Process *processes) {
    (void)device;
    return listed(count, processes, 1);
}
#endif

#if MIG > 0
int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending) {
    if (is_instance(device)) return NOT_SUPPORTED;
    *current = *pending = number(device) == 0;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *count) { (void)device; *count = 7; return SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned int index, void **instance) {
    (void)device;
    if (index >= MIG) return NOT_FOUND;
    *instance = &instances[index];
    return SUCCESS;
}
#endif

#ifdef COMPUTE_MODE
int nvmlDeviceGetComputeMode(void *device, unsigned int *mode) { (void)device; *mode = COMPUTE_MODE; return SUCCESS; }
#endif

int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    unsigned long long total = (small(device) ? 4ULL : 8ULL) << 30, used = CARDS == 1 ? 2ULL << 30 : total * load(device) / 100;
#ifdef HOLDERS
    Process held[MOST];
    used = 0;
    for (unsigned int index = 0, count = holders(held, -1); index < count; index++) used += held[index].used;
#endif
    *memory = (Memory){total, total - used, used};
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, Utilisation *rates) {
    *rates = (Utilisation){load(device), 10};
    return SUCCESS;
}

#if CARDS > 1 && !defined(HOLDERS)
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned int *milliwatts) { (void)device; *milliwatts = 300000; return SUCCESS; }

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, Process *processes) {
    (void)device;
    if (*count < 1) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    processes[0] = (Process){(unsigned int)getpid(), 1ULL << 30, 0xFFFFFFFF, 0xFFFFFFFF};
    return SUCCESS;
}
#endif

int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    *milliwatts = CARDS == 1 ? 250000 : 50000 + 2500 * load(device);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *degrees) {
    (void)sensor;
    *degrees = CARDS == 1 ? 61 : 40 + load(device) / 2;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    (void)device;
#ifdef WITHOUT_ENERGY
    (void)millijoules;
    return NOT_SUPPORTED;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *millijoules = 250000ULL * now.tv_sec + now.tv_nsec / 4000;
    return SUCCESS;
#endif
}
