/* A stand-in for NVIDIA's libnvidia-ml.so.1, for machines without a GPU.
 *
 * It has the functions that the sidecar asks for, with the signatures of nvml.h. Device 0
 * answers everything, like a Hopper; device 1 has no energy counter and no GPM, like an
 * older card; device 2 has fallen off the bus. STANDIN_NVML_DEVICES sets how many there are.
 * Each look at the energy finds 1 kJ more; STANDIN_NVML_MIG says that MIG splits device 0.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, GPU_IS_LOST = 15 };

typedef struct { int index; } device_t;
typedef struct { int taken; } sample_t;

static device_t devices[3] = {{0}, {1}, {2}};
static int live_samples = 0;
static int taken = 0;
static int asked = 0;
static int looks = 0;

int nvmlInitWithFlags(unsigned flags) { return SUCCESS; }
int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "stand-in"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    const char *text = getenv("STANDIN_NVML_DEVICES");
    *count = text ? (unsigned)atoi(text) : 3;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **device) {
    *device = &devices[index % 3];
    return SUCCESS;
}

int nvmlDeviceGetUUID(device_t *device, char *uuid, unsigned length) {
    if (device->index == 2) return GPU_IS_LOST;
    snprintf(uuid, length, "GPU-0000000%d-aaaa-bbbb-cccc-dddddddddddd", device->index);
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(device_t *device, unsigned *milliwatts) {
    *milliwatts = 612345;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(device_t *device, uint64_t *millijoules) {
    if (device->index == 1) return NOT_SUPPORTED;
    *millijoules = 987654321000ULL + 1000000ULL * (unsigned long long)looks++;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(device_t *device, unsigned *current, unsigned *pending) {
    if (device->index == 1) return NOT_SUPPORTED;
    *current = *pending = getenv("STANDIN_NVML_MIG") != NULL;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(device_t *device, unsigned rates[2]) {
    rates[0] = 97; /* gpu, percent */
    rates[1] = 41; /* memory, percent */
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(device_t *device, int type, unsigned *megahertz) {
    if (type != 1) return INVALID_ARGUMENT; /* NVML_CLOCK_SM */
    *megahertz = 1980;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(device_t *device, unsigned long long memory[3]) {
    memory[0] = 85899345920ULL; /* total, free, used */
    memory[1] = 21474836480ULL;
    memory[2] = 64424509440ULL;
    return SUCCESS;
}

int nvmlGpmQueryDeviceSupport(device_t *device, unsigned support[2]) {
    support[1] = device->index == 0;
    return SUCCESS;
}

int nvmlGpmSampleAlloc(sample_t **sample) {
    /* At most two are alive at once in a program that frees them. */
    if (++live_samples > 2) return INVALID_ARGUMENT;
    *sample = calloc(1, sizeof(sample_t));
    return SUCCESS;
}

int nvmlGpmSampleFree(sample_t *sample) {
    live_samples--;
    free(sample);
    return SUCCESS;
}

int nvmlGpmSampleGet(device_t *device, sample_t *sample) {
    const char *failing = getenv("STANDIN_NVML_FAILING_SAMPLE"); /* by number, from 1 */
    if (failing && ++asked == atoi(failing)) return GPU_IS_LOST;
    sample->taken = ++taken;
    return SUCCESS;
}

typedef struct {
    unsigned id;
    int result;
    double value;
    char *names[3];
} metric_t;

typedef struct {
    unsigned version, count;
    sample_t *before, *after;
    metric_t metrics[1];
} metrics_get_t;

int nvmlGpmMetricsGet(metrics_get_t *get) {
    if (get->version != 1 || get->count != 1 || get->metrics[0].id != 5) return INVALID_ARGUMENT;
    if (get->after->taken != get->before->taken + 1) return INVALID_ARGUMENT;
    get->metrics[0].result = SUCCESS;
    get->metrics[0].value = 62.5; /* percent of the time between the samples */
    return SUCCESS;
}
