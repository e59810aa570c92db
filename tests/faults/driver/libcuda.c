/* Stands in for CUDA's driver library: $STANDIN_FASTEST lists UUIDs, the fastest card first, $STANDIN_CARDS by address.
   $CUDA_DEVICE_ORDER and $CUDA_VISIBLE_DEVICES are understood as CUDA does: numbers in that order, until one is wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char uuids[16][64], shown[16][64];
static int count, visible;

static int read_list(const char *text, char into[16][64]) {
    int found = 0;
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    for (char *part = strtok(copy, ","); part && found < 16; part = strtok(NULL, ","), found++) {
        part[strcspn(part, "=")] = 0;
        snprintf(into[found], 64, "%s", part);
    }
    return found;
}

int cuInit(unsigned flags) {
    const char *order = getenv("CUDA_DEVICE_ORDER"), *given = getenv("CUDA_VISIBLE_DEVICES");
    int by_address = order && strcmp(order, "PCI_BUS_ID") == 0;
    (void)flags;
    count = read_list(getenv(by_address ? "STANDIN_CARDS" : "STANDIN_FASTEST"), uuids);
    visible = 0;
    if (!given) {
        for (; visible < count; visible++) strcpy(shown[visible], uuids[visible]);
        return 0;
    }
    char names[16][64];
    int wanted = read_list(given, names);
    for (int entry = 0; entry < wanted; entry++) {
        int at = atoi(names[entry]);
        if (at < 0 || at >= count) break;
        strcpy(shown[visible++], uuids[at]);
    }
    return 0;
}

int cuDeviceGetCount(int *found) { return *found = visible, 0; }
int cuDeviceGet(int *device, int index) { return *device = index, 0; }

int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    const char *text = shown[device] + 4; /* after GPU- */
    for (int at = 0; at < 16; text++)
        if (*text != '-') {
            unsigned value;
            sscanf(text++, "%2x", &value);
            uuid[at++] = (unsigned char)value;
        }
    return 0;
}
int cuDeviceGetUuid(unsigned char *uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
