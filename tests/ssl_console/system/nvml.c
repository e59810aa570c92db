/* A driver's management library for CARDS devices that draw 250 W: what libnvidia-ml.so.1 is where there is an NVIDIA GPU.
   Signatures, structures and error codes are those of nvml.h. The energy is counted in millijoules since 2024.
   One card is always loaded alike, and like an old driver it cannot list processes. Of several cards every other one is
   smaller, their figures change every second, and the process that asks holds memory of each. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef CARDS
#define CARDS 1
#endif

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilisation;
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct { unsigned int pid; unsigned long long used; unsigned int instance, compute; } Process;

static const char *FIRST = "GPU-5a1e0000-0000-4000-8000-00000000000";
static int cards[CARDS];

static int number(void *device) { return (int)((int *)device - cards); }
static int small(void *device) { return number(device) % 2; }
static unsigned int load(void *device) { return CARDS == 1 ? 40 : (unsigned int)(time(NULL) * 7 + number(device) * 29) % 101; }

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(unsigned int flags) { (void)flags; return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int result) { return result == NOT_SUPPORTED ? "Not Supported" : "Not Found"; }
int nvmlSystemGetDriverVersion(char *version, unsigned int length) { strncpy(version, "570.00", length); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = CARDS; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index >= CARDS) return INVALID_ARGUMENT;
    *device = &cards[index];
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    snprintf(uuid, length, "%s%d", FIRST, number(device) + 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    for (int index = 0; index < CARDS; index++) {
        char own[96];
        nvmlDeviceGetUUID(&cards[index], own, sizeof own);
        if (strcmp(uuid, own) == 0) { *device = &cards[index]; return SUCCESS; }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    strncpy(name, small(device) ? "Small GPU" : "Test GPU", length);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    unsigned long long total = (small(device) ? 4ULL : 8ULL) << 30, used = CARDS == 1 ? 2ULL << 30 : total * load(device) / 100;
    *memory = (Memory){total, total - used, used};
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, Utilisation *rates) {
    *rates = (Utilisation){load(device), 10};
    return SUCCESS;
}

#if CARDS > 1
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
