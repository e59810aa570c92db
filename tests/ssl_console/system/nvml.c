/* A driver's management library for one device that draws 250 W: what libnvidia-ml.so.1 is where there is an NVIDIA GPU.
   Signatures, structures and error codes are those of nvml.h. Like an old driver it cannot list processes. The energy is counted in millijoules since 2024. */
#include <string.h>
#include <time.h>

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilisation;
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

static int the_device;
static const char *UUID = "GPU-5a1e0000-0000-4000-8000-000000000001";

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(unsigned int flags) { (void)flags; return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int result) { return result == NOT_SUPPORTED ? "Not Supported" : "Not Found"; }
int nvmlSystemGetDriverVersion(char *version, unsigned int length) { strncpy(version, "570.00", length); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 1; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index != 0) return INVALID_ARGUMENT;
    *device = &the_device;
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    if (strcmp(uuid, UUID) != 0) return NOT_FOUND;
    *device = &the_device;
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) { (void)device; strncpy(uuid, UUID, length); return SUCCESS; }
int nvmlDeviceGetName(void *device, char *name, unsigned int length) { (void)device; strncpy(name, "Test GPU", length); return SUCCESS; }

int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    (void)device;
    *memory = (Memory){8ULL << 30, 6ULL << 30, 2ULL << 30};
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, Utilisation *load) {
    (void)device;
    *load = (Utilisation){40, 10};
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) { (void)device; *milliwatts = 250000; return SUCCESS; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *degrees) { (void)device; (void)sensor; *degrees = 61; return SUCCESS; }

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
